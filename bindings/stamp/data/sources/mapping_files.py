"""Mappings as JSON files, for columns that no ready mapping fits."""

from __future__ import annotations

import importlib.resources
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ibis

from ...base.policies import Wrong, read_policy, require_format, require_name, require_object
from .mapping import EventMapping

_FIELDS = ("visitor_id", "session_id", "time", "item_id", "event_type", "price", "quantity", "currency", "category", "brand",
           "event_id", "only")  # fmt: skip
_WORDS = ("name", "time_unit", "time_zone", "item_ids", "unnest", "separator")


def mapping_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a file with a mapping.

    Examples
    --------
    >>> import stamp.data.sources.mapping_files
    >>> stamp.data.sources.mapping_files.mapping_schema()["title"]
    'Mapping of raw events of stamp'
    """
    text = importlib.resources.files(__package__).joinpath("mapping.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def read_mapping(source: str | os.PathLike[str] | Mapping[str, Any]) -> EventMapping:
    """Read a mapping from a JSON file, or from what such a file holds.

    Raises
    ------
    ValueError
        There is no such file, it is not JSON, or it is no mapping; the message has the path of the key.

    Examples
    --------
    >>> from stamp.data.sources.mapping_files import read_mapping
    >>> read_mapping({"format": 1, "visitor_id": "user", "item_id": "sku", "time": ["clicked", "received"]}).time
    ('clicked', 'received')
    """
    return read_policy(source, _mapping, what="mapping")


def _mapping(given: Any) -> EventMapping:
    read: dict[str, Callable[[str, Any], Any]] = {
        **dict.fromkeys(_FIELDS, _field),
        **dict.fromkeys(_WORDS, require_name),
        "event_types": _names,
        "columns": _types,
        "names": _list,
    }
    require_object("the mapping", given, ("format", *read))
    require_format(given, 1)
    for key in ("item_id", "time"):
        if key not in given:
            raise Wrong(f"{key} is missing, expected the name of a column")
    try:
        return EventMapping(**{key: read[key](key, value) for key, value in given.items() if key != "format"})
    except ValueError as error:
        raise Wrong(str(error)) from None


def _field(path: str, given: Any) -> str | tuple[str, ...]:
    return require_name(path, given) if isinstance(given, str) else _list(path, given)


def _list(path: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise Wrong(f"{path} is {given!r}, expected the name of a column or a list of such names")
    return tuple(require_name(f"{path}[{i}]", each) for i, each in enumerate(given))


def _names(path: str, given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise Wrong(f"{path} is {given!r}, expected an object")
    return {key: require_name(f"{path}.{key}", value) for key, value in given.items()}


def _types(path: str, given: Any) -> dict[str, str]:
    found = _names(path, given)
    for name, kind in found.items():
        try:
            ibis.dtype(kind)
        except Exception as error:  # of Ibis' parser, of several kinds
            raise Wrong(f"{path}.{name} is {kind!r}, which is no type of Ibis: {error}") from None
    return found
