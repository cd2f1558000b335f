"""The pipeline file: all that there is to say of a shop's nights, in one JSON file."""

from __future__ import annotations

import copy
import importlib.resources
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..base.extras import import_extra
from ..base.files import read_text
from ..base.folders import is_url
from ..base.policies import Wrong, read_policy
from ..catalog.jobs import Settings
from ..catalog.training import MIN_EXAMPLES
from ..data.preparation.options import Options
from ..data.sources.mapping_files import read_mapping
from ..data.validation.policy import DataPolicy
from ..offline.recordings.zones import read_zones
from ..offline.reports.policy import Policy

_PATHS = (("source",), ("catalog",), ("work",), ("store",), ("engine", "spill"))
_FILES = (
    ("mapping",),
    ("validate", "policy"),
    ("bundle", "rules"),
    ("judge", "policy"),
)  # whose contents may stand there


def shop_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a pipeline file.

    Examples
    --------
    >>> import stamp.pipeline
    >>> stamp.pipeline.shop_schema()["title"]
    'Pipeline file of a shop'
    """
    text = importlib.resources.files(__package__).joinpath("shop.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


class Shop:
    """What a pipeline file says, with paths made absolute and files that it names read: it means the same anywhere.

    Attributes
    ----------
    name, source, work, store, alias : str
    given : dict
        All of it, as it may stand in a file.
    """

    def __init__(self, given: Mapping[str, Any]):
        self.given = given
        self.name: str = given["shop"]
        self.source: str = given["source"]
        self.work: str = given["work"]
        self.store: str = given["store"]
        self.alias: str = given.get("alias", "champion")

    @classmethod
    def read(cls, source: str | os.PathLike[str] | Mapping[str, Any]) -> Shop:
        """Read a pipeline file, or what such a file holds, whose paths are relative to the working directory then.

        Raises
        ------
        ValueError
            There is no such file, it is not JSON, or something in it cannot be; the message has the path of the key.
        ImportError
            jsonschema is missing: ``pip install 'stamp-recommender[pipeline]'``.
        """
        folder = pathlib.Path() if isinstance(source, Mapping) else pathlib.Path(source).parent
        return read_policy(source, lambda given: cls(_whole(given, folder.absolute())), what="pipeline file")

    def section(self, name: str) -> dict[str, Any]:
        """Options of a part, as they were given."""
        return copy.deepcopy(self.given.get(name, {}))

    def to_json(self) -> str:
        """A pipeline file that means the same, keys in their order, in which rules stand in bundles."""
        return json.dumps(self.given, indent=1, ensure_ascii=False) + "\n"

    def __repr__(self) -> str:
        return f"Shop({self.name!r}, {self.source!r} to {self.store!r})"


def _whole(given: Any, folder: pathlib.Path) -> dict[str, Any]:
    """Checked, with absolute paths, and the contents of files."""
    _require_schema(given)
    made = copy.deepcopy(dict(given))
    for keys in _PATHS:
        _change(made, keys, lambda value: _absolute(folder, value))
    for keys in _FILES:
        _change(made, keys, lambda value: _contents(folder, value))
    for keys, parse in (
        (("mapping",), lambda value: isinstance(value, str) or read_mapping(value)),
        (("validate", "policy"), DataPolicy.read),
        (("judge", "policy"), Policy.read),
        (("judge", "zones"), read_zones),
        (("full",), _check_training),
        (("train",), _check_training),
        (("prepare",), lambda value: Options.read(**value)),
    ):
        _check(made, keys, parse)
    return made


def _require_schema(given: Any) -> None:
    jsonschema = import_extra("jsonschema", purpose="reading a pipeline file", extra="pipeline")
    validator = jsonschema.Draft202012Validator(shop_schema())
    error = jsonschema.exceptions.best_match(validator.iter_errors(given))
    if error is None:
        return
    where = error.json_path.removeprefix("$").removeprefix(".")
    where = f"{where} " if where else ""
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in error.instance if key not in known)
        raise Wrong(f"{where}has the key {unknown!r}, expected some of {', '.join(known)}")
    raise Wrong(f"{where or 'the file '}cannot be: {error.message}")


def _absolute(folder: pathlib.Path, value: str) -> str:
    """Of what is no URL: bigquery://…, gs://… stay."""
    return value if is_url(value) else os.path.normpath(folder / value)


def _contents(folder: pathlib.Path, value: Any) -> Any:
    """Of a JSON file, where it is one's name."""
    if not isinstance(value, str) or not value.endswith(".json"):
        return value
    path = folder / value
    try:
        return json.loads(read_text("it names", path))
    except ValueError as error:
        raise Wrong(f"{value}: {error}") from None


def _change(given: dict[str, Any], keys: Sequence[str], change: Any) -> None:
    for key in keys[:-1]:
        given = given.get(key, {})
    if keys[-1] in given:
        given[keys[-1]] = change(given[keys[-1]])


def _check(given: Mapping[str, Any], keys: Sequence[str], parse: Any) -> None:
    value: Any = given
    for key in keys:
        if key not in value:
            return
        value = value[key]
    try:
        parse(value)
    except ValueError as error:
        raise Wrong(f"{'.'.join(keys)}: {error}") from None


def _check_training(train: Mapping[str, Any]) -> None:
    Settings.read(train.get("config"), train.get("min_examples", MIN_EXAMPLES))
