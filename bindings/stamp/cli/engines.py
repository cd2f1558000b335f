"""Options of what does the work on raw clicks and prepared data."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..data.engines.opening import ENGINES, open_engine

if TYPE_CHECKING:
    from ..data.engines.engine import Engine


def add_engine(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_argument_group("engine")
    group.add_argument("--memory", type=float, metavar="GIB", help="that it may hold; by default 60 %% of what is free")
    group.add_argument(
        "--spill", metavar="FOLDER", help="for what does not fit in memory; by default that of temporary files"
    )
    group.add_argument("--threads", type=int, help="by default as many as there are cores")
    return group


def open_duckdb(args: argparse.Namespace) -> Engine:
    return open_engine("", memory=args.memory, spill=args.spill, threads=args.threads)


def add_source_engine(parser: argparse.ArgumentParser) -> None:
    """Where raw clicks may be worked on elsewhere."""
    group = add_engine(parser)
    group.add_argument(
        "--engine", choices=ENGINES, help="by default the one whose table --source is, or else duckdb, which is here"
    )
    group.add_argument("--dataset", help="of bigquery: where its intermediate results are kept, PROJECT.DATASET")
    group.add_argument("--allow", type=float, metavar="GIB", help="of bigquery: that one query may read")


def open_source_engine(args: argparse.Namespace) -> Engine:
    """Raises ValueError for options of another engine."""
    options = {name: getattr(args, name) for name in ("memory", "spill", "threads", "dataset", "allow")}
    return open_engine(args.source, name=args.engine, **options, option="--{}")
