"""The release: its bundle, what it must show, the store, the servers."""

from __future__ import annotations

import datetime
import json
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from ...data.products import Products
from ...data.sessions import Sessions
from ...models.baselines import (
    AssociationRulesRecommender,
    ItemKNNRecommender,
    PopularityRecommender,
    SequentialRulesRecommender,
    SessionKNNRecommender,
    SessionPopularityRecommender,
)
from ...offline.recordings.zones import Zone, product_page, read_zones
from ...offline.replays.replay import replay
from ...offline.reports.policy import Policy
from ...offline.reports.report import report
from ...serving.bundles import build_bundle as build
from ...serving.bundles import verify_bundle
from ...store import ConflictError, Store
from ...store.releases import bundle_digest
from .reports import StepReport

_BACK = "servers did not come up"  # begins the ids of operations that move an alias back
SESSIONS = 20_000  # that are replayed at most
_FALLBACKS = {
    "association_rules": AssociationRulesRecommender,
    "item_knn": ItemKNNRecommender,
    "popularity": PopularityRecommender,
    "sequential_rules": SequentialRulesRecommender,
    "session_knn": SessionKNNRecommender,
    "session_popularity": SessionPopularityRecommender,
}


def build_bundle(
    models: str | os.PathLike[str],
    data: str,
    *,
    out: str | os.PathLike[str],
    rules: Mapping[str, Any] | None = None,
    route_by: str | Sequence[str] = (),
    fallback: str | None = "session_knn",
    scan_tables: bool = True,
) -> StepReport:
    """One bundle, at `out`, of the models of all clusters and the products of prepared data, and verified.

    `fallback` names a baseline, which is fitted to the sessions. All else is as of :func:`stamp.build_bundle`.
    """
    fitted = None if fallback is None else _FALLBACKS[fallback]().fit(Sessions.from_frame(data, keep=()))
    build(
        models, Products.from_frame(data), out=out, rules=rules, route_by=route_by, fallback=fitted,
        scan_tables=scan_tables,
    )  # fmt: skip
    held = verify_bundle(out)
    return StepReport(fingerprint=bundle_digest(out), counts={"bundle": held})


def validate_model(
    bundle: str | os.PathLike[str],
    data: str,
    *,
    out: str | os.PathLike[str],
    champion: str | os.PathLike[str] | None,
    policy: Mapping[str, Any] | None = None,
    zones: Sequence[Any] | None = None,
    sessions: int = SESSIONS,
    title: str | None = None,
    **options: Any,
) -> StepReport:
    """Judge a bundle beside the champion by what prepared data hold out: writes report.html and report.json into `out`.

    At most so many `sessions`, the last ones, are replayed. Without a champion (None) the checks that compare with it, as
    "current", are left out, and said. All else, `metrics` and `k` too, is as of :func:`stamp.offline.report`.
    """
    held_out = _last(Sessions.from_frame(f"{data}/held_out"), sessions)
    judged_by, left_out = _policy(policy, champion)
    made = report(
        bundle, held_out, current=champion, products=Products.from_frame(data), zones=_zones(zones), policy=judged_by,
        title=title, **options,
    )  # fmt: skip
    made.save(os.path.join(out, "report.html"), os.path.join(out, "report.json"))
    warnings = [] if made.verdict is None else list(made.verdict.warnings)
    if left_out:
        warnings.append(f"there is no champion yet: {left_out} checks that compare with it were left out")
    return StepReport(
        fingerprint=str(made.passed),
        passed=made.passed,
        reasons=made.reasons,
        warnings=warnings,
        counts={"answer": made.answer, "sessions": len(held_out), **made.to_dict()},
    )


def compare_bundles(
    released: str | os.PathLike[str],
    judged: str | os.PathLike[str],
    data: str,
    *,
    zones: Sequence[Any] | None = None,
    sessions: int = SESSIONS,
    least_overlap: float = 0.3,
) -> StepReport:
    """Whether lists of the release are like those of what was judged: the share of their products that both have, in every
    zone, over the sessions that prepared data hold out."""
    held_out = _last(Sessions.from_frame(f"{data}/held_out"), sessions)
    asked = replay(
        {"judged": judged, "released": released}, held_out, zones=_zones(zones),
        products=Products.from_frame(data), latency=1,
    )  # fmt: skip
    overlap = {name: 1 - asked.churn("judged", "released", zone=name, k=zone.k) for name, zone in asked.zones.items()}
    reasons = [
        f"zone {name}: lists of the release have {share:.1%} of the products of what was judged, judge.least_overlap is "
        f"{least_overlap:.1%}"
        for name, share in overlap.items()
        if share < least_overlap
    ]
    return StepReport(
        fingerprint=str(not reasons), passed=not reasons, reasons=reasons, counts={"overlap": overlap}
    )  # fmt: skip


def upload(
    bundle: str | os.PathLike[str],
    store: str,
    *,
    name: str,
    created: datetime.datetime,
    record: str | os.PathLike[str],
    parent: str | None,
    products_time: str | None,
    made_by: Mapping[str, Any],
) -> StepReport:
    """Put a bundle into the store as the release `name`, with its record. See :meth:`stamp.store.Store.upload`."""
    done = Store(store).upload(
        bundle, name=name, created=created, record=record, parent=parent, products_time=products_time, made_by=made_by
    )
    moved = {name: getattr(done, name) for name in ("new_blobs", "new_bytes", "old_blobs", "old_bytes")}
    return StepReport(fingerprint=done.release.digest, counts={"release": done.release.name, **moved})


def update_serving(
    store: str,
    release: str,
    *,
    alias: str,
    expect: str | None,
    urls: Sequence[str] = (),
    timeout: float = 600,
    pause: float = 1,
) -> StepReport:
    """Promote a release, and wait until all servers serve it, by their ``/release``.

    Parameters
    ----------
    expect : str or None
        The champion that it was judged against, None for none: where the alias is of another by now, nothing changes.
    urls : list of str
        Administration ports of servers, "http://host:8081".
    timeout, pause : float
        Seconds in which all must serve it, and between two questions.

    It does not pass where another was promoted meanwhile, or where a server does not come up with the release: the alias
    is then moved back, if it is still this release's.
    """
    opened = Store(store)
    there = opened.aliases().get(alias)
    if there is not None and there.release != release:
        for move in there.history:
            if move.before == release and not move.operation.startswith(_BACK):
                told = f"{move.by} moved {alias} from {release} to {move.release} at {move.since}: promote it by hand, if it is to serve"
                return StepReport(fingerprint="", passed=False, reasons=[told])
    try:
        if there is None or there.release != release:  # else a call that was killed has done it
            opened.promote(alias, release, expect=expect)
    except ConflictError as error:
        return StepReport(fingerprint="", passed=False, reasons=[f"{error}; run again to be judged against that"])
    behind = _wait_for(release, urls, timeout, pause)
    if not behind:
        return StepReport(fingerprint=release, counts={"release": release, "alias": alias, "servers": len(urls)})
    reasons = [f"{url} does not serve {release} after {timeout:g} s: {why}" for url, why in behind.items()]
    try:
        back = opened.rollback(alias, expect=release, operation=f"{_BACK} {secrets.token_hex(8)}")
        reasons.append(f"{alias} is {back.release} again")
    except ValueError as error:  # it was the first
        reasons.append(f"{alias} stays {release}: {error}")
    except ConflictError as error:
        reasons.append(f"it was not moved back: {error}")
    return StepReport(fingerprint="", passed=False, reasons=reasons)


def _wait_for(release: str, urls: Sequence[str], timeout: float, pause: float) -> dict[str, str]:
    """Servers that do not serve it in time, and what they say."""
    until = time.monotonic() + timeout
    behind = dict.fromkeys(urls, "")
    while behind:
        for url in list(behind):
            said = _served(url)
            if said == release:
                del behind[url]
            else:
                behind[url] = said
        if not behind or time.monotonic() > until:
            break
        time.sleep(pause)
    return behind


def _served(url: str) -> str:
    """The name of the release that a server serves, or why that is not known."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/release", timeout=5) as answer:
            return str(json.load(answer)["release"])
    except (OSError, ValueError, KeyError, TypeError, urllib.error.URLError) as error:
        return f"{type(error).__name__}: {error}"


def _last(sessions: Sessions, most: int) -> Sessions:
    return sessions if len(sessions) <= most else sessions.split_last(most / len(sessions))[1]


def _zones(given: Sequence[Any] | None) -> list[Zone]:
    return [product_page()] if given is None else read_zones(list(given))


def _policy(given: Mapping[str, Any] | None, champion: Any) -> tuple[Policy | None, int]:
    """Without checks against a champion that is not there, and how many these were."""
    if given is None or champion is not None:
        return (None if given is None else Policy.read(given)), 0
    checks = [check for check in given["checks"] if check.get("no_worse_than") != "current"]
    left_out = len(given["checks"]) - len(checks)
    return (Policy.read({**given, "checks": checks}) if checks else None), left_out
