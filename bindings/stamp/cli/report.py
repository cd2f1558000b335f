"""stamp report."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import pathlib
import shlex
from typing import Any

import stamp

from ..base.files import check_file, read_text
from ..base.streams import tell
from ..models.baselines import _CLASSES as _BASELINES
from ..offline import LeakageError, Zone, product_page, report
from ..offline.recordings.zones import read_zones
from .arguments import EVENTS, Parents, add_attributes, events_words, read_attributes, read_sessions

_PATHS = ("bundle", "sessions", "current", "train", "products", "zones", "policy")  # of what is read


def add(verbs: Any, parents: Parents) -> None:
    defaults = {name: p.default for name, p in inspect.signature(report).parameters.items()}
    verb = verbs.add_parser(
        "report",
        parents=[parents.output, parents.events],
        help="judge a release by a policy, and say why",
        description="Replay a release over held-out sessions, compare it with what serves now, judge it by a policy, "
        "and write a report. Exit status: 0 it may go on, or there is no policy; 1 the policy says no, with the "
        "reasons on standard error; 2 bad input.",
    )
    verb.add_argument("--bundle", required=True, help="of the release")
    verb.add_argument("--sessions", required=True, help=f"held out: {EVENTS}")
    verb.add_argument("--out", required=True, metavar="HTML", help="file of the page")
    verb.add_argument("--out-json", metavar="JSON", help="file of the same figures, for machines")
    verb.add_argument("--current", metavar="BUNDLE", help="what serves now")
    verb.add_argument("--baseline", action="append", default=[], metavar="NAME",
                      help=f"others to measure: {', '.join(_BASELINES)}, fitted to --train; or NAME=PATH")  # fmt: skip
    verb.add_argument("--train", help="events that the release learnt from")
    verb.add_argument("--policy", metavar="JSON", help="what the release must show")
    verb.add_argument("--zones", metavar="JSON",
                      help="list of zones: product_page, home, cart, or objects of their options")  # fmt: skip
    add_attributes(verb)
    verb.add_argument("--k", type=int, action="append", help="length of lists; those of the zones by default")
    verb.add_argument("--metric", action="append",
                      help=f"what is compared, as hr@20; by default {', '.join(defaults['metrics'])}")  # fmt: skip
    verb.add_argument("--cut", action="append", help="what questions are told apart by")
    verb.add_argument("--leakage", default=defaults["leakage"], choices=["refuse", "report"],
                      help="what to do about sessions that overlap with training")  # fmt: skip
    verb.add_argument("--resamples", type=int, default=defaults["resamples"], help="of the bootstrap")
    verb.add_argument("--seed", type=int, default=defaults["seed"], help="of the bootstrap")
    verb.add_argument("--title")
    verb.add_argument("--quiet", action="store_true", help="no progress bar")
    verb.set_defaults(verb=_report)


def _report(args: argparse.Namespace) -> dict[str, Any]:
    _check_targets(args)
    products = read_attributes(args)
    train = None if args.train is None else read_sessions(args, args.train, keep=None)
    try:
        made = report(
            args.bundle,
            read_sessions(args, args.sessions, keep=None),
            current=args.current,
            baselines=_baselines(args.baseline, train),
            train=train,
            products=products,
            zones=_zones(args.zones),
            policy=args.policy,
            k=args.k,
            **({} if args.metric is None else {"metrics": args.metric}),
            cuts=args.cut,
            resamples=args.resamples,
            seed=args.seed,
            leakage=args.leakage,
            title=args.title,
            command=_command(args),
            progress=not (args.json or args.quiet),
        )
    except LeakageError as error:
        raise LeakageError(error.report, call="stamp report", option="--leakage report") from None
    made.save(args.out, args.out_json)
    if not args.json:
        print(f"saved {args.out}: {made.answer}")
    for reason in made.reasons:
        tell(reason)
    return made.to_dict()


def _check_targets(args: argparse.Namespace) -> None:
    read = [name for name in _PATHS if getattr(args, name) is not None and os.path.exists(getattr(args, name))]
    for option, path in (("--out", args.out), ("--out-json", args.out_json)):
        if path is None:
            continue
        for name in read:
            if os.path.exists(path) and os.path.samefile(path, getattr(args, name)):
                raise ValueError(f"report: {option} names the file of --{name}")
        check_file(path)


def _baselines(given: list[str], train: stamp.Sessions | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        name, is_path, path = text.partition("=")
        if name in found:
            raise ValueError(f"--baseline {text}: '{name}' is given twice")
        if is_path:
            found[name] = path
        elif name not in _BASELINES:
            raise ValueError(f"--baseline {text}: expected one of {', '.join(_BASELINES)}, or NAME=PATH of a bundle")
        elif train is None:
            raise ValueError(f"--baseline {text}: it learns from training sessions; give --train")
        else:
            found[name] = _BASELINES[name]().fit(train)
    return found


def _zones(path: str | None) -> list[Zone]:
    if path is None:
        return [product_page()]
    text = read_text("--zones", path)
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--zones {path}: not JSON: {error}") from None
    try:
        return read_zones(given)
    except ValueError as error:
        raise ValueError(f"--zones {path}: {error}") from None


def _command(args: argparse.Namespace) -> str:
    """What makes the report again, from a folder that has the files: it tells nothing of where they were."""
    words = ["stamp", "report"]
    for name in (*_PATHS, "out", "out_json"):
        if getattr(args, name) is not None:
            words += [f"--{name.replace('_', '-')}", pathlib.Path(getattr(args, name)).name]
    for name, sign, path in (text.partition("=") for text in args.baseline):
        words += ["--baseline", f"{name}={pathlib.Path(path).name}" if sign else name]
    for name in ("k", "metric", "cut", "category", "number"):
        for value in getattr(args, name) or ():
            words += [f"--{name}", str(value)]
    words += events_words(args)
    if args.product_id is not None:
        words += ["--product-id", args.product_id]
    for name in ("leakage", "resamples", "seed"):
        words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    return shlex.join(words)
