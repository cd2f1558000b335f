"""Where the tables of prepared data lie, and the columns of sessions."""

from __future__ import annotations

from .manifest import Manifest

EVENTS, SESSIONS, HELD_OUT, PRODUCTS = "events", "sessions", "held_out", "products"
CATALOG = "catalog"  # the products of the sessions in the order in which they first occur: item_id, and events of each

NONE = -1  # of products that are in no cluster

# Of sessions, one event a row. All times are microseconds since 1970, weights and values are millionths; `position` is 0, 1,
# … in the whole session, and what the next event of it was is null at its end.
SESSION_COLUMNS = (
    "session_id", "position", "item_id", "timestamp", "visitor_id", "event_type", "value_millionths", "weight_millionths",
    "next_item_id", "next_weight_millionths", "next_timestamp", "session_start", "session_end",
)  # fmt: skip
SESSION_ORDER = ("session_end", "session_id", "position")  # that rows of sessions are sorted by


def cluster_folders(manifest: Manifest) -> dict[int, str]:
    """The folders of all clusters that have files, by cluster, rising."""
    folders = {"/".join(file.path.split("/")[:2]) for file in manifest.below(SESSIONS)}
    return dict(sorted((int(folder.partition("=")[2]), folder) for folder in folders))
