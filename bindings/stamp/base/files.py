"""Files that are there whole or not at all, and texts by the names that they were given."""

from __future__ import annotations

import os
import pathlib
import secrets


def read_text(what: str, path: str | os.PathLike[str]) -> str:
    """What a text file holds. Raises ValueError, which begins with `what` and names the file as it was named, where it
    cannot be read or is not UTF-8."""
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{what} {os.fspath(path)}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} {os.fspath(path)}: not UTF-8: {error}") from None


def write_text(path: pathlib.Path, text: str) -> None:
    """Written aside, flushed to disk, renamed."""
    # At random: containers share volumes, and process numbers.
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
