"""Training examples/s and memory beside PyTorch: full softmax, Adam, same precision, same batches, same threads.

    python benchmarks/train.py [--products 43097] [--dim 100] [--batch 512] [--threads 2] [--rounds 5] [--precision fp32 bf16]
    python benchmarks/train.py --device cuda [--precision bf16]

Both train on sessions of five events in which every product occurs; rounds alternate, each in a process of its own, over
peers and precisions, and medians are compared. Per example the softmax alone takes 6VD flops (three products with the
item table). PyTorch's bf16 is its autocast: weights, moments and sums of either are in fp32.

On a CPU that is one epoch. On CUDA many, of which the first, which compiles and records, does not
count; PyTorch runs eagerly and compiled, with CUDA graphs, and gets its batches from the GPU and in one size: nothing
waits for the host but the end of an epoch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
from common import SIMULATED, DeviceMemory, median_of, record, resident_mib, worker

LENGTH = 5
COMPILED = ("reduce-overhead", "max-autotune")  # both with CUDA graphs


def sessions(products: int) -> np.ndarray:
    """[products / LENGTH, LENGTH]: every product once, in random order."""
    items = np.random.default_rng(0).permutation(products)
    return np.resize(items, (products + LENGTH - 1) // LENGTH * LENGTH).reshape(-1, LENGTH)


def run_stamp(args: argparse.Namespace) -> dict:
    import stamp

    stamp.set_num_threads(args.threads)
    imported, memory = resident_mib("VmRSS"), DeviceMemory(args.device)
    data = stamp.Sessions.from_frame({"items": list(sessions(args.products))})
    model = stamp.StampRecommender(preset="official", dim=args.dim, batch_size=args.batch, epochs=args.epochs, max_norm=0.0, mlp_bias=True,
                                   attention_bias=True, learning_rate=0.001, device=args.device, precision=args.precision[0])  # fmt: skip
    used = []
    model.fit(data, progress=lambda *_: used.append(memory.used_mib()))  # called at the end of an epoch at least
    report = model.report_
    later = [epoch["seconds"] for epoch in report["epochs"][1:]]
    speed = report["examples"] / float(np.median(later)) if later else report["examples_per_second"]
    return {"speed": speed, "loss": report["epochs"][0]["loss"], "peak_mib": resident_mib("VmHWM"),
            "own_mib": resident_mib("VmHWM") - imported, "device_mib": max(used)}  # fmt: skip


def run_torch(args: argparse.Namespace) -> dict:
    import torch

    torch.set_num_threads(args.threads)
    imported = resident_mib("VmRSS")
    torch.manual_seed(0)
    on_gpu = args.device.startswith("cuda") and args.device != SIMULATED
    device = torch.device(args.device if on_gpu else "cpu")
    torch.set_float32_matmul_precision("high" if args.precision == ["tf32"] else "highest")

    class Stamp(torch.nn.Module):
        def __init__(self, products: int, dim: int):
            super().__init__()
            self.items = torch.nn.Embedding(products, dim)
            self.w0 = torch.nn.Linear(dim, 1, bias=False)
            self.w1, self.w2, self.w3 = (torch.nn.Linear(dim, dim, bias=i == 0) for i in range(3))
            self.mlp_session, self.mlp_anchor = torch.nn.Linear(dim, dim), torch.nn.Linear(dim, dim)
            for p in self.parameters():
                torch.nn.init.normal_(p, std=0.002 if p is self.items.weight else 0.05)

        def forward(self, ids, mask, lengths):
            x = self.items(ids) * mask[..., None]
            anchor = x[torch.arange(len(ids), device=ids.device), lengths - 1]
            mean = x.sum(1) / lengths[:, None]
            a = self.w0(torch.sigmoid(self.w1(x) + self.w2(anchor)[:, None] + self.w3(mean)[:, None])) * mask[..., None]
            h_s = torch.tanh(self.mlp_session((a * x).sum(1) + mean))
            return h_s * torch.tanh(self.mlp_anchor(anchor)) @ self.items.weight.T

    model = Stamp(args.products, args.dim).to(device)
    adam = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
    rows = torch.from_numpy(sessions(args.products)).to(device)
    examples = torch.cartesian_prod(torch.arange(len(rows)), torch.arange(1, LENGTH))
    examples = examples[torch.randperm(len(examples))].to(device)
    if args.device != "cpu":  # one size, recorded once
        examples = examples[: max(1, len(examples) // args.batch) * args.batch]
    position = torch.arange(LENGTH - 1, device=device)

    def loss_of(session, lengths):
        with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == ["bf16"]):
            mask = (position < lengths[:, None]).float()
            scores = model(rows[session, : LENGTH - 1], mask, lengths)
            return torch.nn.functional.cross_entropy(scores, rows[session, lengths])

    if args.mode != "eager":
        loss_of = torch.compile(loss_of, mode=args.mode, dynamic=False)

    def epoch() -> tuple[float, float]:
        total, start = torch.zeros((), device=device), time.perf_counter()
        for batch in examples.split(args.batch):
            if args.mode != "eager":
                torch.compiler.cudagraph_mark_step_begin()
            loss = loss_of(batch[:, 0], batch[:, 1])
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            total += loss.detach() * len(batch)
        mean = total.item() / len(examples)
        return time.perf_counter() - start, mean

    epochs = [epoch() for _ in range(args.epochs)]
    seconds = float(np.median([seconds for seconds, _ in epochs[1:] or epochs]))
    return {"speed": len(examples) / seconds, "loss": epochs[0][1], "peak_mib": resident_mib("VmHWM"),
            "own_mib": resident_mib("VmHWM") - imported, "version": torch.__version__,
            "device_mib": torch.cuda.max_memory_allocated() / 2**20 if on_gpu else 0.0}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=43_097)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "tf32", "bf16"],
                        help="side by side; bf16 on CUDA, fp32 and bf16 on a CPU")  # fmt: skip
    parser.add_argument("--epochs", type=int, help="1 on a CPU, 20 on CUDA")
    parser.add_argument("--worker", choices=["stamp", "torch"], help=argparse.SUPPRESS)
    parser.add_argument("--mode", default="eager", help=argparse.SUPPRESS)
    args = parser.parse_args()
    on_cpu = args.device == "cpu"
    args.precision = args.precision or (["fp32", "bf16"] if on_cpu else ["bf16"])
    args.epochs = args.epochs or (1 if on_cpu else 20)
    if args.worker:
        print(json.dumps({"stamp": run_stamp, "torch": run_torch}[args.worker](args)))
        return
    shape = {"products": args.products, "dim": args.dim, "batch": args.batch}
    options = {**shape, "threads": args.threads, "epochs": args.epochs, "device": args.device}
    peers = {"stamp": ["--worker=stamp"], "torch": ["--worker=torch"]}
    if not on_cpu:
        peers |= {f"torch {mode}": ["--worker=torch", f"--mode={mode}"] for mode in COMPILED}
    runs: dict[tuple[str, str], list[dict]] = {(precision, name): [] for precision in args.precision for name in peers}
    for done in range(args.rounds):
        for (precision, name), results in runs.items():
            if len(results) == done:  # a peer that failed once is left out
                given = {**options, "precision": precision}
                try:
                    results.append(worker(__file__, *peers[name], *(f"--{k}={v}" for k, v in given.items())))
                except RuntimeError as error:
                    if not name.startswith("torch "):
                        raise
                    print(error, file=sys.stderr)
    runs = {key: results for key, results in runs.items() if len(results) == args.rounds}

    def ratio(ours: list[dict], theirs: list[dict]) -> float:
        return float(np.median([a["speed"] / b["speed"] for a, b in zip(ours, theirs)]))

    for precision in args.precision:
        of = {name: results for (at, name), results in runs.items() if at == precision}
        result = {name: {key: median_of(results, key) for key in ("speed", "loss", "peak_mib", "own_mib", "device_mib")}
                  for name, results in of.items()}  # fmt: skip
        ratios = {name: ratio(of["stamp"], results) for name, results in of.items() if name != "stamp"}
        if precision != "fp32" and ("fp32", "stamp") in runs:
            result["over_fp32"] = ratio(of["stamp"], runs["fp32", "stamp"])
        record("train", {**shape, "precision": precision, **result, "ratio": ratios["torch"], "ratios": ratios,
                         "torch_version": of["torch"][0]["version"]}, args.threads, args.device)  # fmt: skip


if __name__ == "__main__":
    main()
