"""The command line."""

from __future__ import annotations

import argparse
import json
import sys

import stamp

from . import bundle, cluster, devices, evaluate, recommend, report, search, train
from .arguments import Parents


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stamp", description="Session-based recommendation with STAMP.")
    parser.add_argument("--version", action="version", version=stamp.__version__)
    verbs = parser.add_subparsers(
        required=True,
        metavar="train | evaluate | report | recommend | search | cluster | train-cluster | train-clusters | bundle | devices",
    )
    parents = Parents.make()
    for family in (train, evaluate, report, recommend, search, cluster, bundle, devices):
        family.add(verbs, parents)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line: 0; 1 where a policy says no to a release; 130 where Ctrl-C ended a training that is saved;
    2 with the reason on standard error."""
    args = _parser().parse_args(arguments)
    try:
        result = args.verb(args)
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        print(f"stamp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stamp: interrupted", file=sys.stderr)
        return 130
    if args.json:
        print(json.dumps(result))
    if result.get("stopped") == "interrupted":
        return 130
    return 0 if result.get("passed", True) else 1
