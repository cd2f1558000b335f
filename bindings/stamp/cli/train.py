"""stamp train | train-cluster | train-clusters."""

from __future__ import annotations

import argparse
from typing import Any

import stamp

from .. import _stamp
from ..base.files import check_file
from ..catalog.training import MIN_EXAMPLES
from ..data.objectives import kept_for
from .arguments import EVENTS, Parents, add_attributes, events_options, options_of, read_attributes, read_sessions


def add(verbs: Any, parents: Parents) -> None:
    training = argparse.ArgumentParser(add_help=False, parents=[parents.options, parents.events])
    training.add_argument("data", help=EVENTS)
    training.add_argument("--out", required=True, help="directory to save to")
    add_attributes(training)

    train = verbs.add_parser("train", parents=[training], help="train on events and save the model")
    train.add_argument("--validation", type=float, help="share of the last sessions that judges the epochs")
    train.add_argument("--refit", action="store_true", help="train anew on everything for the best number of epochs")
    train.add_argument("--checkpoint", help="file to continue from after a kill")
    train.set_defaults(verb=_train)

    clustered = argparse.ArgumentParser(add_help=False, parents=[training])
    clustered.add_argument("clusters", help="clusters of the catalog")
    clustered.add_argument("--min-examples", type=int, default=MIN_EXAMPLES, help="smaller clusters join their parent")
    clustered.add_argument(
        "--warm-start", help="what to begin with: a saved model, a bundle, or yesterday's --out of train-clusters"
    )
    clustered.add_argument(
        "--like",
        help="an earlier --out of train-clusters: train for the epochs that were best there, without validation",
    )
    clustered.add_argument("--no-resume", action="store_true", help="train anew, whatever is there")
    one = verbs.add_parser("train-cluster", parents=[clustered], help="train the model of one cluster of the catalog")
    one.add_argument("cluster_id", type=int)
    one.set_defaults(verb=_train_cluster)
    every = verbs.add_parser("train-clusters", parents=[clustered], help="train the models of all clusters")
    every.add_argument("--jobs", type=int, help="clusters at a time")
    every.add_argument("--threads", type=int, help="of the CPU, for each process")
    every.add_argument("--memory", type=float, metavar="GIB", help="that all clusters under way may hold")
    every.add_argument("--only", type=int, action="append", metavar="ID", help="this cluster")
    every.set_defaults(verb=_train_clusters)


def _train(args: argparse.Namespace) -> dict[str, Any]:
    _stamp.check_bundle_target(args.out)
    if args.checkpoint is not None:
        check_file(args.checkpoint)
    model = stamp.StampRecommender(device=args.device, **options_of(args))
    model.fit(
        read_sessions(args, args.data, keep=kept_for(model.get_params()["objectives"], events_options(args))),
        products=read_attributes(args),
        validation=args.validation,
        refit=args.refit,
        checkpoint=args.checkpoint,
        progress=not (args.json or args.quiet),
    )
    model.save(args.out)
    if not args.json:
        epochs, report = len(model.report_["epochs"]), model.report_
        print(
            f"saved {args.out}: {model.n_items_:,} products, {report['stopped']} after epoch {epochs}, best {report['best_epoch']}"
        )
        if report["long_sessions"]:
            print(
                f"history cut {report['cut_examples']:,} examples of {report['long_sessions']:,} sessions, the longest of "
                f"{report['longest_session']:,} events"
            )
    return {"model": args.out, "products": model.n_items_, **model.report_}


def _clusters_call(args: argparse.Namespace) -> dict[str, Any]:
    """What train-cluster and train-clusters share."""
    return {
        "out": args.out,
        "products": read_attributes(args),
        "reading": events_options(args),
        "config": options_of(args),
        "device": args.device,
        "min_examples": args.min_examples,
        "warm_start": args.warm_start,
        "like": args.like,
        "resume": not args.no_resume,
        "progress": not (args.json or args.quiet),
    }


def _train_cluster(args: argparse.Namespace) -> dict[str, Any]:
    report = stamp.train_cluster(args.data, args.clusters, args.cluster_id, **_clusters_call(args))
    if not args.json:
        print(report)
    return report.to_dict()


def _train_clusters(args: argparse.Namespace) -> dict[str, Any]:
    memory = None if args.memory is None else round(args.memory * 2**30)
    reports = stamp.train_clusters(
        args.data, args.clusters, jobs=args.jobs, threads=args.threads, memory=memory, only=args.only,
        **_clusters_call(args),
    )  # fmt: skip
    if not args.json:
        print(*reports.values(), sep="\n")
    return {str(cluster): report.to_dict() for cluster, report in reports.items()}
