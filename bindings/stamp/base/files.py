"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import pathlib
import secrets


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
