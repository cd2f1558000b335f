"""Options of what does the work on raw clicks and prepared data."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import stamp.data

if TYPE_CHECKING:
    from ..data.engines.engine import Engine

_ENGINES = ("duckdb", "spark", "bigquery")  # and the schemes of their tables


def add_engine(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_argument_group("engine")
    group.add_argument("--memory", type=float, metavar="GIB", help="that it may hold; by default 60 %% of what is free")
    group.add_argument(
        "--spill", metavar="FOLDER", help="for what does not fit in memory; by default that of temporary files"
    )
    group.add_argument("--threads", type=int, help="by default as many as there are cores")
    return group


def open_engine(args: argparse.Namespace) -> stamp.data.DuckDBEngine:
    memory = None if args.memory is None else round(args.memory * 2**30)
    return stamp.data.DuckDBEngine(memory=memory, spill=args.spill, threads=args.threads)


def add_source_engine(parser: argparse.ArgumentParser) -> None:
    """Where raw clicks may be worked on elsewhere."""
    group = add_engine(parser)
    group.add_argument(
        "--engine", choices=_ENGINES, help="by default the one whose table --source is, or else duckdb, which is here"
    )
    group.add_argument("--dataset", help="of bigquery: where its intermediate results are kept, PROJECT.DATASET")
    group.add_argument("--allow", type=float, metavar="GIB", help="of bigquery: that one query may read")


def open_source_engine(args: argparse.Namespace) -> Engine:
    """Raises ValueError for options of another engine."""
    scheme = args.source.partition("://")[0]
    name = args.engine or (scheme if scheme in _ENGINES else "duckdb")
    for options, owner in ((("memory", "spill", "threads"), "duckdb"), (("dataset", "allow"), "bigquery")):
        for option in options:
            if getattr(args, option) is not None and name != owner:
                raise ValueError(f"--{option} is an option of the engine {owner}, and this is {name}")
    if name == "duckdb":
        return open_engine(args)
    if name == "spark":
        return stamp.data.SparkEngine()
    if args.dataset is None:
        raise ValueError("the engine bigquery keeps intermediate results; say where with --dataset PROJECT.DATASET")
    allow = {} if args.allow is None else {"allow": round(args.allow * 2**30)}
    return stamp.data.BigQueryEngine(dataset=args.dataset, **allow)
