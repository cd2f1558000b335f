"""stamp cluster."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

import stamp

from ..catalog.clusters import check_clusters_file
from ..models.stamp_recommender import load_model
from .arguments import EVENTS, Parents, add_products, products_options, read_sessions


def add(verbs: Any, parents: Parents) -> None:
    defaults = inspect.signature(stamp.cluster_catalog).parameters
    cluster = verbs.add_parser(
        "cluster", parents=[parents.common, parents.events], help="split a catalog into clusters, a model each"
    )
    cluster.add_argument("model", help="of the whole catalog")
    cluster.add_argument("products", help="CSV, TSV or Parquet: item_id and attributes")
    cluster.add_argument("sessions", help=EVENTS)
    cluster.add_argument("--out", required=True, help="file to save to")
    cluster.add_argument("--attribute", required=True, action="append", help="what products are grouped by")
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
    add_products(cluster, "products")
    cluster.add_argument("--quiet", action="store_true", help="no progress bar")
    cluster.set_defaults(verb=_cluster)


def _cluster(args: argparse.Namespace) -> dict[str, Any]:
    check_clusters_file(args.out)
    model = load_model(args.model, device=args.device, precision=args.precision)
    bounds = ("min_products", "max_products", "min_examples", "max_examples")
    found = stamp.cluster_catalog(
        model,
        stamp.Products.from_frame(args.products, categories=args.attribute, keep=(), **products_options(args)),
        read_sessions(args, args.sessions),
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


def _share_or_count(text: str) -> float | int:
    return float(text) if "." in text else int(text)
