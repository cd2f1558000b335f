"""What another bundle would have earned, from the server's log of explored lists, the shop's clicks and its events.

    .venv/bin/python examples/server/off_policy.py --exposures exposures --arm explored --zone home --secret secret \\
        --events events.csv --clicks clicks.csv models/candidate

events.csv is what visitors did, in any order: visitor_id, item_id, timestamp (seconds since 1970). clicks.csv has a line
for each product that was clicked in a list: request (the answer's X-Request-Id), item_id. What was known before a list
are the events of the visitor's session, as the server reads them.
"""

import argparse
import csv
import datetime
import json
import pathlib

from ab_test import hash_of

from stamp import offline
from stamp.offline import off_policy

Events = dict[str, list[tuple[float, str]]]  # visitor's hash → time and product, in order


def shown(exposures: pathlib.Path) -> dict[str, tuple[str, float]]:
    """Request → the visitor's hash, and when."""
    found: dict[str, tuple[str, float]] = {}
    for file in sorted(exposures.glob("exposures*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for text in lines:
                if text.endswith("\n"):  # else it is being written
                    line = json.loads(text)
                    time = datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
                    found.setdefault(line["request"], (line["visitor"], time.timestamp()))
    return found


def events_of(path: pathlib.Path, secret: bytes) -> Events:
    events: Events = {}
    hashes: dict[str, str] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            visitor = row["visitor_id"]
            name = hashes.setdefault(visitor, hash_of(secret, visitor))
            events.setdefault(name, []).append((float(row["timestamp"]), row["item_id"]))
    return {name: sorted(each, key=lambda event: event[0]) for name, each in events.items()}


def session_before(events: list[tuple[float, str]], now: float, gap: float) -> list[str]:
    """The products of the session that a list at `now` was asked in."""
    session: list[str] = []
    next_time = now
    for time, item in reversed([event for event in events if event[0] <= now]):
        if next_time - time > gap:
            break
        session.append(item)
        next_time = time
    return session[::-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", help="what is judged")
    parser.add_argument("--exposures", type=pathlib.Path, required=True, help="exposures.directory of the server")
    parser.add_argument("--arm", required=True, help="the arm that explores")
    parser.add_argument("--zone", required=True)
    parser.add_argument("--secret", type=pathlib.Path, required=True, help="secret_file of the server")
    parser.add_argument("--events", type=pathlib.Path, required=True)
    parser.add_argument("--clicks", type=pathlib.Path, required=True)
    parser.add_argument("--gap", type=float, default=1800, help="visits.session_gap_s of the server")
    args = parser.parse_args()

    log = off_policy.read_exposures(args.exposures, args.clicks, arm=args.arm, zone=args.zone)
    events, asked = events_of(args.events, args.secret.read_bytes()), shown(args.exposures)
    kind = int if log.catalog.kind == "integers" else str
    histories = []
    for request in log.requests:
        visitor, time = asked[request]
        histories.append([kind(item) for item in session_before(events.get(visitor, []), time, args.gap)])
    zone = offline.Zone(name=args.zone, k=int(log.slot.max()), bundle_zone=args.zone)
    lists = off_policy.ask(args.bundle, histories, zone=zone)
    print(off_policy.estimate(log, lists, without_overlap="leave out"))


if __name__ == "__main__":
    main()
