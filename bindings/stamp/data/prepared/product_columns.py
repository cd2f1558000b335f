"""The products of prepared data as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..tables.column_reader import ColumnReader, Written
from ..tables.columns import Column
from ..tables.conversion import as_column
from .layout import PRODUCTS
from .prepared import Prepared
from .rows import column_names, table_rows

# What preparation counts, and no attribute of a product unless it is named.
COUNTED = ("first_seen", "last_seen", "events", "price_millionths")
_PRICE, _MILLIONTHS = "price", "price_millionths"


def product_columns(call: str, prepared: Prepared) -> ColumnReader:
    """The columns of products; `price`, in whole units, beside price_millionths. Messages of ValueErrors begin with
    `call`."""
    files = prepared.manifest.below(PRODUCTS)
    where = f"{call}: {prepared.target.place(PRODUCTS)}"
    there = column_names(prepared, files)
    names = [*there, _PRICE] if _MILLIONTHS in there and _PRICE not in there else there

    def read(places: Sequence[int], _: Written) -> Iterable[Column]:
        import pyarrow as pa

        wanted = [names[place] for place in places]
        sources = [name if name in there else _MILLIONTHS for name in wanted]
        chunks: dict[str, list[Any]] = {name: [] for name in sources}
        for batch in table_rows(prepared, files, list(chunks)):
            for name in chunks:
                chunks[name].append(batch.column(name))
        for name, source in zip(wanted, sources):
            column = as_column(f"{where}: column '{name}'", pa.chunked_array(chunks[source]))
            if name not in there:
                column = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) / 1_000_000
            yield column

    return ColumnReader(where, names, read)
