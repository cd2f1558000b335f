"""What verbs share: parents of their parsers, and how what was given is read."""

from __future__ import annotations

import argparse
import json
from typing import Any, NamedTuple

import stamp

from ..data.ids import AUTO, CHOICES

SESSIONS = "CSV, TSV or Parquet: session_id, item_id[, timestamp], or items per session"


class Parents(NamedTuple):
    """Parsers whose arguments a verb may take over."""

    output: argparse.ArgumentParser
    common: argparse.ArgumentParser
    options: argparse.ArgumentParser
    ids: argparse.ArgumentParser

    @classmethod
    def make(cls) -> Parents:
        output = argparse.ArgumentParser(add_help=False)
        output.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        common = argparse.ArgumentParser(add_help=False, parents=[output])
        common.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …; see stamp devices")
        common.add_argument("--precision", default="auto", help="of products on CUDA: auto (bf16), fp32, tf32 or bf16")

        options = argparse.ArgumentParser(add_help=False, parents=[common])
        options.add_argument("--preset", default="tuned", help="tuned, official or paper")
        options.add_argument(
            "--option", "-o", action="append", default=[], metavar="NAME=VALUE", help="e.g. -o epochs=5"
        )
        options.add_argument("--quiet", action="store_true", help="no progress bar")

        ids = argparse.ArgumentParser(add_help=False)
        ids.add_argument(
            "--ids", default=AUTO, choices=CHOICES,
            help="of products, sessions and visitors: integers where all of a column are written so, or texts",
        )  # fmt: skip
        return cls(output, common, options, ids)


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for text in args.option:
        name, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"--option {text}: expected NAME=VALUE")
        if name in ("preset", "device", "precision"):
            raise ValueError(f"--option {text}: use --{name}")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return {"preset": args.preset, "precision": args.precision, **options}


def read_sessions(path: str, args: argparse.Namespace) -> stamp.Sessions:
    return stamp.Sessions.from_frame(path, ids=args.ids)
