"""stamp prepare."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

import stamp.data

from .arguments import Parents, weights
from .engines import add_source_engine, open_source_engine
from .sources import add_source, source_options

_SAID = ("sessions", "gap", "value", "half_life", "min_support", "min_length", "held_out", "bot_events_a_day",
         "bot_events_an_hour")  # fmt: skip


def add(verbs: Any, parents: Parents) -> None:
    verb = verbs.add_parser(
        "prepare",
        parents=[parents.output],
        help="make training data of raw clicks",
        description="Make sessions of raw clicks, and leave out what cannot be learnt from. What is wrong with a row goes "
        "into quarantine with the reason; nothing is lost in silence. What stood at --out stays whole until the new data are.",
    )
    add_source(verb)
    verb.add_argument("--out", required=True, help="folder or URL of the prepared data")
    verb.add_argument("--append", action="store_true", help="add the source's days to what is at --out")
    verb.add_argument("--sessions", choices=["as given", "by pause"], help="the shop's, where it has them, or by --gap")
    verb.add_argument("--gap", metavar="SPAN", help="a longer pause begins a new session")
    verb.add_argument("--collapse-repeats", action="store_true", help="of one product's events in a row keep the first")
    verb.add_argument("--weight", action="append", default=[], metavar="KIND=NUMBER", help="of events: order=5")
    verb.add_argument("--value", type=float, help="at which an event weighs as its kind does; others in proportion")
    verb.add_argument("--half-life", metavar="SPAN", help="after which an event weighs half: 14D")
    verb.add_argument("--min-support", type=int, help="events of a product")
    verb.add_argument("--min-length", type=int, help="events of a session")
    verb.add_argument("--held-out", metavar="SPAN", help="the last part of the window, for measuring: 1D")
    verb.add_argument("--bot-events-a-day", type=int, help="of a visitor, beyond which it is a machine")
    verb.add_argument("--bot-events-an-hour", type=int, help="the same, in an hour")
    verb.add_argument("--quiet", action="store_true", help="do not say what is done")
    add_source_engine(verb)
    verb.set_defaults(verb=_prepare)


def _prepare(args: argparse.Namespace) -> dict[str, Any]:
    defaults = inspect.signature(stamp.data.prepare).parameters
    given = {name: getattr(args, name) for name in _SAID}
    options = {name: defaults[name].default if value is None else value for name, value in given.items()}
    with open_source_engine(args) as engine:
        prepared = stamp.data.prepare(
            args.source,
            out=args.out,
            append=args.append,
            collapse_repeats=args.collapse_repeats,
            weights=weights("weight", args.weight, "KIND=NUMBER, as order=5"),
            engine=engine,
            progress=not (args.json or args.quiet),
            **source_options(args),
            **options,
        )
    if not args.json:
        print(prepared)
        for reason, rows in prepared.quarantined.items():
            print(f"quarantined: {rows:,} {reason}")
    return {
        "prepared": prepared.url, "window": prepared.window, "counts": prepared.counts,
        "quarantined": prepared.quarantined, "fingerprint": prepared.fingerprint,
    }  # fmt: skip
