"""Spark, on this machine or a cluster: in a session of its own beside the user's."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
from ibis.backends.pyspark.datatypes import PySparkType
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sql
from pyspark.sql import types as st

from .engine import Engine, TextTables

if TYPE_CHECKING:
    import ibis.expr.types as ir

_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # Spark has no type for nanoseconds, pandas writes them
}
_WIDER = {"int": "bigint", "smallint": "bigint", "tinyint": "bigint", "float": "double"}
_LINE, _MORE = "_stamp_line", "_stamp_more"  # columns beside those of text files


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def unix_micros(times: dt.Timestamp(timezone="UTC")) -> dt.int64:  # type: ignore[valid-type]
    """Spark's own."""


def from_json(text: dt.string, structure: dt.string) -> dt.unknown:
    """Spark's own, whose type is that of `structure`."""


class SparkEngine(Engine):
    """Spark. Files are read by its own readers, so that s3:// and gs:// are what its cluster can reach.

    Parameters
    ----------
    session : SparkSession, optional
        Stays as it is: work is done in a new session beside it, in UTC, which sees the same tables. By default the active
        session, or a local one that is ended with the engine. Intermediate results are kept in its checkpoint directory
        where it has one; else on the executors, whose loss ends the work.

    Raises
    ------
    RuntimeError
        Spark cannot be started: it needs a JRE, of version 17.
    """

    name = "spark"

    def __init__(self, session: SparkSession | None = None):
        super().__init__()
        self._own = None
        if session is None and (session := SparkSession.getActiveSession()) is None:
            try:
                os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # of what packs batches
                session = self._own = SparkSession.builder.master("local[*]").appName("stamp").getOrCreate()
            except PySparkException as error:
                raise RuntimeError(f"Spark cannot be started ({error}); it needs a JRE, of version 17") from None
        self._session = session.newSession()
        for name, value in _SETTINGS.items():
            self._session.conf.set(name, value)
        self.connection = ibis.pyspark.connect(self._session)
        self._lent: list[str] = []

    def close(self) -> None:
        for view in self._session.catalog.listTables():  # of this session alone; those of a database stay
            if view.isTemporary:
                self._session.catalog.dropTempView(view.name)
        for name in self._lent:
            self._session.catalog.dropGlobalTempView(name)
        self._lent.clear()
        if self._own is not None:
            self._own.stop()

    def read_parquet(self, paths: Sequence[str]) -> ir.Table:
        files = [_url(path) for path in paths]
        try:
            frame = self._session.read.option("mergeSchema", True).parquet(*files)
        except (PySparkException, Py4JJavaError) as error:
            if "MERGE_SCHEMA" not in str(error):
                raise ValueError(f"Spark cannot read {paths[0]}: {_first_line(error)}") from None
            frame = self._session.read.schema(self._merged(files)).parquet(*files)
        return self._view(frame)

    def read_text(
        self, paths: Sequence[str], *, separator: str, names: Sequence[str], header: bool, columns: Sequence[str]
    ) -> TextTables:
        # As bytes, each a character, since Spark puts other characters in the place of what is no UTF-8.
        options = {"sep": separator, "quote": '"', "escape": '"', "columnNameOfCorruptRecord": _LINE}
        reader = self._session.read.schema(_texts(*names, _LINE)).options(header=header, multiLine=True, **options)
        read = reader.options(encoding="ISO-8859-1").csv([_url(path) for path in paths])
        # A separator at the end of a line is let pass, as DuckDB does: then with an x behind it has one value more.
        extended = sql.from_csv(sql.concat(_LINE, sql.lit("x")), _texts(*names, _MORE, _LINE).simpleString(), options)
        passes = (extended[_MORE] == "x") & extended[_LINE].isNull()
        good = sql.col(_LINE).isNull() | sql.coalesce(passes, sql.lit(False))
        texts = [sql.encode(_quoted(name), "ISO-8859-1").cast("string").alias(name) for name in (*names, _LINE)]
        known = read.select(*texts, good.alias(_MORE))
        for name in names:
            good = sql.is_valid_utf8(_quoted(name))
            known = known.withColumn(_MORE, sql.col(_MORE) & sql.coalesce(good, sql.lit(True)))
        values = sql.concat_ws(separator, *map(_quoted, names))
        line = sql.make_valid_utf8(sql.coalesce(_LINE, values)).alias("line")
        rows, lines = known.filter(_MORE).select(*map(_quoted, columns)), known.filter(~sql.col(_MORE)).select(line)
        return TextTables(rows=self._view(rows), unreadable=self._view(lines))

    def read_json(self, paths: Sequence[str], *, columns: Mapping[str, str] | None) -> ir.Table:
        reader = self._session.read
        if columns is not None:
            fields = [st.StructField(name, PySparkType.from_ibis(dt.dtype(kind))) for name, kind in columns.items()]
            reader = reader.schema(st.StructType(fields))
        return self._view(reader.json([_url(path) for path in paths]))

    def read_table(self, url: str) -> ir.Table:
        try:
            return self._view(self._session.table(url.removeprefix("spark://")))
        except PySparkException as error:
            raise ValueError(f"source {url}: {_first_line(error)}; expected spark://<database>.<table>") from None

    def table(self, data: Any) -> ir.Table:
        if isinstance(data, DataFrame):
            name = f"stamp_{id(self):x}_{self._name()}"  # seen by all sessions
            data.createOrReplaceGlobalTempView(name)
            self._lent.append(name)
            return self._view(self._session.table(f"global_temp.{name}"))
        if isinstance(data, ibis.Table):
            if self._has(data):
                return data
            data = data.to_pyarrow()
        rows = pa.table(data)
        fields = [
            pa.field(f.name, pa.timestamp("us", f.type.tz)) if pa.types.is_timestamp(f.type) else f for f in rows.schema
        ]
        rows = rows.cast(pa.schema(fields), safe=False)
        schema = st.StructType([st.StructField(field.name, _spark_type(field.type)) for field in rows.schema])
        return self._view(self._session.createDataFrame(rows, schema=schema))

    def json_objects(self, text: ir.StringValue, names: Sequence[str]) -> ir.ArrayValue:
        structure = f"array<struct<{', '.join(f'{_quoted(name)}: string' for name in names)}>>"
        kind = dt.Array(dt.Struct(dict.fromkeys(names, dt.string)))
        return ibis.udf.scalar.builtin(from_json, signature=((dt.string, dt.string), kind))(text, structure)

    def micros(self, times: ir.TimestampValue) -> ir.IntegerValue:
        return unix_micros(times.cast(dt.Timestamp(timezone="UTC")))

    def keep(self, expression: ir.Table) -> ir.Table:
        # Without the plan that led to it: rounds upon rounds of plans are more than a driver can hold.
        frame = self._frame(expression)
        reliable = self._session.sparkContext.getCheckpointDir() is not None
        with _errors_named():
            return self._view(frame.checkpoint() if reliable else frame.localCheckpoint())

    def rows(self, expression: ir.Table) -> pa.Table:
        with _errors_named():
            return self._frame(expression).toArrow().cast(expression.schema().to_pyarrow())

    def batches(self, expression: ir.Table) -> Iterator[pa.RecordBatch]:
        schema = expression.schema().to_pyarrow()

        def packed(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
            for batch in batches:
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                yield pa.RecordBatch.from_pydict({"batch": [sink.getvalue().to_pybytes()]})

        # A partition after the other, in their order, so that a driver holds one.
        with _errors_named():
            for row in self._frame(expression).mapInArrow(packed, "batch binary").toLocalIterator():
                with pa.ipc.open_stream(row.batch) as reader:
                    yield from reader.read_all().cast(schema).to_batches()

    def _frame(self, expression: ir.Table) -> DataFrame:
        return self._session.sql(self.connection.compile(expression))

    def _view(self, frame: DataFrame) -> ir.Table:
        """Ibis' view of a frame. It takes moments for times without a zone, which is to be known."""
        name = self._name()
        frame.createOrReplaceTempView(name)
        table = self.connection.table(name)
        moments = [field.name for field in frame.schema if isinstance(field.dataType, st.TimestampType)]
        return table.mutate(**{each: table[each].cast(dt.Timestamp(timezone="UTC")) for each in moments})

    def _merged(self, files: Sequence[str]) -> st.StructType:
        """Columns of all files, each of the widest type. ValueError where one is of several."""
        first: dict[str, tuple[st.DataType, str]] = {}
        for file in files:
            for field in self._session.read.parquet(file).schema:
                narrow = field.dataType.simpleString()
                kind = st.DataType.fromDDL(_WIDER[narrow]) if narrow in _WIDER else field.dataType
                other, where = first.setdefault(field.name, (kind, file))
                if other != kind:
                    raise ValueError(
                        f"{file}: column '{field.name}' is {narrow}, in {where} it is {other.simpleString()}; expected one "
                        "type in all files"
                    )
        return st.StructType([st.StructField(name, kind) for name, (kind, _) in first.items()])


@contextlib.contextmanager
def _errors_named() -> Iterator[None]:
    """Files that cannot be read, out of pages of Java."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        said = str(error.java_exception) if isinstance(error, Py4JJavaError) else str(error)
        causes = re.findall(r"(?:FAILED_READ_FILE.*|Caused by: .*)", str(error))
        if "FAILED_READ_FILE" not in str(error):
            raise RuntimeError(f"Spark: {_first_line(causes[-1] if causes else said)}") from error
        raise ValueError(
            f"Spark cannot read the source: {'; '.join(dict.fromkeys((causes[0], causes[-1])))}"
        ) from error


def _spark_type(kind: pa.DataType) -> st.DataType:
    """Ibis' types, but for times without a zone, which Ibis takes for moments in the session's."""
    if pa.types.is_timestamp(kind):
        return st.TimestampType() if kind.tz is not None else st.TimestampNTZType()
    return PySparkType.from_ibis(dt.DataType.from_pyarrow(kind))


def _texts(*names: str) -> st.StructType:
    return st.StructType([st.StructField(name, st.StringType()) for name in names])


def _url(path: str) -> str:
    """As Spark's readers take it: with a scheme, and signs of patterns as themselves."""
    scheme, _, rest = path.partition("://")
    url = path if rest else f"file://{os.path.abspath(path)}"
    url = f"s3a://{rest}" if scheme == "s3" else url
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", url)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _first_line(error: object) -> str:
    return str(error).partition("\n")[0]
