"""The store of releases: contents once, releases that do not change, aliases that move one at a time, and what brings them
to servers (docs/store.md).

May import: base, serving.
"""

from .aliases import Alias, ConflictError, Move
from .collection import Collected
from .differences import Changes, Difference
from .fetch import Fetched
from .releases import Release, StoredFile
from .store import Store
from .syncing import Synced, sync
from .upload import Uploaded
from .verification import Finding, Verified

__all__ = [
    "Alias",
    "Changes",
    "Collected",
    "ConflictError",
    "Difference",
    "Fetched",
    "Finding",
    "Move",
    "Release",
    "Store",
    "StoredFile",
    "Synced",
    "Uploaded",
    "Verified",
    "sync",
]
