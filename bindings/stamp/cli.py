"""The command line: stamp train | evaluate | report | recommend | search | cluster | train-cluster | train-clusters |
bundle | devices."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import pathlib
import shlex
import sys
from typing import Any

import stamp
from stamp.offline import search
from stamp.offline.command import add_report
from stamp.recommenders import load_model
from stamp.training import MIN_EXAMPLES


def _sessions(path: str) -> stamp.Sessions:
    return stamp.Sessions.from_frame(path)


def _options(args: argparse.Namespace) -> dict[str, Any]:
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


def _train(args: argparse.Namespace) -> dict[str, Any]:
    options = _options(args)
    sessions = _sessions(args.data)
    model = stamp.StampRecommender(device=args.device, **options)
    model.fit(
        sessions,
        validation=args.validation,
        refit=args.refit,
        checkpoint=args.checkpoint,
        progress=not (args.json or args.quiet),
    )
    model.save(args.out)
    return {"model": args.out, "products": model.n_items_, **model.report_}


def _clusters_call(args: argparse.Namespace) -> dict[str, Any]:
    """What train-cluster and train-clusters share."""
    return {
        "out": args.out,
        "config": _options(args),
        "device": args.device,
        "min_examples": args.min_examples,
        "warm_start": args.warm_start,
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


def _evaluate(args: argparse.Namespace) -> dict[str, Any]:
    model = stamp.load(args.model, device=args.device, precision=args.precision)
    test = _sessions(args.data)
    result = stamp.evaluate(
        model, test, k=args.k, min_history=args.min_history, last_only=args.last_only, ties=args.ties
    )
    if not args.json:
        print(result)
    counts = ("examples", "cold_targets", "unanswered", "unreachable", "ceiling", "tied")
    return {**result.to_dict(), **{name: getattr(result, name) for name in counts}}


def _recommend(args: argparse.Namespace) -> dict[str, Any]:
    recommender = stamp.Recommender(args.bundle, device=args.device, precision=args.precision)

    def parse(ids: list[str]) -> list[Any]:
        try:
            return [int(i) for i in ids] if recommender.item_ids.dtype.kind == "i" else list(ids)
        except ValueError:
            raise ValueError(f"recommend: product ids of this bundle are integers, got {' '.join(ids)}") from None

    answer = recommender.recommend(
        parse(args.items),
        k=args.k,
        zone=args.zone,
        rules=_rules(args.rules) if args.rules else (),
        exclude=parse(args.exclude),
        history=args.history,
        explain=args.explain,
    )
    if not args.json:
        for rank, (item, score) in enumerate(zip(answer.ids.tolist(), answer.scores.tolist()), 1):
            print(f"{rank:3d}  {item}  {'pinned' if score != score else format(score, '.4f')}")
        if answer.explanation is not None:
            print(json.dumps(answer.explanation, indent=2))
        cluster = answer.cluster
        found = f"cluster {cluster}"
        if cluster is None:
            listed = "products of the baseline" if answer.path == "fallback" else "popular products"
            found = f"{listed}, as no model knows an event"
        print(f"path: {answer.path} ({found})", file=sys.stderr)
        if answer.unknown:
            print(f"unknown products: {', '.join(map(str, answer.unknown))}", file=sys.stderr)
        if answer.reason:
            print(answer.reason, file=sys.stderr)
    return {
        "ids": answer.ids.tolist(),
        "scores": [None if score != score else score for score in answer.scores.tolist()],  # JSON has no NaN
        "path": answer.path, "cluster": answer.cluster, "unknown": answer.unknown, "reason": answer.reason,
        "explanation": answer.explanation,
    }  # fmt: skip


def _rules(given: str) -> Any:
    """A list of rules, written out or in a file."""
    text = given if given.lstrip().startswith("[") else pathlib.Path(given).read_text(encoding="utf-8")
    try:
        rules = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--rules {given}: not JSON: {error}") from None
    if not isinstance(rules, list):
        raise ValueError(f"--rules {given}: expected a JSON list of rules")
    return rules


def _models(given: list[str]) -> str | dict[int, str]:
    """Where train-clusters left them, or saved models as ID=PATH."""
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    models: dict[int, str] = {}
    for text in given:
        id, separator, path = text.partition("=")
        if not (separator and id.isdigit()) or int(id) in models:
            raise ValueError(f"bundle build: {text}: expected ID=PATH of a saved model, each id once")
        models[int(id)] = path
    return models


def _bundle_build(args: argparse.Namespace) -> dict[str, Any]:
    items = None
    if args.items:
        items = stamp.Products.from_frame(
            args.items, item_id=args.item_id, categories=args.category, numbers=args.number
        )
    fallback = stamp.load(args.fallback, device="cpu") if args.fallback else None
    if isinstance(fallback, stamp.StampRecommender):
        raise ValueError(f"--fallback: {args.fallback} holds a model, expected a saved baseline")
    described = stamp.build_bundle(
        _models(args.models), items, out=args.out, rules=args.rules, route_by=args.route_by, fallback=fallback
    )  # fmt: skip
    if not args.json:
        _print_bundle(described)
    return described


def _bundle_inspect(args: argparse.Namespace) -> dict[str, Any]:
    described = stamp.inspect_bundle(args.path)
    if not args.json:
        _print_bundle(described)
    return described


def _bundle_verify(args: argparse.Namespace) -> dict[str, Any]:
    described = stamp.verify_bundle(args.path)
    if not args.json:
        print(f"{args.path}: {described['products']:,} products, {len(described['clusters'])} clusters, all verified")
    return described


def _print_bundle(described: dict[str, Any]) -> None:
    print(f"{described['products']:,} products, {described['in_no_cluster']:,} of them in no cluster")
    for name in ("attributes", "zones"):
        print(f"{name}: {', '.join(f'{key} ({value})' for key, value in described[name].items()) or 'none'}")
    print(f"route by: {', '.join(described['route_by']) or 'nothing'}; rules of the build: {described['build_rules']}")
    if described["fallback"]:
        print(f"fallback: {described['fallback']}")
    for cluster in described["clusters"]:
        print(f"cluster {cluster['id']}: {cluster['products']:,} products, {cluster['clicks']:,} clicks, "
              f"dim {cluster['dim']}, data {cluster['fingerprint'] or 'unknown'}")  # fmt: skip


def _bundle_diff(args: argparse.Namespace) -> dict[str, Any]:
    found = stamp.diff_bundles(args.old, args.new)
    if not args.json:
        products = found["products"]
        print("products: " + ", ".join(f"{products[what]:,} {what}" for what in ("added", "removed", "moved")))
        for name in ("clusters", "attributes", "zones"):
            changes = []
            for what, names in found[name].items():
                listed = [f"{n} of {c:,} products" for n, c in names.items()] if isinstance(names, dict) else names
                if listed:
                    changes.append(f"{what.replace('_', ' ')} {', '.join(map(str, listed))}")
            print(f"{name}: {'; '.join(changes) or 'the same'}")
        print(f"rules of the build: {'changed' if found['build_rules_changed'] else 'the same'}")
    return found


def _cluster(args: argparse.Namespace) -> dict[str, Any]:
    model = load_model(args.model, device=args.device, precision=args.precision)
    bounds = ("min_products", "max_products", "min_examples", "max_examples")
    found = stamp.cluster_catalog(
        model,
        stamp.Products.from_frame(args.items, item_id=args.item_id, categories=args.attribute),
        _sessions(args.sessions),
        attribute=args.attribute,
        clusters=args.clusters,
        distance=args.distance,
        large=args.large,
        linkage=args.linkage,
        k=args.k,
        examples=args.examples,
        previous=stamp.CatalogClusters.load(args.previous) if args.previous else None,
        stickiness=args.stickiness,
        progress=not (args.json or args.quiet),
        **{name: getattr(args, name) for name in bounds},
    )
    found.save(args.out)
    if not args.json:
        print(found)
    return {
        "clusters": args.out, "ids": found.ids, "default": found.default, "products": found.n_products,
        "examples": found.n_examples, "recommendations_inside": found.recommendations_inside,
        "transitions_inside": found.transitions_inside, "fingerprint": found.fingerprint, "report": found.report,
    }  # fmt: skip


def _space(given: str) -> dict[str, Any]:
    """Options and their values, written out or in a file."""
    text = given if given.lstrip().startswith("{") else pathlib.Path(given).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--space {given}: not JSON: {error}") from None


def _search(args: argparse.Namespace) -> dict[str, Any]:
    options = _options(args)
    result = search(
        _space(args.space),
        _sessions(args.data),
        validation=args.validation,
        preset=options.pop("preset"),
        precision=options.pop("precision"),
        options=options,
        monitor=args.monitor,
        trials=args.trials,
        storage=args.storage,
        prune=False if args.prune == "off" else args.prune,
        seed=args.seed,
        device=args.device,
        progress=not (args.json or args.quiet),
    )
    if args.plot:
        result.plot().savefig(args.plot)
    if not args.json:
        print(result)
        if result.best is not None:
            given = {name: value for name, value in result.best_options.items() if name != "preset"}
            chosen = " ".join(f"-o {shlex.quote(f'{name}={json.dumps(value)}')}" for name, value in given.items())
            print(f"stamp train {shlex.quote(args.data)} --out MODEL --preset {result.preset} {chosen}")
    return result.to_dict()


def _devices(args: argparse.Namespace) -> dict[str, Any]:
    found = stamp.devices()
    if not args.json:
        for device in found:
            reason = "" if device.available else f"not available: {device.reason}"
            print(f"{device.name:8}", *filter(None, (device.description, reason)))
    return {"devices": [dataclasses.asdict(device) for device in found]}


def _share_or_count(text: str) -> float | int:
    return float(text) if "." in text else int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stamp", description="Session-based recommendation with STAMP.")
    parser.add_argument("--version", action="version", version=stamp.__version__)
    verbs = parser.add_subparsers(
        required=True,
        metavar="train | evaluate | report | recommend | search | cluster | train-cluster | train-clusters | bundle | devices",
    )
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    common = argparse.ArgumentParser(add_help=False, parents=[output])
    common.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …; see stamp devices")
    common.add_argument("--precision", default="auto", help="of products on CUDA: auto (bf16), fp32, tf32 or bf16")

    options = argparse.ArgumentParser(add_help=False, parents=[common])
    options.add_argument("--preset", default="tuned", help="tuned, official or paper")
    options.add_argument("--option", "-o", action="append", default=[], metavar="NAME=VALUE", help="e.g. -o epochs=5")
    options.add_argument("--quiet", action="store_true", help="no progress bar")
    sessions = "CSV, TSV or Parquet: session_id, item_id[, timestamp], or items per session"

    training = argparse.ArgumentParser(add_help=False, parents=[options])
    training.add_argument("data", help=sessions)
    training.add_argument("--out", required=True, help="directory to save to")

    train = verbs.add_parser("train", parents=[training], help="train on a file of sessions and save the model")
    train.add_argument("--validation", type=float, help="share of the last sessions that judges the epochs")
    train.add_argument("--refit", action="store_true", help="train anew on everything for the best number of epochs")
    train.add_argument("--checkpoint", help="file to continue from after a kill")
    train.set_defaults(verb=_train)

    clustered = argparse.ArgumentParser(add_help=False, parents=[training])
    clustered.add_argument("clusters", help="clusters of the catalog")
    clustered.add_argument("--min-examples", type=int, default=MIN_EXAMPLES, help="smaller clusters join their parent")
    clustered.add_argument("--warm-start", help="what to begin with: a saved model, or yesterday's --out of train-clusters")
    clustered.add_argument("--no-resume", action="store_true", help="train anew, whatever is there")
    one = verbs.add_parser("train-cluster", parents=[clustered], help="train the model of one cluster of the catalog")
    one.add_argument("cluster_id", type=int)
    one.set_defaults(verb=_train_cluster)
    every = verbs.add_parser("train-clusters", parents=[clustered], help="train the models of all clusters")
    every.add_argument("--jobs", type=int, help="processes at a time")
    every.add_argument("--threads", type=int, help="of each process")
    every.add_argument("--memory", type=float, metavar="GIB", help="that all processes may hold")
    every.add_argument("--only", type=int, nargs="+", metavar="ID", help="these clusters")
    every.set_defaults(verb=_train_clusters)

    evaluate = verbs.add_parser("evaluate", parents=[common], help="measure a saved model on a file of sessions")
    evaluate.add_argument("model")
    evaluate.add_argument("data")
    evaluate.add_argument("--k", type=int, nargs="+", default=[5, 10, 20])
    evaluate.add_argument("--min-history", type=int, default=1)
    evaluate.add_argument("--last-only", action="store_true")
    evaluate.add_argument("--ties", default="conservative", choices=["conservative", "mean", "optimistic"])
    evaluate.set_defaults(verb=_evaluate)

    add_report(verbs, output)

    recommend = verbs.add_parser("recommend", parents=[common], help="products for one session")
    recommend.add_argument("bundle", help="a saved model, or a bundle of many clusters")
    recommend.add_argument("items", nargs="*", help="product ids of the session, the current one last")
    recommend.add_argument("--k", type=int, help="products to list; by default what the zone says, else 20")
    recommend.add_argument("--exclude", nargs="*", default=[], metavar="ID")
    recommend.add_argument("--zone", help="whose rules apply")
    recommend.add_argument("--rules", help="file of a JSON list of rules, or the list itself")
    recommend.add_argument("--history", type=int, help="last events to read; by default what the zone says, else all")
    recommend.add_argument("--explain", action="store_true", help="say what rules removed and moved")
    recommend.set_defaults(verb=_recommend)

    defaults = inspect.signature(search).parameters
    tuning = verbs.add_parser("search", parents=[options], help="find the options that do best on validation")
    tuning.add_argument("--data", required=True, help=sessions)
    tuning.add_argument("--space", required=True, metavar="JSON|FILE",
                        help='e.g. {"dim": [64, 100], "learning_rate": {"low": 1e-4, "high": 0.01, "log": true}}')  # fmt: skip
    tuning.add_argument("--trials", type=int, default=defaults["trials"].default, help="in all, stored ones included")
    tuning.add_argument("--storage", help="SQLite file to keep trials in, and to continue from")
    tuning.add_argument("--validation", type=float, default=defaults["validation"].default,
                        help="share of the last sessions that judges")  # fmt: skip
    tuning.add_argument("--monitor", default=defaults["monitor"].default, help="hr, mrr or ndcg with @k")
    tuning.add_argument("--prune", default="median", choices=["median", "halving", "off"],
                        help="how trials that fall behind are stopped")  # fmt: skip
    tuning.add_argument("--seed", type=int, default=defaults["seed"].default, help="of what is proposed")
    tuning.add_argument("--plot", metavar="FILE", help="PNG, SVG or PDF of all trials")
    tuning.set_defaults(verb=_search)

    defaults = inspect.signature(stamp.cluster_catalog).parameters
    cluster = verbs.add_parser("cluster", parents=[common], help="split a catalog into clusters, a model each")
    cluster.add_argument("model", help="of the whole catalog")
    cluster.add_argument("items", help="CSV, TSV or Parquet: item_id and attributes")
    cluster.add_argument("sessions", help="as of stamp train")
    cluster.add_argument("--out", required=True, help="file to save to")
    cluster.add_argument("--attribute", required=True, nargs="+", help="what products are grouped by")
    cluster.add_argument("--clusters", type=int, help="how many")
    cluster.add_argument("--distance", type=float, help="instead: groups further apart are kept apart")
    cluster.add_argument("--previous", help="instead: a file of clusters to continue")
    cluster.add_argument("--stickiness", type=float, default=defaults["stickiness"].default)
    cluster.add_argument("--large", type=_share_or_count, default=defaults["large"].default,
                         help="share of the clicks (with a point), or number, of the groups clustered first")  # fmt: skip
    cluster.add_argument("--linkage", default=defaults["linkage"].default)
    cluster.add_argument("--k", type=int, default=defaults["k"].default, help="recommendations an example")
    cluster.add_argument("--examples", type=int, default=defaults["examples"].default, help="to recommend for")
    for bound in ("min-products", "max-products", "min-examples", "max-examples"):
        cluster.add_argument(f"--{bound}", type=int)
    cluster.add_argument("--item-id", default="item_id", help="column of product ids in items")
    cluster.add_argument("--quiet", action="store_true", help="no progress bar")
    cluster.set_defaults(verb=_cluster)

    bundle = verbs.add_parser("bundle", help="releases of the recommender: bundles of many clusters")
    bundles = bundle.add_subparsers(required=True, metavar="build | inspect | verify | diff")
    build = bundles.add_parser("build", parents=[output], help="make one of the models of clusters")
    build.add_argument(
        "models", nargs="+", help="the --out of train-clusters, or ID=PATH of the saved model of each cluster"
    )
    build.add_argument("--out", required=True, help="directory; the bundle that stands there is exchanged")
    build.add_argument("--items", help="CSV, TSV or Parquet: item_id and attributes, for rules and routes")
    build.add_argument("--item-id", default="item_id", help="column of product ids in items")
    build.add_argument("--category", nargs="+", default=[], help="columns of floats that are categories")
    build.add_argument("--number", nargs="+", default=[], help="columns of integers that are numbers")
    build.add_argument("--rules", help="JSON file: rules of the build and zones")
    build.add_argument(
        "--route-by", nargs="+", default=[], metavar="ATTRIBUTE", help="for products that no model knows"
    )
    build.add_argument("--fallback", metavar="PATH", help="a saved baseline, for visits of which no model knows an event")
    build.set_defaults(verb=_bundle_build)
    for name, verb, what in (
        ("inspect", _bundle_inspect, "what one holds"),
        ("verify", _bundle_verify, "whether one is whole: every checksum, shape and rule"),
    ):
        looks = bundles.add_parser(name, parents=[output], help=what)
        looks.add_argument("path")
        looks.set_defaults(verb=verb)
    diff = bundles.add_parser("diff", parents=[output], help="what a release changes")
    diff.add_argument("old")
    diff.add_argument("new")
    diff.set_defaults(verb=_bundle_diff)

    devices = verbs.add_parser("devices", parents=[output], help="what there is to compute on")
    devices.set_defaults(verb=_devices)
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
    elif args.verb is _train:
        print(f"saved {result['model']}: {result['products']:,} products, {result['stopped']} after epoch "
              f"{len(result['epochs'])}, best {result['best_epoch']}")  # fmt: skip
    if result.get("stopped") == "interrupted":
        return 130
    return 0 if result.get("passed", True) else 1


if __name__ == "__main__":
    sys.exit(main())
