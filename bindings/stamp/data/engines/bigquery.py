"""BigQuery: what is heavy runs there, on tables that are there, and rows come out as streams of Arrow."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import google.auth
import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import bigquery
from ibis.backends.bigquery.datatypes import BigQuerySchema
from ibis.common.exceptions import TableNotFound

from ...base.streams import tell
from .daily_tables import partial_days
from .engine import Engine, TextTables

if TYPE_CHECKING:
    import ibis.expr.types as ir

_GIB = 1 << 30


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def unix_micros(times: dt.Timestamp(timezone="UTC")) -> dt.int64:  # type: ignore[valid-type]
    """BigQuery's own."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def json_query_array(text: dt.string) -> dt.Array(dt.string):  # type: ignore[valid-type]
    """BigQuery's own: each element as a text."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def json_value(text: dt.string, path: dt.string) -> dt.string:
    """BigQuery's own."""


class BigQueryEngine(Engine):
    """BigQuery. A query that reads much is said before it runs, and one that reads too much does not run.

    Parameters
    ----------
    dataset : str
        Where intermediate results are kept, "project.dataset" or "dataset": they are removed at the end, and by BigQuery
        after a day.
    project : str, optional
        Who pays: by default the project of the credentials.
    client : google.cloud.bigquery.Client, optional
        By default one with the application's default credentials.
    storage_client : google.cloud.bigquery_storage.BigQueryReadClient, optional
        What rows are streamed with.
    say_above : int
        Bytes: queries that read more are said on standard error, by BigQuery's own estimate.
    allow : int
        Bytes: queries that read more are errors.

    Raises
    ------
    ValueError
        `dataset` is no data set; there are no credentials.
    """

    name = "bigquery"

    def __init__(
        self,
        *,
        dataset: str,
        project: str | None = None,
        client: Any = None,
        storage_client: Any = None,
        say_above: int = 10 * _GIB,
        allow: int = 1024 * _GIB,
    ):
        super().__init__()
        credentials = None
        if client is None:
            try:
                credentials, found = google.auth.default()
            except google.auth.exceptions.DefaultCredentialsError as error:
                raise ValueError(f"engine: BigQuery has no credentials: {error}") from None
            client = bigquery.Client(project=project or found, credentials=credentials)
        home, _, name = dataset.rpartition(".")
        self._client, self._storage = client, storage_client
        self._dataset = bigquery.DatasetReference(home or client.project, name)
        self._say_above, self._allow = say_above, allow
        self._kept: list[str] = []
        self._prefix = f"t{uuid.uuid4().hex}"  # others may work in the data set, too
        try:
            client.get_dataset(self._dataset)
        except GoogleAPICallError as error:
            raise ValueError(f"engine: dataset is {dataset!r}: {error.message}") from None
        self.connection = ibis.bigquery.connect(
            client=client, storage_client=storage_client, credentials=credentials, dataset_id=name
        )
        self._storage = self.connection.storage_client

    def close(self) -> None:
        for path in self._kept:
            self._client.delete_table(path, not_found_ok=True)
        self._kept.clear()

    def read_parquet(self, paths: Sequence[str]) -> ir.Table:
        return self._loaded(paths, _parquet())

    def read_text(
        self, paths: Sequence[str], *, separator: str, names: Sequence[str], header: bool, columns: Sequence[str]
    ) -> TextTables:
        raise ValueError(
            f"source {paths[0]}: BigQuery does not say which lines of a text file it cannot read; load the file as a table "
            "(bigquery://project.dataset.table), or prepare it with DuckDB or Spark"
        )

    def read_json(self, paths: Sequence[str], *, columns: Mapping[str, str] | None) -> ir.Table:
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
            ignore_unknown_values=True,
            autodetect=columns is None,
        )
        if columns is not None:
            config.schema = BigQuerySchema.from_ibis(ibis.schema(columns))
        return self._loaded(paths, config)

    def read_table(self, url: str) -> ir.Table:
        parts = url.removeprefix("bigquery://").split(".")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(
                f"source {url}: expected bigquery://project.dataset.table, or .events_* for all of that name"
            )
        project, dataset, table = parts if len(parts) == 3 else (self._client.project, *parts)
        try:
            if not table.endswith("*"):
                return self.connection.table(table, database=(project, dataset))
            listed = self._client.list_tables(bigquery.DatasetReference(project, dataset))
            found = [each.table_id for each in listed if each.table_id.startswith(table[:-1])]
            if not found:
                raise ValueError(f"source {url}: there is no such table in {project}.{dataset}")
            for day, names in partial_days(found).items():
                tell(f"Left out: events_intraday_ of {day}, of which there is the whole day.")
                found = [name for name in found if name not in names]
            # Those that are read are named, so that what is not, costs nothing.
            every = self.connection.table(table, database=(project, dataset))
            suffixes = sorted(name[len(table) - 1 :] for name in found)
            named = [name for name in every.columns if name != "_TABLE_SUFFIX"]  # which * does not have
            return every.filter(every._TABLE_SUFFIX.isin(suffixes)).select(named)
        except GoogleAPICallError as error:
            raise ValueError(f"source {url}: {error.message}") from None
        except TableNotFound:
            raise ValueError(f"source {url}: there is no such table") from None

    def table(self, data: Any) -> ir.Table:
        if isinstance(data, ibis.Table):
            if self._has(data):
                return data
            data = data.to_pyarrow()
        rows = pa.table(data)
        fields = [
            pa.field(f.name, pa.timestamp("us", f.type.tz)) if pa.types.is_timestamp(f.type) else f for f in rows.schema
        ]
        file = io.BytesIO()
        pq.write_table(rows.cast(pa.schema(fields), safe=False), file)
        file.seek(0)
        path = self._path()
        self._client.load_table_from_file(file, path, job_config=_parquet()).result()
        return self._known(path)

    def json_objects(self, text: ir.StringValue, names: Sequence[str]) -> ir.ArrayValue:
        return json_query_array(text).map(
            lambda each: ibis.struct({name: json_value(each, f"$.{json.dumps(name)}") for name in names})
        )

    def micros(self, times: ir.TimestampValue) -> ir.IntegerValue:
        return unix_micros(times.cast(dt.Timestamp(timezone="UTC")))

    def keep(self, expression: ir.Table) -> ir.Table:
        path = self._path()
        self._run(
            f"CREATE TABLE `{path}` OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY)) AS\n"
            f"{self.connection.compile(expression)}"
        )
        return self._known(path)

    def rows(self, expression: ir.Table) -> pa.Table:
        return pa.Table.from_batches(list(self.batches(expression)), expression.schema().to_pyarrow())

    def batches(self, expression: ir.Table) -> Iterator[pa.RecordBatch]:
        schema = expression.schema().to_pyarrow()
        for batch in self._run(self.connection.compile(expression)).to_arrow_iterable(bqstorage_client=self._storage):
            yield from pa.Table.from_batches([batch]).cast(schema).to_batches()

    def _run(self, query: str) -> Any:
        dry = self._query(query, bigquery.QueryJobConfig(dry_run=True, use_query_cache=False))
        size = dry.total_bytes_processed
        if size > self._allow:
            raise ValueError(
                f"BigQuery: a query reads {size / _GIB:,.0f} GiB, {self._allow / _GIB:,.0f} GiB are allowed (engine: allow)"
            )
        if size > self._say_above:
            tell(f"BigQuery: a query reads {size / _GIB:,.0f} GiB")
        return self._query(query, bigquery.QueryJobConfig(maximum_bytes_billed=self._allow))

    def _query(self, query: str, config: bigquery.QueryJobConfig) -> Any:
        try:
            job = self._client.query(query, job_config=config)
            return job if config.dry_run else job.result()
        except GoogleAPICallError as error:
            raise RuntimeError(f"BigQuery: {error.message}") from error

    def _loaded(self, paths: Sequence[str], config: bigquery.LoadJobConfig) -> ir.Table:
        for path in paths:
            if not path.startswith("gs://"):
                raise ValueError(f"source {path}: BigQuery reads files at gs:// alone")
        path = self._path()
        try:
            self._client.load_table_from_uri(list(paths), path, job_config=config).result()
        except GoogleAPICallError as error:
            raise ValueError(f"source {paths[0]}: {error.message}") from None
        return self._known(path)

    def _path(self) -> str:
        path = f"{self._dataset.project}.{self._dataset.dataset_id}.{self._prefix}_{self._name()}"
        self._kept.append(path)
        return path

    def _known(self, path: str) -> ir.Table:
        project, dataset, name = path.rsplit(".", 2)
        return self.connection.table(name, database=(project, dataset))


def _parquet() -> bigquery.LoadJobConfig:
    """Lists as arrays, not as records of the elements that Parquet writes them as."""
    options = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
    options.enable_list_inference = True
    config = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET)
    config.parquet_options = options
    return config
