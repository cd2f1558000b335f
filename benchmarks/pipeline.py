"""Two nights of a made-up shop by stamp.pipeline, stage by stage, what the second uploads, and how long an alias takes to move.

    python benchmarks/pipeline.py [--products 20000] [--sessions 400000] [--moves 40]

The first night is cold and has no champion; the second begins with the first's models. Aliases are moved in a folder, and in
buckets of the servers that the tests use: moto's for S3, fake-gcs-server for GCS, both on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import runpy
import statistics
import sys
import tempfile
import time
from unittest import mock

from common import ROOT, record

FIRST, NIGHTS = "2026-11-01", (13, 14)
CONFIG = {"epochs": 3}


def make_shop(folder: pathlib.Path, products: int, sessions: int) -> pathlib.Path:
    """Fourteen days of clicks, and the pipeline file of the example for a shop of this size."""
    arguments = ["clicks.py", "--out", folder, "--first", FIRST, "--products", products, "--sessions", sessions]
    with contextlib.redirect_stdout(sys.stderr), mock.patch.object(sys, "argv", [*map(str, arguments)]):
        runpy.run_path(str(ROOT / "examples" / "pipeline" / "clicks.py"))
    (folder / "later").mkdir()
    (folder / "clicks" / f"2026-11-{NIGHTS[1]}.csv").rename(folder / "later" / "last.csv")
    shop = json.loads((ROOT / "examples" / "pipeline" / "shop.json").read_text())
    del shop["servers"]
    shop["full"]["config"] = {"dim": 32, "epochs": 1}
    shop["clusters"]["clusters"] = 8
    shop["train"]["config"] = CONFIG
    shop["judge"] |= {"policy": {"format": 1, "checks": [{"metric": "hr@8", "at_least": 0.01}]}}
    (folder / "shop.json").write_text(json.dumps(shop))
    return folder / "shop.json"


def nights(products: int, sessions: int) -> tuple[dict, tempfile.TemporaryDirectory]:
    """A row, and the folder of the shop, for what comes after."""
    import stamp.pipeline

    folder = tempfile.TemporaryDirectory(prefix="stamp-benchmark-")
    place = pathlib.Path(folder.name)
    shop = make_shop(place, products, sessions)
    row: dict = {"products": products, "sessions": sessions}
    for number, night in enumerate(NIGHTS, 1):
        if number == 2:
            (place / "later" / "last.csv").rename(place / "clicks" / f"2026-11-{night}.csv")
        start = time.perf_counter()
        done = stamp.pipeline.run(shop, date=f"2026-11-{night}", progress=False)
        if not done.passed:
            raise SystemExit("\n".join(done.reasons))
        row[f"night_{number}_seconds"] = time.perf_counter() - start
        steps = place / "work" / "runs" / f"2026-11-{night}" / "steps"
        row[f"night_{number}"] = {path.stem: json.loads(path.read_text())["seconds"] for path in steps.iterdir()}
        row[f"upload_{number}"] = {
            name: done.reports["upload"].counts[name] for name in ("new_blobs", "new_bytes", "old_blobs", "old_bytes")
        }
    row["events"] = done.reports["prepare"].counts["window_events"]
    return row, folder


def moves(url: str, bundles: list[pathlib.Path], times: int) -> dict:
    """Seconds of a promotion and of a rollback in a store of two releases."""
    from stamp.store import Store

    store = Store(url)
    first, second = (store.upload(bundle, name=f"release-{n}").release.name for n, bundle in enumerate(bundles))
    store.promote("champion", first)
    taken: dict[str, list[float]] = {"promote": [], "rollback": []}
    for _ in range(times):
        start = time.perf_counter()
        store.promote("champion", second, expect=first)
        middle = time.perf_counter()
        store.rollback("champion", expect=second)
        taken["promote"].append(middle - start)
        taken["rollback"].append(time.perf_counter() - middle)
    return {
        f"{what}_{name}": pick(seconds)
        for what, seconds in taken.items()
        for name, pick in (("median", statistics.median), ("max", max))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=400_000)
    parser.add_argument("--moves", type=int, default=40, help="of the alias, and back")
    args = parser.parse_args()
    row, folder = nights(args.products, args.sessions)
    record("pipeline", row, os.cpu_count() or 1)
    sys.path.insert(0, str(ROOT / "tests" / "python"))
    from store_emulators import gcs_server, s3_server

    with folder, s3_server() as s3, gcs_server() as gcs:
        work = pathlib.Path(folder.name) / "work" / "runs"
        bundles = [work / f"2026-11-{night}" / "bundles" / "released" for night in NIGHTS]
        for kind, url in (
            ("folder", f"{folder.name}/moves"),
            ("S3 (moto)", f"{s3}/moves"),
            ("GCS (fake-gcs-server)", f"{gcs}/moves"),
        ):
            record("store", {"kind": kind, "times": args.moves, **moves(url, bundles, args.moves)}, 1)


if __name__ == "__main__":
    main()
