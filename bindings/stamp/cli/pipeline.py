"""stamp pipeline."""

from __future__ import annotations

import argparse
from typing import Any

from ..base.streams import tell
from .arguments import Parents, VerbParser


def add(verbs: Any, parents: Parents) -> None:
    pipeline = verbs.add_parser(
        "pipeline", help="a shop's night: validate, prepare, train, judge, release, from one pipeline file"
    )
    actions = pipeline.add_subparsers(required=True, parser_class=VerbParser, metavar="run")
    run = actions.add_parser(
        "run",
        parents=[parents.output],
        help="run the night of a day on this machine",
        description="Run the stages that are not done yet. Exit status: 0 the release serves, 1 a policy or a server said "
        "no, with the reasons on standard error, and what served goes on serving, 2 bad input.",
    )
    run.add_argument("shop", help="pipeline file (JSON)")
    run.add_argument("--date", metavar="DAY", help="the last day of the data (UTC); yesterday by default")
    run.add_argument("--from", dest="first", metavar="STAGE", help="do this stage and all after it anew")
    run.add_argument("--only", metavar="STAGE", help="do this stage alone")
    run.add_argument("--dry-run", action="store_true", help="say what would be done")
    run.add_argument("--anew", action="store_true", help="prepare all days of the source again, not the new ones alone")
    run.add_argument("--quiet", action="store_true", help="no progress")
    run.set_defaults(verb=_run)


def _run(args: argparse.Namespace) -> dict[str, Any]:
    import stamp.pipeline

    done = stamp.pipeline.run(
        args.shop, date=args.date, first=args.first, only=args.only, dry_run=args.dry_run, anew=args.anew,
        progress=not (args.json or args.quiet),
    )  # fmt: skip
    if not args.json:
        width = max(map(len, done.stages))
        for stage, what in done.stages.items():
            print(f"{stage:<{width}}  {what}")
        if done.release is not None:
            print(f"release {done.release} serves")
        for warning in done.warnings:
            print(f"warning: {warning}")
    for reason in done.reasons:
        tell(reason)
    return done.to_dict()
