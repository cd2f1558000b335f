"""stamp partition."""

from __future__ import annotations

import argparse
from typing import Any

import stamp.data

from .arguments import Parents


def add(verbs: Any, parents: Parents) -> None:
    partition = verbs.add_parser(
        "partition", parents=[parents.output], help="lay prepared sessions out by cluster, for one model each"
    )
    partition.add_argument("prepared", help="folder or URL of prepared data")
    partition.add_argument("clusters", help="clusters of the catalog")
    partition.add_argument("--out", help="folder or URL; by default the sessions are replaced")
    partition.add_argument("--memory", type=float, metavar="GIB", help="that sorting may hold; by default 60 %% of all")
    partition.add_argument("--spill", metavar="FOLDER", help="for what does not fit in memory")
    partition.set_defaults(verb=_partition)


def _partition(args: argparse.Namespace) -> dict[str, Any]:
    clusters = stamp.CatalogClusters.load(args.clusters)
    labels = {"item_id": clusters.item_ids, "cluster": clusters.labels}
    memory = None if args.memory is None else round(args.memory * 2**30)
    with stamp.data.DuckDBEngine(memory=memory, spill=args.spill) as engine:
        prepared = stamp.data.partition(args.prepared, labels, out=args.out, engine=engine)
    if not args.json:
        print(prepared)
    counts = {
        cluster: {"products": c.products, "events": c.events, "examples": c.examples, "inside": c.inside}
        for cluster, c in prepared.clusters.items()
    }
    return {"prepared": prepared.url, "clusters": counts, "fingerprint": prepared.fingerprint}
