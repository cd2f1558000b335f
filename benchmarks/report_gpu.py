"""The tables of what GPUs did, for report.py."""

from __future__ import annotations

from predictions import predictions
from report_tables import latest, limits, read, share, speeds, table, where


def on_gpu(rows: list[dict]) -> list[dict]:
    return [row for row in rows if "gpu" in row]


def gpu_performance() -> list[str]:
    all_train = on_gpu(read("train"))
    all_recommend, all_kernels = on_gpu(read("recommend")), on_gpu(read("kernels"))
    gpus = sorted({row["gpu"] for row in all_train + all_recommend + all_kernels})
    if not gpus:
        return [
            "## On a GPU",
            "Not measured yet; `tests/gpu.sh` does it. What is expected:",
            *predictions("target", [], []),
        ]
    text = []
    for gpu in gpus:
        train, recommend, kernels = ([row for row in rows if row["gpu"] == gpu]
                                     for rows in (all_train, all_recommend, all_kernels))  # fmt: skip
        train = latest(train, "products", "dim", "batch", "precision")
        recommend = latest(recommend, "products", "batch")
        kernels = latest(kernels, "group", "variant", "shape", "unit")
        text += [f"## On {gpu}", *predictions(gpu, all_train, all_kernels)]
        if train:
            names = list(dict.fromkeys(name for row in train for name in speeds(row)))
            text += ["Examples/s of an epoch, and MiB of the GPU's memory: stamp's by the driver, PyTorch's as its allocator "
                     "counts them.", table(
                         ["V, D, B, precision", *names, *(f"{name} MiB" for name in names)],
                         [[f"{r['products']:,}, {r['dim']}, {r['batch']}, {r['precision']}",
                           *(f"{r[name]['speed']:,.0f}" if name in r else "-" for name in names),
                           *(f"{r[name]['device_mib']:,.0f}" if name in r else "-" for name in names)] for r in train]),
                     where(train)]  # fmt: skip
        if recommend:
            names = [name.removesuffix("_ms") for name in recommend[0] if name.endswith("_ms")]
            text += ["Milliseconds for the exact top 20, answers on the host.", table(
                ["V, D", "requests", *names],
                [[f"{r['products']:,}, {r['dim']}", str(r["batch"]), *(f"{r[f'{name}_ms']:.3f}" for name in names)]
                 for r in recommend]), where(recommend)]  # fmt: skip
        text += [*days(gpu), *profiles(gpu)]
        best = limits(kernels)
        if best:
            text += ["Kernels: medians with the second-level cache flushed; the share is that of the binding limit, the "
                     "measured rates at the top. It passes 100 % where what one kernel writes is still in that cache when the next reads it.", table(
                         ["group", "variant", "sizes", "µs", "share", "error"],
                         [[r["group"], r["variant"] + (f" {r['unit']}" if r["group"] == "limits" else ""), r["shape"],
                           f"{r['us']:.1f}", f"{100 * share(r, best):.0f} %", f"{r['error']:.1g}"] for r in kernels]),
                     where(kernels)]  # fmt: skip
    return text


def days(gpu: str) -> list[str]:
    rows = latest([row for row in on_gpu(read("daily")) if row["gpu"] == gpu], "products", "clusters", "side_by_side")
    if not rows:
        return []
    alone = {r["products"] // r["clusters"]: r["speed"] for r in rows if r["side_by_side"] == 1}
    return ["A day of a large shop in clusters, as above, several models at once: examples/s of all together, how many times "
            "those of one, and the hours for 500,000 products and 100 million events.",
            table(["V, D, B of a model", "models at once", "examples/s", "over one", "hours, once", "hours, five times"],
                  [[f"{r['products'] // r['clusters']:,}, {r['dim']}, {r['batch']}", str(r["side_by_side"]),
                    f"{r['speed']:,.0f}", f"{r['speed'] / alone[r['products'] // r['clusters']]:.2f}",
                    f"{r['hours_once']:.2f}", f"{r['hours_anew']:.2f}"] for r in rows]),
            where(rows)]  # fmt: skip


def profiles(gpu: str) -> list[str]:
    """Kernel by kernel, as they were at the last commit that was profiled."""
    rows = [row for row in on_gpu(read("profile")) if row["gpu"] == gpu]
    rows = [row for row in rows if row["commit"] == rows[-1]["commit"]]
    if not rows:
        return []
    return ["Kernels one by one, each alone, so that they add up to more than a step: µs of a launch, and of what the chip "
            "could do in that time the shares of its tensor cores, its multiprocessors and its memory.",
            table(["work", "kernel", "launches a step or call", "µs", "tensor", "multiprocessors", "memory"],
                  [[r["work"], r["kernel"], f"{r['launches'] / r['steps']:.2g}", f"{r['us']:.1f}",
                    *(f"{r[what]:.0f} %" for what in ("tensor", "sm", "dram"))] for r in rows]),
            where(rows)]  # fmt: skip


def gpu_headline() -> list[str]:
    train = [r for r in latest(on_gpu(read("train")), "gpu", "products", "precision") if r["products"] == 43_097]
    top = [r for r in latest(on_gpu(read("recommend")), "gpu", "products", "batch") if r["products"] == 1_000_000]
    tables = []
    for gpu in sorted({r["gpu"] for r in train + top}):
        rows = []
        for r in train:
            if r["gpu"] == gpu and r["precision"] == "bf16":
                task = f"training, V = 43,097, D = 100, batch {r['batch']}, bf16"
                rows += [[task, f"{r['stamp']['speed']:,.0f} examples/s",
                          f"{name.replace('torch', 'PyTorch ' + r['torch_version'], 1)}: {speed:,.0f}",
                          f"{r['stamp']['speed'] / speed:.2f} ×"]
                         for name, speed in speeds(r).items() if name != "stamp"]  # fmt: skip
        for r in top:
            if r["gpu"] == gpu and r["batch"] in (1, 64):
                task = f"exact top 20 of 1,000,000, {r['batch']} request{'s' * (r['batch'] > 1)}"
                peers = {name: r[name] for name in r if name.startswith("torch ") and name.endswith("_ms")}
                peer = min(peers, key=lambda name: peers[name])
                rows.append([task, f"{r['stamp_ms']:.2f} ms",
                             f"PyTorch matmul + topk, {peer.split()[1].removesuffix('_ms')}: {peers[peer]:.2f} ms",
                             f"{peers[peer] / r['stamp_ms']:.2f} ×"])  # fmt: skip
        tables.append(table([gpu, "stamp", "peer", "faster"], rows))
    return tables
