"""Files of raw clicks: which there are, of what kind, and whether they are whole."""

from __future__ import annotations

import csv
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow as pa

_KINDS = {
    "parquet": "parquet", "pq": "parquet", "json": "json", "jsonl": "json", "ndjson": "json", "csv": "text", "tsv": "text",
    "txt": "text", "dat": "text",
}  # fmt: skip
_COMPRESSED = {"gz": "gzip", "zst": "zstd"}
_SEPARATORS = {"csv": ",", "dat": ","}
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files of one kind, in the order of their paths: `kind` is parquet, json or text."""

    kind: str
    paths: Sequence[str]
    separator: str


def find_files(source: str) -> Files:
    """Of a path or an fsspec URL: a file, a pattern ("clicks-*.csv"), or a folder with all below it. What begins with . or _
    is not read. ValueError where there is none, or of several kinds."""
    filesystem, path = fsspec.core.url_to_fs(source)
    try:
        if any(sign in path for sign in "*?["):
            found = filesystem.glob(path)
        else:
            found = filesystem.find(path) if filesystem.isdir(path) else [path] * filesystem.exists(path)
    except OSError as error:
        raise ValueError(f"source {source}: {error.strerror or error}") from None
    below = os.path.dirname(path) if len(found) == 1 else path
    known = {name: _kind_of(name) for name in sorted(found) if not _hidden(os.path.relpath(name, below))}
    files = {name: kind for name, kind in known.items() if kind is not None}
    if not files:
        looked = f"; {found[0]} is none" if found else ""
        raise ValueError(f"source {source}: there is no file of {', '.join(_KINDS)} (.gz, .zst){looked}")
    (first, (kind, extension)), *_ = files.items()
    for name, (other, _) in files.items():
        if other != kind:
            raise ValueError(f"source {source}: {first} is {kind} and {name} is {other}; expected files of one kind")
    local = isinstance(filesystem, fsspec.implementations.local.LocalFileSystem)
    paths = list(files) if local else [filesystem.unstrip_protocol(name) for name in files]
    return Files(kind=kind, paths=paths, separator=_SEPARATORS.get(extension, "\t"))


def _hidden(path: str) -> bool:
    return any(part[0] in "._" for part in path.split("/") if part not in ("", ".", ".."))


def _kind_of(path: str) -> tuple[str, str] | None:
    """parquet, json or text, and the extension that says so."""
    parts = os.path.basename(path).lower().split(".")
    if parts[-1] in _COMPRESSED:
        parts.pop()
    return (_KINDS[parts[-1]], parts[-1]) if parts[-1] in _KINDS else None


def first_values(path: str, separator: str) -> list[str]:
    """The first line of a text file. ValueError where there is none."""
    for block in _blocks(path):
        line, end, _ = block.partition(b"\n")
        if not end and len(block) == _BLOCK:
            raise ValueError(f"{path}: the first line has more than {_BLOCK} bytes; expected names of columns")
        try:
            return next(csv.reader([line.decode("utf-8-sig").rstrip("\r")], delimiter=separator))
        except (UnicodeDecodeError, StopIteration):
            raise ValueError(f"{path}: the first line holds no names of columns in UTF-8") from None
    raise ValueError(f"{path}: the file is empty; expected names of columns in the first line")


def first_names(path: str, separator: str) -> list[str]:
    """The names of the columns, where a text file begins with them."""
    names = first_values(path, separator)
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(f"{path}: the first line holds {', '.join(map(repr, names))}; expected a name for each column")
    return names


def json_names(path: str) -> list[str]:
    """Names of the values in the first lines of a file of JSON lines. ValueError where none of them holds any."""
    for block in _blocks(path):
        names: dict[str, None] = {}
        for line in block.split(b"\n"):
            try:
                value = json.loads(line)
            except ValueError:  # of a line that is cut at the block's end, too
                continue
            names.update(dict.fromkeys(value) if isinstance(value, dict) else {})
        if names:
            return list(names)
        break
    raise ValueError(f"{path}: the first lines hold no JSON objects; expected one a line")


def find_separator(path: str, usual: str) -> str:
    """What stands between the names of the columns: the usual one, or else another that does."""
    others = [each for each in (usual, ",", "\t", ";", "|") if len(first_values(path, each)) > 1]
    return others[0] if others else usual


def check_whole(paths: Sequence[str]) -> None:
    """ValueError for a compressed file that is cut off: an engine would read what is left as if it were all."""
    for path in paths:
        if path.rpartition(".")[2].lower() in _COMPRESSED:
            for _ in _blocks(path):
                pass


def _blocks(path: str) -> Iterator[bytes]:
    compression = _COMPRESSED.get(path.rpartition(".")[2].lower())
    with fsspec.open(path) as file:
        if compression == "gzip":
            yield from _gunzipped(path, file)
            return
        stream: Any = file if compression is None else pa.CompressedInputStream(file, compression)
        try:
            while block := stream.read(_BLOCK):
                yield bytes(block)
        except OSError as error:
            raise ValueError(f"{path}: the file is cut off or damaged: {error}") from None


def _gunzipped(path: str, file: Any) -> Iterator[bytes]:
    """Of all members, one after the other, as gzip allows."""
    member = zlib.decompressobj(wbits=31)
    try:
        while packed := file.read(_BLOCK):
            while packed:
                if member.eof:
                    member = zlib.decompressobj(wbits=31)
                block = member.decompress(packed)
                packed = member.unused_data
                if block:
                    yield block
    except zlib.error as error:
        raise ValueError(f"{path}: the file is damaged: {error}") from None
    if not member.eof:
        raise ValueError(f"{path}: the file is cut off: its gzip stream has no end")
