"""stamp evaluate."""

from __future__ import annotations

import argparse
from typing import Any

import stamp

from .arguments import EVENTS, OBJECTIVE, Parents, objective_of, read_sessions


def add(verbs: Any, parents: Parents) -> None:
    evaluate = verbs.add_parser(
        "evaluate", parents=[parents.common, parents.events], help="measure a saved model on events"
    )
    evaluate.add_argument("model")
    evaluate.add_argument("data", help=EVENTS)
    evaluate.add_argument("--k", type=int, action="append", help="length of lists; 5, 10 and 20 by default")
    evaluate.add_argument("--min-history", type=int, default=1)
    evaluate.add_argument("--last-only", action="store_true")
    evaluate.add_argument("--ties", default="conservative", choices=["conservative", "mean", "optimistic"])
    evaluate.add_argument("--objective", **OBJECTIVE,
                          help="what lists of a model with objectives serve, order=0.3 say, one an option; else clicks")  # fmt: skip
    evaluate.add_argument("--leading-to", metavar="TYPE",
                          help="ask only of events whose product has one of this type at or after them in the session")  # fmt: skip
    evaluate.set_defaults(verb=_evaluate)


def _evaluate(args: argparse.Namespace) -> dict[str, Any]:
    model = stamp.load(args.model, device=args.device, precision=args.precision)
    test = read_sessions(args, args.data)
    if args.leading_to is not None:
        test = test.leading_to(args.leading_to)
    result = stamp.evaluate(
        model, test, min_history=args.min_history, last_only=args.last_only, ties=args.ties,
        objective=objective_of(args.objective),
        **({} if args.k is None else {"k": args.k}),
    )  # fmt: skip
    if not args.json:
        print(result)
    counts = ("examples", "cold_targets", "unanswered", "unreachable", "ceiling", "tied")
    return {**result.to_dict(), **{name: getattr(result, name) for name in counts}}
