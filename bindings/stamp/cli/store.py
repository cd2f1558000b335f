"""stamp store list | show | diff | upload | promote | rollback | export | verify | gc | sync."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from ..base.files import read_text
from ..base.streams import tell
from ..store.aliases import WHATEVER, Alias, ConflictError, Whatever
from ..store.differences import Changes
from ..store.records import open_record
from ..store.store import Store
from ..store.syncing import sync, told
from .arguments import Parents

_NONE = "-"  # of --expect: no alias yet


def add(verbs: Any, parents: Parents) -> None:
    store = verbs.add_parser("store", help="releases in a folder or a bucket, and which one serves")
    all_verbs = store.add_subparsers(
        required=True, metavar="list | show | diff | upload | promote | rollback | export | verify | gc | sync"
    )

    def verb(name: str, run: Callable[[argparse.Namespace], dict[str, Any]], what: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = all_verbs.add_parser(name, parents=[parents.output], help=what)
        parser.add_argument("store", help="a folder, gs://bucket/folder or s3://bucket/folder")
        parser.set_defaults(verb=run)
        return parser

    verb("list", _list, "releases and aliases")
    show = verb("show", _show, "what a release is of")
    show.add_argument("release", help="a release or an alias")
    show.add_argument("--open", action="store_true", help="its record, in a browser")
    diff = verb("diff", _diff, "what a release changes of another")
    diff.add_argument("before", help="a release or an alias")
    diff.add_argument("after", help="a release or an alias")
    _add_upload(verb("upload", _upload, "make a release of a bundle"))
    promote = verb("promote", _promote, "let an alias be at a release")
    promote.add_argument("alias")
    promote.add_argument("release")
    _add_move(promote)
    promote.add_argument("--operation", metavar="ID", help="of what is done: the same one again changes nothing")
    rollback = verb("rollback", _rollback, "let an alias be at the release before")
    rollback.add_argument("alias")
    rollback.add_argument("--to", metavar="RELEASE", help="another one of those before")
    _add_move(rollback)
    export = verb("export", _export, "write the bundle of a release to a new folder")
    export.add_argument("release", help="a release or an alias")
    export.add_argument("to", help="a new folder")
    verify = verb("verify", _verify, "whether every blob is what it should be; exit status 1 if not")
    verify.add_argument("release", nargs="?", help="one alone, or an alias")
    gc = verb("gc", _gc, "remove what neither an alias, its history nor an upload needs")
    gc.add_argument("--keep", type=int, default=7, help="of the newest releases, whatever needs them (%(default)s)")
    gc.add_argument("--grace", type=float, default=86_400.0, metavar="SECONDS", help="nothing younger (%(default)g)")
    gc.add_argument("--dry-run", action="store_true", help="say what would go")
    _add_sync(verb("sync", _sync, "bring the release of an alias to the directory that a server watches"))


def _add_upload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle")
    parser.add_argument("--name", help="by default time and digest")
    parser.add_argument("--parent", metavar="RELEASE", help="that it came from")
    parser.add_argument(
        "--record", metavar="FOLDER", help="of reports for people; index.html is what show --open opens"
    )
    parser.add_argument("--made-by", metavar="FILE", help="JSON object: fingerprints, versions, options")
    parser.add_argument("--products-time", metavar="TIME", help="when the catalog was exported: 2026-11-28T02:00:00Z")


def _add_move(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--expect",
        metavar="RELEASE",
        help=f"where the alias must be now, {_NONE} for nowhere; exit status 1, and nothing changed, if it is not",
    )
    parser.add_argument("--by", help="whom others are told of (user and host)")


def _add_sync(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", required=True, metavar="DIR")
    parser.add_argument("--alias", default="champion", help="of current.json (%(default)s)")
    parser.add_argument("--candidate", metavar="ALIAS", help="of candidate.json")
    parser.add_argument("--keep", type=int, default=3, help="releases that stay in DIR (%(default)s)")
    parser.add_argument(
        "--watch", type=float, nargs="?", const=10.0, metavar="SECONDS", help="look again and again (%(const)g)"
    )


def _list(args: argparse.Namespace) -> dict[str, Any]:
    store = Store(args.store)
    releases, aliases = store.releases(), store.aliases()
    if not args.json:
        for name, release in releases.items():
            at = ", ".join(alias for alias, each in aliases.items() if each.release == name)
            print(f"{name}  {release.created}  {release.bytes:>14,} bytes  {release.digest[:12]}  {at}".rstrip())
        print(f"{len(releases)} releases; aliases: {', '.join(aliases) or 'none'}")
    return {
        "releases": [
            {key: value for key, value in release.to_dict().items() if key not in ("files", "record", "made_by")}
            for release in releases.values()
        ],
        "aliases": {name: alias.to_dict() for name, alias in aliases.items()},
    }


def _show(args: argparse.Namespace) -> dict[str, Any]:
    store = Store(args.store)
    release = store.release(args.release)
    aliases = {name: alias.to_dict() for name, alias in store.aliases().items() if alias.release == release.name}
    if not args.json:
        print(f"{release.name}, created {release.created}, digest {release.digest}")
        print(f"parent: {release.parent or 'none'}; products of {release.products_time or 'no time that is known'}")
        print(f"aliases: {', '.join(aliases) or 'none'}")
        print(f"{len(release.files)} files, {release.bytes:,} bytes; record: {', '.join(release.record) or 'none'}")
        if release.made_by:
            print(json.dumps(dict(release.made_by), indent=1, ensure_ascii=False))
    opened = open_record(store, release) if args.open else None
    return {**release.to_dict(), "aliases": aliases, **({"opened": opened} if opened else {})}


def _diff(args: argparse.Namespace) -> dict[str, Any]:
    found = Store(args.store).diff(args.before, args.after)
    if not args.json:
        print(f"clusters: {_changes(found.clusters)}")
        print(f"files: {_changes(found.files)}")
        print(f"{found.new_bytes:,} bytes new, {found.same_bytes:,} the same, {found.gone_bytes:,} gone")
        for key, (before, after) in found.made_by.items():
            print(f"{key}: {json.dumps(before)} -> {json.dumps(after)}")
    return dataclasses.asdict(found)


def _changes(changes: Changes) -> str:
    parts = [f"{what} {', '.join(names)}" for what in ("new", "changed", "gone") if (names := getattr(changes, what))]
    return "; ".join([*parts, f"{len(changes.same):,} the same"])


def _upload(args: argparse.Namespace) -> dict[str, Any]:
    made_by = {} if args.made_by is None else _object(args.made_by)
    uploaded = Store(args.store).upload(
        args.bundle,
        name=args.name,
        parent=args.parent,
        record=args.record,
        made_by=made_by,
        products_time=args.products_time,
    )
    if not args.json:
        print(
            f"{uploaded.release.name}: {uploaded.new_blobs:,} blobs of {uploaded.new_bytes:,} bytes moved, "
            f"{uploaded.old_blobs:,} of {uploaded.old_bytes:,} were there"
        )
    return {**dataclasses.asdict(uploaded), "release": uploaded.release.to_dict()}


def _object(file: str) -> dict[str, Any]:
    try:
        read = json.loads(read_text("--made-by", file))
    except json.JSONDecodeError as error:
        raise ValueError(f"--made-by {file} is not JSON: {error}") from None
    if not isinstance(read, dict):
        raise ValueError(f"--made-by {file}: expected a JSON object")
    return read


def _expected(args: argparse.Namespace) -> str | None | Whatever:
    if args.expect is None:
        return WHATEVER
    return None if args.expect == _NONE else str(args.expect)


def _promote(args: argparse.Namespace) -> dict[str, Any]:
    return _moved(
        args,
        lambda store: store.promote(
            args.alias, args.release, expect=_expected(args), by=args.by, operation=args.operation
        ),
    )


def _rollback(args: argparse.Namespace) -> dict[str, Any]:
    expect = _expected(args)
    if expect is None:
        raise ValueError(f"--expect {_NONE}: an alias that is nowhere has no release before")
    return _moved(args, lambda store: store.rollback(args.alias, expect=expect, to=args.to, by=args.by))


def _moved(args: argparse.Namespace, move: Callable[[Store], Alias]) -> dict[str, Any]:
    try:
        alias = move(Store(args.store))
    except ConflictError as error:
        tell(f"stamp: {error}")
        return {"passed": False, "why": str(error), "alias": error.alias.to_dict() if error.alias else None}
    if not args.json:
        print(f"{alias.name} is at {alias.release} since {alias.since}, by {alias.by}")
    return {"passed": True, "alias": alias.to_dict()}


def _export(args: argparse.Namespace) -> dict[str, Any]:
    fetched = Store(args.store).export(args.release, args.to)
    if not args.json:
        print(f"{args.to}: {fetched.files:,} files, {fetched.bytes:,} bytes")
    return dataclasses.asdict(fetched)


def _verify(args: argparse.Namespace) -> dict[str, Any]:
    found = Store(args.store).verify(args.release)
    if not args.json:
        for finding in found.findings:
            needed = f", needed by {', '.join(finding.releases)}" if finding.releases else ""
            print(f"{finding.file}: {finding.what}{needed}{' for ' if finding.paths else ''}{', '.join(finding.paths)}")
        print(
            f"{found.releases:,} releases, {found.blobs:,} blobs, {found.bytes:,} bytes read, {found.unreferenced:,} blobs that "
            f"no release needs: {'all well' if found.passed else f'{len(found.findings):,} findings'}"
        )
    return {"passed": found.passed, **dataclasses.asdict(found)}


def _gc(args: argparse.Namespace) -> dict[str, Any]:
    done = Store(args.store).gc(keep=args.keep, grace=args.grace, dry_run=args.dry_run)
    if not args.json:
        print(f"{'would remove' if done.dry_run else 'removed'} {len(done.releases):,} releases, {done.blobs:,} blobs of "
              f"{done.bytes:,} bytes, {done.records:,} files of records, {done.leases:,} leases; {done.kept_releases:,} "
              f"releases and {done.kept_blobs:,} blobs of {done.kept_bytes:,} bytes stay")  # fmt: skip
        for name in done.releases:
            print(f"release {name}")
        for path in done.unknown:
            print(f"left as it is, being no part of a store: {path}")
        if not done.finished:
            print("its time was over before all was removed: run it again")
    return dataclasses.asdict(done)


def _sync(args: argparse.Namespace) -> dict[str, Any]:
    synced = sync(args.store, to=args.to, alias=args.alias, candidate=args.candidate, keep=args.keep, watch=args.watch)
    if synced is None:
        return {"release": None}
    if not args.json and args.watch is None:
        print(told(synced))
    return dataclasses.asdict(synced)
