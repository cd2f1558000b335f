"""Rows of prepared tables, as they stream from their files: a part at a time, of several clusters in one order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tables.columns import import_pyarrow
from .layout import SESSION_ORDER
from .manifest import FILE
from .parts import ROW_GROUP, PartFile
from .prepared import Prepared

if TYPE_CHECKING:
    import pyarrow as pa

_HELD = 1 << 20  # rows of all clusters together that are held while they are merged
_FEWEST = 2048  # of each
_OPEN = 700  # files at a time: systems allow a process some 1,000


def table_rows(prepared: Prepared, files: Sequence[PartFile], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows of files, one file after the other, ROW_GROUP at a time.

    Raises
    ------
    ValueError
        A file is missing, no Parquet, of another size, or lacks a column.
    RuntimeError
        It cannot be read.
    """
    return _rows(prepared, files, columns, ROW_GROUP)


def session_rows(prepared: Prepared, columns: Sequence[str], folders: Sequence[str]) -> Iterator[pa.Table]:
    """Rows of sessions in the order of session_end, session_id and position, those columns included. Each folder has them
    in that order. Each table has the next rows: what is held does not grow with the data.

    Raises
    ------
    ValueError
        As :func:`table_rows`; the rows of a folder are in another order.
    """
    wanted = list(dict.fromkeys((*columns, *SESSION_ORDER)))
    size = max(_FEWEST, min(ROW_GROUP, _HELD // max(1, len(folders))))
    rows = _rows if len(folders) <= _OPEN else _rows_of_closed_files
    runs = [_Run(folder, rows(prepared, prepared.manifest.below(folder), wanted, size), size) for folder in folders]
    if len(runs) == 1:
        return runs[0].tables()
    return _merged(runs)


def column_names(prepared: Prepared, files: Sequence[PartFile]) -> list[str]:
    """Of a table, all of whose files have the same; none without files. Raises as :func:`table_rows`."""
    for file in files:
        with _opened(prepared, file, ()) as parquet:
            return list(parquet.schema_arrow.names)
    return []


@contextlib.contextmanager
def _opened(prepared: Prepared, file: PartFile, columns: Sequence[str]) -> Iterator[Any]:
    """A pyarrow ParquetFile, which has these columns."""
    import_pyarrow(f"reading {prepared.url}")
    import pyarrow as pa
    import pyarrow.parquet

    place = prepared.target.place(file.path)
    with prepared.target.open(file.path) as content:
        size = content.seek(0, 2)
        if size != file.bytes:
            raise ValueError(f"{place} has {size:,} bytes, {FILE} says {file.bytes:,} bytes; prepare the data anew")
        try:
            parquet = pa.parquet.ParquetFile(content)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{place} was altered: it is no Parquet file: {error}; prepare the data anew") from None
        names = parquet.schema_arrow.names
        lacking = [name for name in columns if name not in names]
        if lacking:
            raise ValueError(f"{place}: no column '{lacking[0]}' among {', '.join(names)}")
        yield parquet


def _rows(prepared: Prepared, files: Sequence[PartFile], columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
    """So many rows at a time."""
    for file in files:
        with _opened(prepared, file, columns) as parquet:
            batches = parquet.iter_batches(size, columns=list(columns), use_threads=False)
            while True:
                with prepared.target.errors_named("read", file.path):
                    batch = next(batches, None)
                if batch is None:
                    break
                yield batch.select(list(columns))


def _rows_of_closed_files(
    prepared: Prepared, files: Sequence[PartFile], columns: Sequence[str], size: int
) -> Iterator[pa.RecordBatch]:
    """The same, from files that are opened for each of their row groups."""
    for file in files:
        group, groups = 0, 1
        while group < groups:
            with _opened(prepared, file, columns) as parquet, prepared.target.errors_named("read", file.path):
                groups = parquet.num_row_groups
                rows = parquet.read_row_group(group, list(columns), use_threads=False)
            yield from rows.select(list(columns)).to_batches(size)
            group += 1


class _Run:
    """Rows of one cluster, and what is held of them."""

    def __init__(self, where: str, batches: Iterator[pa.RecordBatch], size: int):
        self._where, self._batches = where, batches
        self.size = size  # rows of a batch
        self._held: list[pa.RecordBatch] = []
        self._end: int | None = None  # session_end of the last row that was read
        self.n_held = 0
        self.more = True

    def tables(self) -> Iterator[pa.Table]:
        """All rows."""
        import pyarrow as pa

        while self.more:
            self.read(1)
            if self._held:
                yield pa.Table.from_batches(self.take(None))

    @property
    def known_before(self) -> int | None:
        """All rows whose session ended before that are held; None where all rows are."""
        return self._end if self.more else None

    def read(self, rows: int) -> None:
        """Hold so many rows, or all that there are."""
        while self.more and self.n_held < rows:
            batch = next(self._batches, None)
            if batch is None:
                self.more = False
            elif batch.num_rows:
                self._check_order(batch)
                self._held.append(batch)
                self.n_held += batch.num_rows

    def read_on(self) -> None:
        self.read(self.n_held + 1)

    def take(self, before: int | None) -> list[pa.RecordBatch]:
        """Rows that are held of sessions that ended before a moment, or all."""
        taken = []
        while self._held:
            batch = self._held[0]
            end = batch.num_rows if before is None else int(np.searchsorted(_ends(batch), before))
            if end:
                taken.append(batch.slice(0, end))
                self.n_held -= end
            if end < batch.num_rows:
                self._held[0] = batch.slice(end)
                break
            del self._held[0]
        return taken

    def _check_order(self, batch: Any) -> None:
        ends = _ends(batch)
        if (np.diff(ends) < 0).any() or (self._end is not None and ends[0] < self._end):
            raise ValueError(f"{self._where}: its rows are not in the order of session_end; prepare the data anew")
        self._end = int(ends[-1])


def _ends(batch: pa.RecordBatch) -> np.ndarray:
    return batch.column("session_end").to_numpy()


def _merged(runs: Sequence[_Run]) -> Iterator[pa.Table]:
    """Rows of several clusters, sorted. Every run is held up to some moment; what ended before all of those is next."""
    import pyarrow as pa
    import pyarrow.compute as pc

    runs = list(runs)
    while runs:
        for run in runs:
            run.read(run.size // 2)
        known = [run.known_before for run in runs if run.known_before is not None]
        before = min(known, default=None)
        taken = [batch for run in runs for batch in run.take(before)]
        if taken:
            table = pa.Table.from_batches(taken).combine_chunks()
            del taken
            yield table.take(pc.sort_indices(table, [(name, "ascending") for name in SESSION_ORDER]))
        else:
            for run in runs:
                if run.known_before == before:
                    run.read_on()
        runs = [run for run in runs if run.more or run.n_held]
