"""What verbs share: parents of their parsers, and how what was given is read.

An option that may be given several times takes one value each time (``--k 5 --k 10``): one that took several would take
what follows it, too.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, NamedTuple

import stamp

from ..data.tables.ids import CHOICES
from ..data.tables.parquet_files import is_parquet

EVENTS = "events: a text file (CSV, TSV) or Parquet, or a folder of Parquet files"
_COLUMNS = {
    "session_id": "of sessions, a row for each event",
    "item_id": "of product ids",
    "items": "of a whole session a row: lists, or ids between spaces",
    "timestamp": "of times; without it the order of the rows decides",
    "weight": "of weights, 0 or more, of examples whose target the event is",
    "visitor_id": "of visitors, for stamp report",
    "event_type": "of what visitors did, for -o objectives=… and stamp report",
    "value": "of what it was worth, for stamp report",
}

# An option of several weights, which objective_of reads.
OBJECTIVE: dict[str, Any] = {"action": "append", "metavar": "NAME=WEIGHT"}


class VerbParser(argparse.ArgumentParser):
    """Options may stand anywhere, also between values that belong to one list: ``recommend model --exclude b a``."""

    _intermixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        has_verbs = any(action.nargs == argparse.PARSER for action in self._get_positional_actions())
        if has_verbs or self._intermixing:
            return super().parse_known_args(args, namespace)
        self._intermixing = True  # what is called comes back here
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixing = False


class Parents(NamedTuple):
    """Parsers whose arguments a verb may take over."""

    output: argparse.ArgumentParser
    common: argparse.ArgumentParser
    options: argparse.ArgumentParser
    events: argparse.ArgumentParser

    @classmethod
    def make(cls) -> Parents:
        output = argparse.ArgumentParser(add_help=False)
        output.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        common = argparse.ArgumentParser(add_help=False, parents=[output])
        common.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …; see stamp devices")
        common.add_argument(
            "--precision",
            default="auto",
            help="of products in training: auto (bf16 on CUDA, fp32 on a CPU), fp32, tf32 (CUDA alone) or bf16",
        )

        options = argparse.ArgumentParser(add_help=False, parents=[common])
        options.add_argument("--preset", default="tuned", help="tuned, official or paper")
        options.add_argument(
            "--option", "-o", action="append", default=[], metavar="NAME=VALUE", help="e.g. -o epochs=5"
        )
        options.add_argument("--quiet", action="store_true", help="no progress bar")
        return cls(output, common, options, _events())


def _events() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group(
        "events", "Columns that are named must be there; by default they are called session_id, item_id and so on."
    )
    for role, what in _COLUMNS.items():
        group.add_argument(_flag(role), metavar="COLUMN", help=what)
    add_separator(group)
    add_ids(group)
    group.add_argument("--names", metavar="COLUMN,…", type=lambda text: text.split(","),
                       help="of all columns, where the file does not begin with a line of them")  # fmt: skip
    return parser


def add_separator(parser: Any) -> None:
    parser.add_argument("--separator", metavar="CHARACTER", type=_separator,
                        help=r"between the values of text files, \t for a tab; by default a comma in .csv, else a tab")  # fmt: skip


def _separator(text: str) -> str:
    return "\t" if text == r"\t" else text


def add_ids(parser: Any) -> None:
    parser.add_argument("--ids", choices=CHOICES,
                        help="of products: integers where all of a column are written so, or always texts")  # fmt: skip


def ids_option(args: argparse.Namespace) -> dict[str, str]:
    return {} if args.ids is None else {"ids": args.ids}


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def pairs(option: str, given: list[str], expected: str) -> dict[str, str]:
    """What ``--option a=1 --option b=2`` says, each name once."""
    found: dict[str, str] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not (name and separator and value):
            raise ValueError(f"--{option} {text}: expected {expected}")
        if name in found:
            raise ValueError(f"--{option} {text}: '{name}' is given twice")
        found[name] = value
    return found


def weights(option: str, given: list[str], expected: str) -> dict[str, float]:
    """Likewise, of numbers."""
    found = {}
    for name, text in pairs(option, given, expected).items():
        try:
            found[name] = float(text)
        except ValueError:
            raise ValueError(f"--{option} {name}={text}: expected {expected}") from None
    return found


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in pairs("option", args.option, "NAME=VALUE").items():
        if name in ("preset", "device", "precision"):
            raise ValueError(f"--option {name}={value}: use --{name}")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return {"preset": args.preset, "precision": args.precision, **options}


def objective_of(given: list[str] | None) -> dict[str, float] | None:
    """What ``--objective order=0.3 --objective click=0.7`` says."""
    return None if given is None else weights("objective", given, "NAME=WEIGHT, as order=0.3")


def events_options(args: argparse.Namespace) -> dict[str, Any]:
    """What was said of the events, as options of Sessions.from_frame."""
    given = {name: getattr(args, name) for name in (*_COLUMNS, "separator", "names", "ids")}
    return {name: value for name, value in given.items() if value is not None}


def events_words(args: argparse.Namespace) -> list[str]:
    """What was said of the events, as words of a command."""
    words = []
    for name, value in events_options(args).items():
        words += [_flag(name), ",".join(value) if name == "names" else value.replace("\t", r"\t")]
    return words


def read_sessions(args: argparse.Namespace, path: str, *, keep: tuple[str, ...] | None = ()) -> stamp.Sessions:
    return stamp.Sessions.from_frame(path, keep=keep, **events_options(args))


def add_products(parser: argparse.ArgumentParser, file: str) -> None:
    """How the products' file, which `file` names, differs from those of events."""
    parser.add_argument(
        "--product-id", metavar="COLUMN", help=f"of product ids in {file}; by default what --item-id says"
    )
    parser.add_argument(
        "--product-separator", metavar="CHARACTER", type=_separator,
        help=f"between the values of {file}; by default what --separator says",
    )  # fmt: skip


def add_attributes(parser: argparse.ArgumentParser) -> None:
    """A file of products whose columns are attributes."""
    parser.add_argument("--products", help="CSV, TSV or Parquet: item_id and attributes")
    add_products(parser, "products")
    parser.add_argument("--category", action="append", default=[], metavar="NAME", help="column of floats: a category")
    parser.add_argument("--number", action="append", default=[], metavar="NAME", help="column of integers: a number")


def read_attributes(args: argparse.Namespace) -> stamp.Products | None:
    if not args.products:
        return None
    return stamp.Products.from_frame(
        args.products, categories=args.category, numbers=args.number, **products_options(args)
    )


def products_options(args: argparse.Namespace) -> dict[str, Any]:
    """What was said of the products' file, as options of Products.from_frame."""
    separator = args.product_separator
    if separator is None and not is_parquet(args.products):
        separator = args.separator
    return {"item_id": args.product_id or args.item_id or "item_id", "separator": separator, **ids_option(args)}
