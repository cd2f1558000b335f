"""Part files: a table as Parquet files of bounded size, named by what is in them."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import urllib.parse
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ...base.folders import Folder

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROWS = 2_000_000  # of a file
ROW_GROUP = 16_384  # rows: a reader that merges hundreds of clusters holds as many of each, decoded


@dataclass(frozen=True)
class PartFile:
    """A file of a table.

    Attributes
    ----------
    path : str
        Below the folder of the prepared data.
    rows, bytes : int
    sha256 : str
    """

    path: str
    rows: int
    bytes: int
    sha256: str


class PartWriter:
    """Writes the rows of a table, as they come, to part files below `folder`.

    The same rows give the same files, to the byte, whatever batches they come in. Where a call raises, or an error leaves
    its ``with`` block, what was written is taken back; the end of the block closes.

    Parameters
    ----------
    target : Folder
    folder : str
        Below the target: "sessions".
    schema : pyarrow.Schema
        Of the batches, `cut_by` included.
    cut_by : str, optional
        A column whose rows of one value come together. Each value has a folder ``<cut_by>=<value>`` of its own, whose files
        lack the column. For "day", whole days since 1970, the folder says the date.
    max_rows : int
        Of a file.
    """

    def __init__(
        self,
        target: Folder,
        folder: str,
        schema: pa.Schema,
        *,
        cut_by: str | None = None,
        max_rows: int = MAX_ROWS,
    ):
        self._target, self._folder, self._schema = target, folder, schema
        self._cut_by, self._max_rows = cut_by, max_rows
        self._of_files = schema if cut_by is None else schema.remove(schema.get_field_index(cut_by))
        self._files: list[PartFile] = []
        self._new: list[str] = []  # of these, paths of those that were not there before
        self._values: list[Any] = []  # of cut_by, so far
        self._place = folder  # where the files of the value at hand are
        self._number = 0  # of the next of them
        self._open: _OpenPart | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Rows [n].

        Raises
        ------
        ValueError
            A column is missing or of another type, a value of `cut_by` is null, or comes again after others.
        RuntimeError
            The disk, or whatever else does not take them; names the file.
        """
        with self._taking_back():
            for value, rows in self._runs(batch):
                if self._cut_by is not None and self._values[-1:] != [value]:
                    self._turn_to(value)
                while rows.num_rows:
                    if self._open is None:
                        self._open = _OpenPart(self._target, f"{self._place}/part-{self._number:05}", self._of_files)
                    room = self._max_rows - self._open.rows
                    self._open.write(rows.slice(0, room))
                    rows = rows.slice(room)
                    if self._open.rows == self._max_rows:
                        self._finish()

    def write_all(self, batches: Iterable[pa.RecordBatch]) -> None:
        """As :meth:`write`, one after the other, each on a thread beside while the next is made. Raises what both raise."""
        with self._taking_back(), ThreadPoolExecutor(1) as beside:
            writing: Future[None] | None = None
            for batch in batches:
                if writing is not None:
                    writing.result()
                writing = beside.submit(self.write, batch)
            if writing is not None:
                writing.result()

    def close(self) -> list[PartFile]:
        """Finish the last file. All files, in the order in which they were written. Raises RuntimeError as :meth:`write`."""
        with self._taking_back():
            self._finish()
        return self._files

    def take_back(self) -> None:
        """Remove what was written, but for files that were there before."""
        if self._open is not None:
            self._open.discard()
            self._open = None
        while self._new:
            self._target.remove(self._new.pop())

    def _runs(self, batch: pa.RecordBatch) -> Iterator[tuple[Any, pa.RecordBatch]]:
        """Each value of `cut_by` with its rows, which lack that column."""
        import pyarrow as pa
        import pyarrow.compute as pc

        where = self._target.place(self._folder)
        if not batch.schema.equals(self._schema):
            raise ValueError(f"{where}: rows have the columns {_said(batch.schema)}, expected {_said(self._schema)}")
        if self._cut_by is None:
            yield None, batch
            return
        column = batch.column(self._cut_by)
        if column.null_count:
            raise ValueError(f"{where}: a row has no {self._cut_by}, which files are cut by")
        rest = pa.RecordBatch.from_arrays([batch.column(name) for name in self._of_files.names], schema=self._of_files)
        runs, begin = pc.run_end_encode(column, run_end_type=pa.int64()), 0
        for value, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist()):
            yield value, rest.slice(begin, end - begin)
            begin = end

    def _turn_to(self, value: Any) -> None:
        self._finish()
        if value in self._values:
            raise ValueError(
                f"{self._target.place(self._folder)}: {self._cut_by} {value!r} comes again after {self._values[-1]!r}; "
                f"sort the rows by {self._cut_by}"
            )
        self._values.append(value)
        self._place = f"{self._folder}/{self._cut_by}={_folder_value(self._cut_by, value)}"
        self._number = 0

    def _finish(self) -> None:
        if self._open is None:
            return
        part = self._open.finish()
        there = self._target.size(part.path) is not None
        self._open.put(part)
        self._open = None
        self._number += 1
        self._files.append(part)
        if not there:
            self._new.append(part.path)

    @contextlib.contextmanager
    def _taking_back(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.take_back()
            raise

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.take_back()


class _OpenPart:
    """A part that is being written, aside."""

    def __init__(self, target: Folder, path: str, schema: pa.Schema):
        """`path` as far as it is known: all but the hash."""
        import pyarrow as pa
        import pyarrow.parquet

        self.rows = 0
        self._target, self._path = target, path
        self._waiting: list[pa.RecordBatch] = []  # for a row group to be full
        self._n_waiting = 0
        self._scratch = target.scratch(path.rpartition("/")[0])
        # Of numbers, dictionaries are larger than themselves, and a third of the time of writing.
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        try:
            with target.errors_named("write", path):
                self._writer = pyarrow.parquet.ParquetWriter(
                    self._scratch, schema, compression="zstd", use_dictionary=texts
                )
        except BaseException:
            os.unlink(self._scratch)
            raise

    def write(self, rows: pa.RecordBatch) -> None:
        self.rows += rows.num_rows
        self._n_waiting += rows.num_rows
        self._waiting.append(rows)
        if self._n_waiting >= ROW_GROUP:
            self._write_groups(self._n_waiting // ROW_GROUP * ROW_GROUP)

    def finish(self) -> PartFile:
        if self._n_waiting:
            self._write_groups(self._n_waiting)
        with self._target.errors_named("write", self._path):
            self._writer.close()
            digest = _sha256(self._scratch)
            size = os.path.getsize(self._scratch)
        return PartFile(f"{self._path}-{digest[:12]}.parquet", self.rows, size, digest)

    def put(self, part: PartFile) -> None:
        self._target.put(part.path, self._scratch)

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # which is what it is discarded for
            self._writer.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._scratch)

    def _write_groups(self, rows: int) -> None:
        """The first rows of those that wait. In one piece, or the pages would show what pieces they came in."""
        import pyarrow as pa

        table = pa.Table.from_batches(self._waiting).combine_chunks()
        with self._target.errors_named("write", self._path):
            self._writer.write_table(table.slice(0, rows), row_group_size=ROW_GROUP)
        self._waiting = table.slice(rows).to_batches()
        self._n_waiting -= rows


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _folder_value(cut_by: str | None, value: Any) -> str:
    if cut_by == "day":
        return (datetime.date(1970, 1, 1) + datetime.timedelta(days=value)).isoformat()
    return urllib.parse.quote(str(value), safe="")


def _said(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
