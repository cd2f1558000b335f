"""BigQuery's SQL, type-checked and run on small tables by ZetaSQL: its parser, analyser and evaluator as WebAssembly.

Tables go in and come out as Arrow. Tests only: the evaluator is for hundreds of rows (its joins are quadratic).
"""

import datetime
import importlib.metadata
import os
import pathlib
import tempfile

import pyarrow as pa
import wasmtime
import zetasql.core.wasm_client
from google.protobuf import timestamp_pb2
from zetasql.core import ZetaSqlLocalService
from zetasql.core.exceptions import ServerError
from zetasql.wasi import get_wasm_path
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service_pb2
from zetasql.wasi._pb2.zetasql.proto import options_pb2, simple_catalog_pb2
from zetasql.wasi._pb2.zetasql.public import options_pb2 as public_options_pb2
from zetasql.wasi._pb2.zetasql.public import type_pb2, value_pb2

PSEUDO = {"_TABLE_SUFFIX"}  # columns that * does not have
EPOCH = datetime.datetime(1970, 1, 1)
UTC = datetime.timezone.utc

# Of SQL. BigQuery has no narrower integers and floats.
KINDS = {
    "INT64": (type_pb2.TYPE_INT64, pa.int64(), "int64_value"),
    "FLOAT64": (type_pb2.TYPE_DOUBLE, pa.float64(), "double_value"),
    "BOOL": (type_pb2.TYPE_BOOL, pa.bool_(), "bool_value"),
    "STRING": (type_pb2.TYPE_STRING, pa.string(), "string_value"),
    "BYTES": (type_pb2.TYPE_BYTES, pa.binary(), "bytes_value"),
    "DATE": (type_pb2.TYPE_DATE, pa.date32(), "date_value"),
    "DATETIME": (type_pb2.TYPE_DATETIME, pa.timestamp("us"), "datetime_value"),
    "TIMESTAMP": (type_pb2.TYPE_TIMESTAMP, pa.timestamp("us", "UTC"), "timestamp_value"),
    "JSON": (type_pb2.TYPE_JSON, pa.string(), "json_value"),
}
OF_KIND = {kind: (arrow, field) for kind, arrow, field in KINDS.values()}


class ZetaSql:
    """One instance of the module: loading takes seconds, and a minute where nothing compiled is kept yet."""

    def __init__(self) -> None:
        self._client = _client()
        request = service_pb2.LanguageOptionsRequest(maximum_features=True)
        language = self._client.call_grpc_func(
            "ZetaSqlLocalService_GetLanguageOptions", request, options_pb2.LanguageOptionsProto
        )
        language.product_mode = public_options_pb2.PRODUCT_EXTERNAL  # BigQuery: no INT32, no FLOAT
        self._options = options_pb2.AnalyzerOptionsProto(language_options=language, default_timezone="UTC")

    def check(self, sql: str, tables: dict[str, pa.Schema]) -> pa.Schema:
        """The columns of a query over `tables`, by name ("orders" or "project.dataset.orders"). Raises ServerError, with what BigQuery would say, where it is not valid."""
        request = service_pb2.PrepareQueryRequest(sql=sql, options=self._options, simple_catalog=self._catalog(tables))
        answer = self._call("PrepareQuery", request, service_pb2.PrepareQueryResponse)
        try:
            return pa.schema([(column.name, _arrow_type(column.type)) for column in answer.prepared.columns])
        finally:
            forget = service_pb2.UnprepareQueryRequest(prepared_query_id=answer.prepared.prepared_query_id)
            self._client.call_grpc_func("ZetaSqlLocalService_UnprepareQuery", forget)

    def execute(self, sql: str, tables: dict[str, pa.Table]) -> pa.Table:
        """The rows of a query over `tables`, by name (which is not in a data set: the evaluator knows no such content)."""
        request = service_pb2.EvaluateQueryRequest(
            sql=sql,
            options=self._options,
            simple_catalog=self._catalog({name: table.schema for name, table in tables.items()}),
        )
        for name, table in tables.items():
            content = request.table_content[name].table_data
            content.SetInParent()  # of a table without rows, too
            columns = [column.to_pylist() for column in table.columns]
            for row in zip(*columns):
                cells = content.row.add()
                for value, field in zip(row, table.schema):
                    _write(cells.cell.add(), value, field.type)
        answer = self._call("EvaluateQuery", request, service_pb2.EvaluateQueryResponse)
        types = [column.type for column in answer.prepared.columns]
        rows = [[_read(cell, kind) for cell, kind in zip(row.cell, types)] for row in answer.content.table_data.row]
        schema = pa.schema([(column.name, _arrow_type(column.type)) for column in answer.prepared.columns])
        columns = list(zip(*rows)) if rows else [()] * len(schema)
        return pa.Table.from_arrays([pa.array(list(c), f.type) for c, f in zip(columns, schema)], schema=schema)

    def _call(self, method, request, response):
        try:
            return self._client.call_grpc_func(f"ZetaSqlLocalService_{method}", request, response)
        except ServerError as error:
            raise ServerError(error.code, f"{error.message}\n{request.sql}", error.raw_error) from None

    def _catalog(self, tables: dict[str, pa.Schema]) -> simple_catalog_pb2.SimpleCatalogProto:
        root = simple_catalog_pb2.SimpleCatalogProto(name="root")
        root.builtin_function_options.language_options.CopyFrom(self._options.language_options)
        for path, schema in tables.items():
            *folders, name = path.split(".")
            catalog = root
            for folder in folders:
                inner = [each for each in catalog.catalog if each.name == folder]
                catalog = inner[0] if inner else catalog.catalog.add(name=folder)
            table = catalog.table.add(name=name)
            for field in schema:
                pseudo = field.name in PSEUDO
                table.column.add(name=field.name, type=_sql_type(field.type), is_pseudo_column=pseudo)
        return root


def _client() -> zetasql.core.wasm_client.WasmClient:
    """A client whose module is compiled once on a machine, and kept in the folder for temporary files."""
    wasm = get_wasm_path()
    folder = pathlib.Path(tempfile.gettempdir()) / f"zetasql-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"{folder} is another user's; machine code of theirs is not run")
    stat = wasm.stat()
    kept = folder / f"wasmtime-{importlib.metadata.version('wasmtime')}-{stat.st_size}-{stat.st_mtime_ns}.bin"

    class Module(wasmtime.Module):
        @classmethod
        def from_file(cls, engine: wasmtime.Engine, path: str) -> wasmtime.Module:
            try:
                return wasmtime.Module.deserialize_file(engine, str(kept))
            except (OSError, wasmtime.WasmtimeError):
                module = wasmtime.Module.from_file(engine, path)
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                file.write(module.serialize())
            os.replace(file.name, kept)  # two runs at once each put a whole file there
            return module

    zetasql.core.wasm_client.Module, whole = Module, zetasql.core.wasm_client.Module
    try:
        return ZetaSqlLocalService.get_instance().wasm_client
    finally:
        zetasql.core.wasm_client.Module = whole


def _sql_type(of: pa.DataType) -> type_pb2.TypeProto:
    if pa.types.is_list(of) or pa.types.is_large_list(of):
        proto = type_pb2.TypeProto(type_kind=type_pb2.TYPE_ARRAY)
        proto.array_type.element_type.CopyFrom(_sql_type(of.value_type))
        return proto
    if pa.types.is_struct(of):
        proto = type_pb2.TypeProto(type_kind=type_pb2.TYPE_STRUCT)
        for field in of:
            proto.struct_type.field.add(field_name=field.name, field_type=_sql_type(field.type))
        return proto
    return type_pb2.TypeProto(type_kind=KINDS[_name(of)][0])


def _name(of: pa.DataType) -> str:
    if pa.types.is_timestamp(of):
        return "TIMESTAMP" if of.tz else "DATETIME"
    if pa.types.is_integer(of):
        return "INT64"
    if pa.types.is_floating(of):
        return "FLOAT64"
    if pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_null(of):
        return "STRING"
    return {pa.bool_(): "BOOL", pa.binary(): "BYTES", pa.date32(): "DATE"}[of]


def _arrow_type(of: type_pb2.TypeProto) -> pa.DataType:
    if of.type_kind == type_pb2.TYPE_ARRAY:
        return pa.list_(_arrow_type(of.array_type.element_type))
    if of.type_kind == type_pb2.TYPE_STRUCT:
        return pa.struct([(field.field_name, _arrow_type(field.field_type)) for field in of.struct_type.field])
    return OF_KIND[of.type_kind][0]


def _write(cell: value_pb2.ValueProto, value, of: pa.DataType) -> None:
    """A value into a cell; nothing written is NULL."""
    if value is None:
        return
    if pa.types.is_list(of) or pa.types.is_large_list(of):
        cell.array_value.SetInParent()
        for element in value:
            _write(cell.array_value.element.add(), element, of.value_type)
    elif pa.types.is_struct(of):
        cell.struct_value.SetInParent()
        for field in of:
            _write(cell.struct_value.field.add(), value[field.name], field.type)
    elif (name := _name(of)) == "TIMESTAMP":
        since = (value.astimezone(UTC).replace(tzinfo=None) - EPOCH) // datetime.timedelta(microseconds=1)
        cell.timestamp_value.CopyFrom(timestamp_pb2.Timestamp(seconds=since // 10**6, nanos=since % 10**6 * 1000))
    elif name == "DATETIME":
        packed = value.year
        for part, bits in ((value.month, 4), (value.day, 5), (value.hour, 5), (value.minute, 6), (value.second, 6)):
            packed = packed << bits | part
        cell.datetime_value.bit_field_datetime_seconds = packed
        cell.datetime_value.nanos = value.microsecond * 1000
    elif name == "DATE":
        cell.date_value = (value - EPOCH.date()).days
    else:
        setattr(cell, KINDS[name][2], value)


def _read(cell: value_pb2.ValueProto, of: type_pb2.TypeProto):
    which = cell.WhichOneof("value")
    if which is None:
        return None
    if which == "array_value":
        return [_read(element, of.array_type.element_type) for element in cell.array_value.element]
    if which == "struct_value":
        fields = zip(of.struct_type.field, cell.struct_value.field)
        return {field.field_name: _read(value, field.field_type) for field, value in fields}
    if which == "timestamp_value":
        at = cell.timestamp_value
        return (EPOCH + datetime.timedelta(seconds=at.seconds, microseconds=at.nanos // 1000)).replace(tzinfo=UTC)
    if which == "datetime_value":
        parts, packed = [], cell.datetime_value.bit_field_datetime_seconds
        for bits in (6, 6, 5, 5, 4):
            parts.append(packed & ((1 << bits) - 1))
            packed >>= bits
        return datetime.datetime(packed, *reversed(parts), cell.datetime_value.nanos // 1000)
    if which == "date_value":
        return EPOCH.date() + datetime.timedelta(days=cell.date_value)
    return getattr(cell, which)
