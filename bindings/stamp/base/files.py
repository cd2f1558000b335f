"""Files that are there whole or not at all, what may be put in their place, and texts by the names that they were given."""

from __future__ import annotations

import json
import os
import pathlib

from .. import _stamp

_HEADER_LIMIT = 100_000_000  # of safetensors


def read_text(what: str, path: str | os.PathLike[str]) -> str:
    """What a text file holds. Raises ValueError, which begins with `what` and names the file as it was named, where it
    cannot be read or is not UTF-8."""
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{what} {os.fspath(path)}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} {os.fspath(path)}: not UTF-8: {error}") from None


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Written aside, flushed to disk, renamed. RuntimeError where it cannot be."""
    _stamp.write_file(os.fspath(path), text.encode())


def check_file(path: str | os.PathLike[str]) -> None:
    """Raises RuntimeError where no file can be written to `path`: for calls that work long before they write."""
    _stamp.check_file(os.fspath(path))


def tensors_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a safetensors file, of which no more than the header is read; empty for what is none."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(size)) if size <= _HEADER_LIMIT else {}
        except ValueError:
            return {}
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}
