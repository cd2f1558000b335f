"""stamp partition."""

from __future__ import annotations

import argparse
from typing import Any

import stamp.data

from .arguments import Parents
from .engines import add_engine, open_duckdb


def add(verbs: Any, parents: Parents) -> None:
    partition = verbs.add_parser(
        "partition", parents=[parents.output], help="lay prepared sessions out by cluster, for one model each"
    )
    partition.add_argument("prepared", help="folder or URL of prepared data")
    partition.add_argument("clusters", help="clusters of the catalog")
    partition.add_argument("--out", help="folder or URL; by default the sessions are replaced")
    add_engine(partition)
    partition.set_defaults(verb=_partition)


def _partition(args: argparse.Namespace) -> dict[str, Any]:
    clusters = stamp.CatalogClusters.load(args.clusters)
    labels = {"item_id": clusters.item_ids, "cluster": clusters.labels}
    with open_duckdb(args) as engine:
        prepared = stamp.data.partition(args.prepared, labels, out=args.out, engine=engine)
    if not args.json:
        print(prepared)
    counts = {
        cluster: {"products": c.products, "events": c.events, "examples": c.examples, "inside": c.inside}
        for cluster, c in prepared.clusters.items()
    }
    return {"prepared": prepared.url, "clusters": counts, "fingerprint": prepared.fingerprint}
