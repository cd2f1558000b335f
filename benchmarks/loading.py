"""What a server waits for when it opens a bundle, beside reading the same bytes; and what memory it takes then.

    python benchmarks/loading.py [--products 50000 1000000] [--dim 100] [--rounds 9]

Bundles of one model, with their scan tables and without, where the table is packed at load. Each round is a process of
its own, as a server is, which reads every file of the bundle into a buffer of 1 MiB, so that all of it is in the page
cache, reads them once more, timed, and opens the bundle. The scores are cosines, whose lengths are worked out at load,
and clicks fall as the rank does.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile
import time

from common import median_of, record, resident_mib, worker

TIMES, MEMORY = ("read_ms", "load_ms"), {"private": "RssAnon", "shared": "RssFile"}


def make(products: int, dim: int, folder: pathlib.Path) -> dict[bool, pathlib.Path]:
    """The bundle with scan tables, and the one without."""
    import numpy as np

    from stamp import _stamp

    random = np.random.default_rng(1)
    without = dict.fromkeys(("repeat_floors", "successor_floors", "second_floors"), 0)
    config = {**json.loads(_stamp.presets("tuned")[0]), "dim": dim, **without}
    model = _stamp.Model(json.dumps(config), products, _stamp.open_device("cpu", "auto"))
    catalog = _stamp.Catalog("integers")
    catalog.add_integers(random.permutation(10 * products)[:products])
    clicks = (1e6 / (1 + random.permutation(products))).astype(np.int64)
    bundle = _stamp.Bundle(catalog, clicks, [], [(0, range(products), model, "{}", "", "{}")], [], "{}")
    paths = {scan_table: folder / f"{products}-{scan_table}" for scan_table in (True, False)}
    for scan_table, path in paths.items():
        _stamp.save_bundle(str(path), bundle, scan_tables=scan_table)
    return paths


def read(files: list[pathlib.Path]) -> None:
    buffer = bytearray(2**20)
    for file in files:
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass


def load(path: pathlib.Path) -> dict:
    from stamp import _stamp

    def milliseconds(work) -> tuple[float, object]:
        start = time.perf_counter()
        done = work()
        return 1e3 * (time.perf_counter() - start), done

    files = [file for file in path.rglob("*") if file.is_file()]
    read(files)
    read_ms, _ = milliseconds(lambda: read(files))
    before = {name: resident_mib(field) for name, field in MEMORY.items()}
    load_ms, opened = milliseconds(
        lambda: _stamp.Recommender(str(path), device="cpu", precision="auto", lazy=False, memory=0)
    )
    taken = {f"{name}_mib": resident_mib(field) - before[name] for name, field in MEMORY.items()}
    size = sum(file.stat().st_size for file in files) / 2**20
    return {"read_ms": read_ms, "load_ms": load_ms, "ratio": load_ms / read_ms, **taken, "mib": size,
            "threads": _stamp.num_threads()}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--worker", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(load(args.worker)))
        return
    for products in args.products:
        with tempfile.TemporaryDirectory() as folder:
            paths = make(products, args.dim, pathlib.Path(folder))
            runs: dict[bool, list[dict]] = {scan_table: [] for scan_table in paths}
            for _ in range(args.rounds):
                for scan_table, path in paths.items():
                    runs[scan_table].append(worker(__file__, "--worker", path))
        for scan_table, of in runs.items():
            medians = {key: median_of(of, key) for key in (*TIMES, "ratio", "mib", *(f"{name}_mib" for name in MEMORY))}
            record("loading", {"products": products, "dim": args.dim, "scan_table": scan_table, **medians},
                   threads=of[0]["threads"])  # fmt: skip


if __name__ == "__main__":
    main()
