"""BigQuery's client, as far as the engine asks for it, over tables in memory that ZetaSQL runs queries on."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery
from ibis import Schema
from ibis.backends.bigquery.datatypes import BigQuerySchema
from zetasql.core.exceptions import ServerError

CREATE = re.compile(r"CREATE TABLE `([^`]+)` OPTIONS \(expiration_timestamp = .*?DAY\)\) AS\n(.*)", re.DOTALL)
TABLE = re.compile(r"`?([\w-]+)`?\.`?([\w-]+)`?\.`?([\w*-]+)`?")


class ZetaSqlClient:
    """`tables`: pyarrow tables by "project.dataset.table". `queries` has what was run."""

    def __init__(self, zetasql, tables, *, project="shop", datasets=("scratch",)):
        self.zetasql, self.tables, self.project = zetasql, dict(tables), project
        self.datasets = {f"{project}.{name}" for name in datasets} | {name.rpartition(".")[0] for name in tables}
        self.default_query_job_config = None
        self.queries = []

    def get_dataset(self, reference):
        if f"{reference.project}.{reference.dataset_id}" not in self.datasets:
            raise NotFound(f"Not found: Dataset {reference.project}:{reference.dataset_id}")

    def list_tables(self, reference):
        home = f"{reference.project}.{reference.dataset_id}."
        return [bigquery.Table(name) for name in self.tables if name.startswith(home)]

    def get_table(self, reference):
        name = f"{reference.project}.{reference.dataset_id}.{reference.table_id}"
        schema = self._content(name).schema
        if name.endswith("*"):
            schema = schema.remove(schema.get_field_index("_TABLE_SUFFIX"))
        return bigquery.Table(reference, BigQuerySchema.from_ibis(Schema.from_pyarrow(schema)))

    def delete_table(self, name, not_found_ok):
        assert not_found_ok
        self.tables.pop(name, None)

    def load_table_from_file(self, file, name, job_config):
        assert job_config.source_format == "PARQUET" and job_config.parquet_options.enable_list_inference
        self.tables[name] = pq.read_table(file)
        return Job(self, None)

    def query(self, sql, job_config=None, project=None):
        if sql == "SELECT 1":  # Ibis asks for the data set of the session
            return Job(self, None)
        create = CREATE.fullmatch(sql)
        query = create[2] if create else sql
        used = {}

        def plain(match):
            name = ".".join(match.groups())
            if name.rpartition(".")[0] not in self.datasets:
                return match[0]  # fields of columns
            flat = name.replace(".", "_").replace("-", "_").replace("*", "_all")
            used[flat] = self._content(name)
            return flat

        query = TABLE.sub(plain, query)
        try:
            if job_config.dry_run:
                self.zetasql.check(query, {name: table.schema for name, table in used.items()})
                return Job(self, None, sum(table.nbytes for table in used.values()))
            found = self.zetasql.execute(query, used)
        except ServerError as error:
            raise BadRequest(str(error)) from None
        self.queries.append(sql)
        if create:
            self.tables[create[1]] = found
        return Job(self, found)

    def _content(self, name):
        if name.endswith("*"):
            found = {key: table for key, table in self.tables.items() if key.startswith(name[:-1])}
            return pa.concat_tables(
                table.append_column("_TABLE_SUFFIX", pa.array([key[len(name) - 1 :]] * len(table), pa.string()))
                for key, table in found.items()
            )
        if name not in self.tables:
            raise NotFound(f"Not found: Table {name}")
        return self.tables[name]


class Job:
    def __init__(self, client, found, total_bytes_processed=0):
        self.found, self.total_bytes_processed = found, total_bytes_processed
        self.destination = bigquery.TableReference.from_string(f"{client.project}.session.anonymous")

    def result(self):
        return self

    def to_arrow_iterable(self, bqstorage_client):
        return self.found.to_batches()
