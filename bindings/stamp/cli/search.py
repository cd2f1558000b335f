"""stamp search."""

from __future__ import annotations

import argparse
import inspect
import json
import shlex
from typing import Any

from stamp.offline import search

from ..base.figures import check_figure_file, save_figure
from ..base.files import read_text
from ..data.objectives import kept_for
from ..offline.searches.studies import check_storage
from .arguments import EVENTS, Parents, events_options, events_words, options_of, read_sessions


def add(verbs: Any, parents: Parents) -> None:
    defaults = inspect.signature(search).parameters
    tuning = verbs.add_parser(
        "search", parents=[parents.options, parents.events], help="find the options that do best on validation"
    )
    tuning.add_argument("--data", required=True, help=EVENTS)
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


def _space(given: str) -> dict[str, Any]:
    """Options and their values, written out or in a file."""
    text = given if given.lstrip().startswith("{") else read_text("--space", given)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--space {given}: not JSON: {error}") from None


def _search(args: argparse.Namespace) -> dict[str, Any]:
    if args.storage:
        check_storage(args.storage)
    if args.plot:
        check_figure_file(args.plot)
    options = options_of(args)
    result = search(
        _space(args.space),
        read_sessions(args, args.data, keep=kept_for(options.get("objectives", ()), events_options(args))),
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
        save_figure(args.plot, result.plot())
    if not args.json:
        print(result)
        if result.best is not None:
            given = {name: value for name, value in result.best_options.items() if name != "preset"}
            chosen = " ".join(f"-o {shlex.quote(f'{name}={json.dumps(value)}')}" for name, value in given.items())
            data = shlex.join([args.data, *events_words(args)])
            print(f"stamp train {data} --out MODEL --preset {result.preset} {chosen}")
    return result.to_dict()
