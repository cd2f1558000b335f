"""The command line."""

from __future__ import annotations

import argparse
import sys

import stamp

from ..base.json_text import json_text
from ..base.streams import finish, open_closed_streams, tell
from . import (
    bundle,
    cluster,
    devices,
    evaluate,
    partition,
    pipeline,
    prepare,
    recommend,
    report,
    search,
    store,
    train,
    validate,
)
from .arguments import Parents, VerbParser

CLOSED_PIPE = 141  # as shells say of a program that SIGPIPE has ended
INTERRUPTED = 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stamp", description="Session-based recommendation with STAMP.")
    parser.add_argument("--version", action="version", version=stamp.__version__)
    verbs = parser.add_subparsers(
        required=True,
        parser_class=VerbParser,
        metavar="validate | prepare | partition | train | evaluate | report | recommend | search | cluster | train-cluster | "
        "train-clusters | bundle | store | pipeline | devices",
    )
    parents = Parents.make()
    for family in (
        validate,
        prepare,
        partition,
        train,
        evaluate,
        report,
        recommend,
        search,
        cluster,
        bundle,
        store,
        pipeline,
        devices,
    ):
        family.add(verbs, parents)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line: 0; 1 where a policy says no, to a release or to data, where an alias is not
    where it was expected, or a store is not whole; 130 where Ctrl-C ended a training that is saved;
    141, and nothing said, where nobody reads the results any more (``| head``); 2 with the reason on standard error."""
    open_closed_streams()
    try:
        return _run(_parser().parse_args(arguments))
    except BrokenPipeError:
        return CLOSED_PIPE
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        tell(f"stamp: {error}")
        return 2
    except KeyboardInterrupt:
        tell("stamp: interrupted")
        return INTERRUPTED
    finally:
        finish(sys.stdout)
        finish(sys.stderr)


def _run(args: argparse.Namespace) -> int:
    result = args.verb(args)
    if args.json:
        print(json_text(result))
    sys.stdout.flush()  # or it is the end of the interpreter that finds nobody reading
    if result.get("stopped") == "interrupted":
        return INTERRUPTED
    return 0 if result.get("passed", True) else 1
