"""stamp pipeline."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from ..base.streams import tell
from .arguments import Parents, VerbParser


def add(verbs: Any, parents: Parents) -> None:
    pipeline = verbs.add_parser(
        "pipeline", help="a shop's night: validate, prepare, train, judge, release, from one pipeline file"
    )
    actions = pipeline.add_subparsers(required=True, parser_class=VerbParser, metavar="run | compile | submit")
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
    compile = actions.add_parser(
        "compile",
        parents=[parents.output],
        help="write the pipeline for Kubeflow",
        description="Write the pipeline for Kubeflow Pipelines (docs/kubeflow.md), and the pipeline file, resolved, into "
        "its work folder, where pods read it.",
    )
    compile.add_argument("shop", help="pipeline file (JSON)")
    compile.add_argument("-o", "--out", required=True, metavar="FILE", help="ends in .yaml")
    compile.set_defaults(verb=_compile)
    submit = actions.add_parser(
        "submit",
        parents=[parents.output],
        help="run it on Kubeflow, now or on its schedule",
        description="Compile the pipeline and hand it to Kubeflow Pipelines. KUBEFLOW_TOKEN in the environment is what the "
        "server wants to see, where it wants something.",
    )
    submit.add_argument("shop", help="pipeline file (JSON)")
    submit.add_argument("--host", required=True, metavar="URL", help="the API of Kubeflow Pipelines")
    submit.add_argument(
        "--date", metavar="DAY", help="the last day of the data (UTC); the day before the run by default"
    )
    submit.add_argument("--from", dest="first", metavar="STAGE", help="do this stage and all after it anew")
    submit.add_argument(
        "--anew", action="store_true", help="prepare all days of the source again, not the new ones alone"
    )
    submit.add_argument(
        "--recurring", action="store_true", help="on the schedule of the pipeline file, in the place of what was before"
    )
    submit.add_argument("--namespace", help="of Kubernetes")
    submit.add_argument("--experiment", help="of Kubeflow; the pipeline's name by default")
    submit.add_argument("--service-account", metavar="NAME", help="that pods run as")
    submit.set_defaults(verb=_submit)


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


def _compile(args: argparse.Namespace) -> dict[str, Any]:
    import stamp.pipeline.kubeflow

    url = stamp.pipeline.kubeflow.compile(args.shop, args.out)
    if not args.json:
        print(f"{args.out} runs {url}")
    return {"out": args.out, "shop": url}


def _submit(args: argparse.Namespace) -> dict[str, Any]:
    import stamp.pipeline.kubeflow

    done = stamp.pipeline.kubeflow.submit(
        args.shop, host=args.host, date=args.date, first=args.first, anew=args.anew, recurring=args.recurring, namespace=args.namespace,
        experiment=args.experiment, service_account=args.service_account,
    )  # fmt: skip
    if not args.json:
        print(f"{done.name}: {done.id}" + (f", at {done.schedule}" if done.schedule else ""))
        for each in done.replaced:
            print(f"in the place of {each}")
    return dataclasses.asdict(done)
