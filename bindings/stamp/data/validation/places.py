"""Texts at paths and URLs: the profile lies beside prepared data, wherever those are."""

from __future__ import annotations

import os

from ...base.files import read_text, write_text
from ...base.folders import Folder, is_url


def read_at(what: str, place: str | os.PathLike[str]) -> str:
    """ValueError, which names the place, where there is no such text."""
    if not is_url(os.fspath(place)):
        return read_text(what, place)
    folder, _, name = os.fspath(place).rpartition("/")
    try:
        return Folder(folder).read_text(name)
    except ValueError as error:
        raise ValueError(f"{what} {os.fspath(place)}: {error}") from None


def write_at(place: str | os.PathLike[str], text: str) -> None:
    """Whole, or not at all. RuntimeError where it cannot be."""
    if is_url(os.fspath(place)):
        folder, _, name = os.fspath(place).rpartition("/")
        Folder(folder).publish(name, text)
    else:
        write_text(place, text)
