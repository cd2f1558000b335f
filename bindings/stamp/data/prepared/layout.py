"""Where the tables of prepared data lie, and the columns of sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .manifest import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

EVENTS, SESSIONS, HELD_OUT, PRODUCTS, QUARANTINE = "events", "sessions", "held_out", "products", "quarantine"
CATALOG = "catalog"  # the products of the sessions in the order in which they first occur: item_id, and events of each

WHOLE = 0  # the one cluster before a partition
NONE = -1  # of products that are in no cluster

SESSION_ORDER = ("session_end", "session_id", "position")  # that rows of sessions are sorted by


def cluster_folders(manifest: Manifest) -> dict[int, str]:
    """The folders of all clusters that have files, by cluster, rising."""
    folders = {"/".join(file.path.split("/")[:2]) for file in manifest.below(SESSIONS)}
    return dict(sorted((int(folder.partition("=")[2]), folder) for folder in folders))


def session_schema(item_ids: str) -> pa.Schema:
    """The columns of sessions, one event a row; `item_ids` as of the manifest. What the next event of the session was is
    null at its end, all weights and values are millionths, all times microseconds since 1970."""
    import pyarrow as pa

    item = pa.int64() if item_ids == "integer" else pa.string()
    return pa.schema([
        ("session_id", pa.string()),
        ("position", pa.int64()),  # 0 … in the whole session
        ("item_id", item),
        ("timestamp", pa.int64()),
        ("visitor_id", pa.string()),
        ("event_type", pa.string()),
        ("value_millionths", pa.int64()),
        ("weight_millionths", pa.int64()),
        ("next_item_id", item),
        ("next_weight_millionths", pa.int64()),
        ("next_timestamp", pa.int64()),
        ("session_start", pa.int64()),
        ("session_end", pa.int64()),
    ])  # fmt: skip
