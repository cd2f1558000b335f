"""An A/B test from the server's exposure log and the shop's orders: was the split as planned, and who converted more.

    .venv/bin/python examples/server/ab_test.py --exposures exposures --experiment wider --secret secret orders.csv

orders.csv has a line for each order: visitor_id[, revenue]. The log has visitors as keyed hashes, which the server's secret
file makes here, too. Orders are those of the test's days: all of a visitor's count.
"""

import argparse
import csv
import hashlib
import hmac
import json
import pathlib

import numpy as np

from stamp.offline import ab


def hash_of(secret: bytes, visitor: str) -> str:
    """A visitor's name in the log (docs/server.md)."""
    return hmac.new(secret, b"visitor\0" + visitor.encode(), hashlib.sha256).hexdigest()[:32]


def arms_of(exposures: pathlib.Path, experiment: str) -> dict[str, str]:
    """Visitor → arm. Who is in two, because shares were changed meanwhile, is in none."""
    arms: dict[str, str] = {}
    moved = set()
    for file in sorted(exposures.glob("exposures*.jsonl")):
        for text in file.read_text().splitlines(keepends=True):
            if not text.endswith("\n"):  # is being written
                continue
            line = json.loads(text)
            if line["experiment"] == experiment and arms.setdefault(line["visitor"], line["arm"]) != line["arm"]:
                moved.add(line["visitor"])
    return {visitor: arm for visitor, arm in arms.items() if visitor not in moved}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("orders", type=pathlib.Path)
    parser.add_argument("--exposures", type=pathlib.Path, required=True, help="exposures.directory of the server")
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--secret", type=pathlib.Path, required=True, help="secret_file of the server")
    parser.add_argument("--control", default="control", help="the arm that others are compared with")
    parser.add_argument("--treatment", help="the other arm, where there are more than two")
    args = parser.parse_args()

    arms = arms_of(args.exposures, args.experiment)
    others = sorted(set(arms.values()) - {args.control})
    treatment = args.treatment or (others[0] if len(others) == 1 else None)
    if args.control not in arms.values() or treatment not in others:
        parser.error(f"arms are {sorted(set(arms.values()))}; --control and --treatment are two of them")
    secret = args.secret.read_bytes()
    with args.orders.open() as file:
        revenue: dict[str, float] = {}
        for order in csv.DictReader(file):
            visitor = hash_of(secret, order["visitor_id"])
            revenue[visitor] = revenue.get(visitor, 0) + float(order.get("revenue") or 0)

    def of(arm: str, value) -> np.ndarray:
        return np.array([value(visitor) for visitor, own in arms.items() if own == arm], float)

    sizes = [sum(own == arm for own in arms.values()) for arm in (args.control, treatment)]
    print(f"{args.experiment}: {args.control} against {treatment}\n")
    print(ab.sample_ratio(*sizes), "\n")
    print(
        ab.proportions(
            **{
                name: of(arm, lambda v: v in revenue)
                for name, arm in (("control", args.control), ("treatment", treatment))
            }
        )
    )
    if any(revenue.values()):
        print()
        print(
            ab.means(
                **{
                    name: of(arm, lambda v: revenue.get(v, 0))
                    for name, arm in (("control", args.control), ("treatment", treatment))
                }
            )
        )


if __name__ == "__main__":
    main()
