"""stamp bundle build | add-products | refresh-products | inspect | verify | diff."""

from __future__ import annotations

import argparse
from typing import Any

import stamp

from .. import _stamp
from .arguments import EVENTS, Parents, add_ids, add_separator, ids_option, read_sessions


def add(verbs: Any, parents: Parents) -> None:
    bundle = verbs.add_parser("bundle", help="releases of the recommender: bundles of many clusters")
    bundles = bundle.add_subparsers(
        required=True, metavar="build | add-products | refresh-products | inspect | verify | diff"
    )
    build = bundles.add_parser("build", parents=[parents.output], help="make one of the models of clusters")
    build.add_argument(
        "models", nargs="+", help="the --out of train-clusters, or ID=PATH of the saved model of each cluster"
    )
    build.add_argument("--out", required=True, help="directory; the bundle that stands there is exchanged")
    build.add_argument("--items", help="CSV, TSV or Parquet: item_id and attributes, for rules and routes")
    _add_items_options(build)
    build.add_argument("--rules", help="JSON file: rules of the build and zones")
    build.add_argument(
        "--route-by", action="append", default=[], metavar="ATTRIBUTE", help="for products that no model knows"
    )
    build.add_argument(
        "--fallback", metavar="PATH", help="a saved baseline, for visits of which no model knows an event"
    )
    build.add_argument(
        "--no-scan-tables", action="store_true", help="without the 8-bit copies that a CPU scans: for GPUs"
    )
    build.set_defaults(verb=_bundle_build)
    grow = bundles.add_parser("add-products", parents=[parents.output], help="put new products into one, untrained")
    grow.add_argument("path")
    grow.add_argument("--items", required=True, help="CSV, TSV or Parquet: item_id and attributes")
    _add_items_options(grow)
    refresh = bundles.add_parser(
        "refresh-products", parents=[parents.output, parents.events], help="fit new products to their first clicks"
    )
    refresh.add_argument("path")
    refresh.add_argument("data", help=EVENTS)
    grow.set_defaults(verb=_bundle_add_products)
    refresh.set_defaults(verb=_bundle_refresh_products)
    for changes in (grow, refresh):
        changes.add_argument("--out", help="another directory; by default the bundle is exchanged")
    for name, verb, what in (
        ("inspect", _bundle_inspect, "what one holds"),
        ("verify", _bundle_verify, "whether one is whole: every checksum, shape, scan table and rule"),
    ):
        looks = bundles.add_parser(name, parents=[parents.output], help=what)
        looks.add_argument("path")
        looks.set_defaults(verb=verb)
    diff = bundles.add_parser("diff", parents=[parents.output], help="what a release changes")
    diff.add_argument("old")
    diff.add_argument("new")
    diff.set_defaults(verb=_bundle_diff)


def _add_items_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--item-id", default="item_id", help="column of product ids in items")
    add_separator(parser)
    add_ids(parser)
    parser.add_argument("--category", action="append", default=[], metavar="NAME", help="column of floats: a category")
    parser.add_argument("--number", action="append", default=[], metavar="NAME", help="column of integers: a number")


def _items(args: argparse.Namespace) -> stamp.Products:
    return stamp.Products.from_frame(
        args.items, item_id=args.item_id, categories=args.category, numbers=args.number, separator=args.separator,
        **ids_option(args),
    )  # fmt: skip


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
    _stamp.check_bundle_target(args.out)
    items = _items(args) if args.items else None
    fallback = stamp.load(args.fallback, device="cpu") if args.fallback else None
    if isinstance(fallback, stamp.StampRecommender):
        raise ValueError(f"--fallback: {args.fallback} holds a model, expected a saved baseline")
    described = stamp.build_bundle(
        _models(args.models), items, out=args.out, rules=args.rules, route_by=args.route_by, fallback=fallback,
        scan_tables=not args.no_scan_tables,
    )  # fmt: skip
    if not args.json:
        _print_bundle(described)
    return described


def _bundle_add_products(args: argparse.Namespace) -> dict[str, Any]:
    found = stamp.add_products(args.path, _items(args), out=args.out)
    if not args.json:
        print(f"{found['added']:,} products added, {found['known']:,} known before")
        if left_out := found["left_out"]:
            first = ", ".join(map(str, left_out[:5])) + (", …" if len(left_out) > 5 else "")
            print(f"{len(left_out):,} left out, as no cluster has their values or no attribute says anything: {first}")
    return found


def _bundle_refresh_products(args: argparse.Namespace) -> dict[str, Any]:
    found = stamp.refresh_products(args.path, read_sessions(args, args.data), out=args.out)
    if not args.json:
        print(f"{found['refreshed']:,} new products fitted to their clicks")
    return found


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
    if described["value"]:
        print(f"value: {described['value']}")
    if described["fallback"]:
        print(f"fallback: {described['fallback']}")
    for cluster in described["clusters"]:
        print(f"cluster {cluster['id']}: {cluster['products']:,} products, {cluster['clicks']:,} clicks, "
              f"dim {cluster['dim']}, data {cluster['fingerprint'] or 'unknown'}{', scan table' if cluster['scan_table'] else ''}")  # fmt: skip


def _bundle_diff(args: argparse.Namespace) -> dict[str, Any]:
    found = stamp.diff_bundles(args.old, args.new)
    if not args.json:
        products = found["products"]
        print("products: " + ", ".join(f"{products[what]:,} {what}" for what in ("added", "removed", "moved")))
        for name in ("clusters", "scan_tables", "attributes", "zones"):
            changes = []
            for what, names in found[name].items():
                listed = [f"{n} of {c:,} products" for n, c in names.items()] if isinstance(names, dict) else names
                if listed:
                    changes.append(f"{what.replace('_', ' ')} {', '.join(map(str, listed))}")
            print(f"{name.replace('_', ' ')}: {'; '.join(changes) or 'the same'}")
        for what, key in (("value", "value_changed"), ("rules of the build", "build_rules_changed")):
            print(f"{what}: {'changed' if found[key] else 'the same'}")
    return found
