"""What people read of a release."""

from __future__ import annotations

import pathlib
import tempfile
import webbrowser

from .blobs import fetch_file
from .place import RECORDS
from .releases import Release
from .store import Store


def open_record(store: Store, release: Release) -> str:
    """In a browser: index.html of its record, else the first page of it. That of a store in a bucket is fetched first.

    Returns
    -------
    page : str
        The local file.

    Raises
    ------
    ValueError
        There is no page.
    RuntimeError
        It cannot be read, or no browser can be started.
    """
    pages = sorted(
        (path for path in release.record if path.endswith(".html")), key=lambda path: (path != "index.html", path)
    )
    if not pages:
        raise ValueError(f"show: {release.name} has no page in its record; upload with --record")
    folder = store.place.folder
    if folder.scheme == "file":
        page = pathlib.Path(folder.root) / RECORDS / release.name / pages[0]
    else:
        local = pathlib.Path(tempfile.mkdtemp(prefix=f"{release.name}-"))  # left for the browser
        for path, file in release.record.items():
            fetch_file(store.place, f"{RECORDS}/{release.name}/{path}", file, local / path, f"{release.name}: record")
        page = local / pages[0]
    if not webbrowser.open(page.resolve().as_uri()):
        raise RuntimeError(f"show: there is no browser to open {page} with")
    return str(page)
