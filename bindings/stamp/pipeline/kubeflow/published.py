"""Pipeline files in the work folder, by what is in them: what pods are given the URL of."""

from __future__ import annotations

import hashlib
import json

from ...base.folders import Folder
from ..shop import Shop


def publish(shop: Shop) -> str:
    """Write it, if it is not there, as ``shops/<sha256>.json``. Returns its path or URL.

    Raises
    ------
    RuntimeError
        The work folder cannot be written.
    """
    text, work = shop.to_json(), Folder(shop.work)
    path = f"shops/{_digest(text)}.json"
    if work.size(path) is None:
        work.publish(path, text)
    return work.place(path)


def read_published(url: str) -> Shop:
    """What :func:`publish` wrote. Raises ValueError where there is none, or it was changed."""
    folder, _, name = url.rpartition("/")
    text = Folder(folder).read_text(name)
    if f"{_digest(text)}.json" != name:
        raise ValueError(f"{url} holds something else than was published; compile, or submit, again")
    return Shop.read(json.loads(text))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
