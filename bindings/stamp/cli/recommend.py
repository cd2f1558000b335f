"""stamp recommend."""

from __future__ import annotations

import argparse
import json
from typing import Any

import stamp

from ..base.files import read_text
from ..base.json_text import json_text
from ..base.streams import tell
from ..data.tables.ids import typed
from .arguments import OBJECTIVE, Parents, objective_of


def add(verbs: Any, parents: Parents) -> None:
    recommend = verbs.add_parser("recommend", parents=[parents.common], help="products for one session")
    recommend.add_argument("bundle", help="a saved model, or a bundle of many clusters")
    recommend.add_argument("items", nargs="*", help="product ids of the session, the current one last")
    recommend.add_argument("--k", type=int, help="products to list; by default what the zone says, else 20")
    recommend.add_argument("--exclude", action="append", default=[], metavar="ID", help="a product not to be listed")
    recommend.add_argument("--zone", help="whose rules apply")
    recommend.add_argument("--rules", help="file of a JSON list of rules, or the list itself")
    recommend.add_argument("--history", type=int, help="last events to read; by default what the zone says, else all")
    recommend.add_argument(
        "--value", type=float, help="how much what products are worth counts, 0 to 1; else the zone's"
    )
    recommend.add_argument(
        "--tail", type=float, help="how much popularity counts against them, 0 to 1; else the zone's"
    )
    recommend.add_argument(
        "--objective",
        **OBJECTIVE,
        help="what the list is to serve, order=0.3 say, one an option; else what the zone says",
    )
    recommend.add_argument("--explain", action="store_true", help="say what rules removed and moved")
    recommend.set_defaults(verb=_recommend)


def _recommend(args: argparse.Namespace) -> dict[str, Any]:
    recommender = stamp.Recommender(args.bundle, device=args.device, precision=args.precision)
    catalog = recommender._core.release().catalog
    answer = recommender.recommend(
        typed("recommend: items", args.items, catalog),
        k=args.k,
        zone=args.zone,
        rules=_rules(args.rules) if args.rules else (),
        exclude=typed("recommend: exclude", args.exclude, catalog),
        history=args.history,
        value=args.value,
        tail=args.tail,
        objective=objective_of(args.objective),
        explain=args.explain,
    )
    if not args.json:
        for rank, (item, score) in enumerate(zip(answer.ids.tolist(), answer.scores.tolist()), 1):
            print(f"{rank:3d}  {item}  {'pinned' if score != score else format(score, '.4f')}")
        if answer.explanation is not None:
            print(json_text(answer.explanation, indent=2))
        cluster = answer.cluster
        found = f"cluster {cluster}"
        if cluster is None:
            listed = "products of the baseline" if answer.path == "fallback" else "popular products"
            found = f"{listed}, as no model knows an event"
        tell(f"path: {answer.path} ({found})")
        if answer.unknown:
            tell(f"unknown products: {', '.join(map(str, answer.unknown))}")
        if answer.reason:
            tell(answer.reason)
    return {
        "ids": answer.ids.tolist(),
        "scores": answer.scores.tolist(),
        "path": answer.path, "cluster": answer.cluster, "unknown": answer.unknown, "reason": answer.reason,
        "explanation": answer.explanation,
    }  # fmt: skip


def _rules(given: str) -> Any:
    """A list of rules, written out or in a file."""
    text = given if given.lstrip().startswith("[") else read_text("--rules", given)
    try:
        rules = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--rules {given}: not JSON: {error}") from None
    if not isinstance(rules, list):
        raise ValueError(f"--rules {given}: expected a JSON list of rules")
    return rules
