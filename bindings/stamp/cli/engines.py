"""Options of what does the work on raw clicks and prepared data."""

from __future__ import annotations

import argparse

import stamp.data


def add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("engine")
    group.add_argument("--memory", type=float, metavar="GIB", help="that it may hold; by default 60 %% of all")
    group.add_argument(
        "--spill", metavar="FOLDER", help="for what does not fit in memory; by default that of temporary files"
    )
    group.add_argument("--threads", type=int, help="by default as many as there are cores")


def open_engine(args: argparse.Namespace) -> stamp.data.DuckDBEngine:
    memory = None if args.memory is None else round(args.memory * 2**30)
    return stamp.data.DuckDBEngine(memory=memory, spill=args.spill, threads=args.threads)
