"""stamp validate."""

from __future__ import annotations

import argparse
import inspect
import os
import pathlib
import shlex
from typing import Any

import stamp.data

from ..base.files import check_file
from ..base.folders import is_url
from ..base.streams import tell
from .arguments import Parents
from .engines import add_source_engine, open_source_engine
from .sources import add_source, source_options

_PATHS = ("source", "mapping", "catalog", "profile", "policy")  # of what is read
_LIMITS = ("bot_events_a_day", "bot_events_an_hour")
_WRITTEN = ("out_html", "out_json", "out_profile")


def add(verbs: Any, parents: Parents) -> None:
    verb = verbs.add_parser(
        "validate",
        parents=[parents.output],
        help="look at raw clicks before they are prepared, and say what is wrong",
        description="Look at each day of raw clicks beside what is usual of it, and judge what is found by a policy. Exit "
        "status: 0 the clicks may be prepared, warnings are printed; 1 the policy says no, with the reasons on standard "
        "error; 2 bad input.",
    )
    add_source(verb)
    verb.add_argument("--profile", metavar="JSON", help="of the night before: its days are not judged again")
    verb.add_argument("--policy", metavar="JSON", help="what stops and what warns, where not as by default")
    verb.add_argument("--out-html", metavar="HTML", help="file of the page")
    verb.add_argument("--out-json", metavar="JSON", help="file of what was found, for machines")
    verb.add_argument("--out-profile", metavar="JSON", help="file of the profile, for the next night")
    verb.add_argument("--bot-events-a-day", type=int, help="of a visitor, beyond which it is a machine")
    verb.add_argument("--bot-events-an-hour", type=int, help="the same, in an hour")
    verb.add_argument("--title")
    add_source_engine(verb)
    verb.set_defaults(verb=_validate)


def _validate(args: argparse.Namespace) -> dict[str, Any]:
    _check_targets(args)
    defaults = inspect.signature(stamp.data.validate).parameters
    limits = {name: defaults[name].default if getattr(args, name) is None else getattr(args, name) for name in _LIMITS}
    with open_source_engine(args) as engine:
        made = stamp.data.validate(
            args.source,
            **source_options(args),
            **limits,
            profile=args.profile,
            policy=args.policy,
            engine=engine,
            title=args.title,
            command=_command(args),
        )
    if any(getattr(args, name) is not None for name in _WRITTEN):
        made.save(args.out_html, args.out_json, args.out_profile)
    if not args.json:
        print(f"{made.about}\n{made.answer}")
        for sentence in made.warnings:
            print(f"warning: {sentence}")
    for sentence in made.reasons:
        tell(sentence)
    return made.to_dict()


def _check_targets(args: argparse.Namespace) -> None:
    """The profile may stand where it is written: it is read before."""
    read = [name for name in _PATHS if getattr(args, name) is not None and os.path.exists(getattr(args, name))]
    for written in _WRITTEN:
        path = getattr(args, written)
        if path is None or is_url(path):
            continue
        for name in read:
            same = os.path.exists(path) and os.path.samefile(path, getattr(args, name))
            if same and (written, name) != ("out_profile", "profile"):
                raise ValueError(f"validate: --{written.replace('_', '-')} names the file of --{name}")
        check_file(path)


def _command(args: argparse.Namespace) -> str:
    """What makes the report again, from a folder that has the files: it tells nothing of where they were."""
    words = ["stamp", "validate"]
    for name in (*_PATHS, *_WRITTEN):
        if getattr(args, name) is not None:
            given = getattr(args, name)
            words += [f"--{name.replace('_', '-')}", given if is_url(given) else pathlib.Path(given).name]
    for text in args.catalog_column:
        words += ["--catalog-column", text]
    for name in ("end", "days", "now", *_LIMITS):
        if getattr(args, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    return shlex.join(words)
