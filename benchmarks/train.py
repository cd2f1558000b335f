"""Training examples/s and memory beside PyTorch: full softmax, Adam, single precision, same batches, same threads.

    python benchmarks/train.py [--products 43097] [--dim 100] [--batch 512] [--threads 2] [--rounds 5]

Both train one epoch on sessions of five events in which every product occurs; rounds alternate, each in a process of
its own, and medians are compared. Per example the softmax alone takes 6VD flops (three products with the item table).
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from common import median_of, record, resident_mib, worker

LENGTH = 5


def sessions(products: int) -> np.ndarray:
    """[products / LENGTH, LENGTH]: every product once, in random order."""
    items = np.random.default_rng(0).permutation(products)
    return np.resize(items, (products + LENGTH - 1) // LENGTH * LENGTH).reshape(-1, LENGTH)


def run_stamp(args: argparse.Namespace) -> dict:
    import stamp

    stamp.set_num_threads(args.threads)
    imported = resident_mib("VmRSS")
    data = stamp.Sessions.from_frame({"items": list(sessions(args.products))})
    model = stamp.StampRecommender(dim=args.dim, batch_size=args.batch, epochs=1, max_norm=0.0, mlp_bias=True,
                                   attention_bias=True, learning_rate=0.001)  # fmt: skip
    model.fit(data, progress=False)
    return {"speed": model.report_["examples_per_second"], "loss": model.report_["epochs"][0]["loss"],
            "peak_mib": resident_mib("VmHWM"), "own_mib": resident_mib("VmHWM") - imported}  # fmt: skip


def run_torch(args: argparse.Namespace) -> dict:
    import torch

    torch.set_num_threads(args.threads)
    imported = resident_mib("VmRSS")
    torch.manual_seed(0)

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
            anchor = x[torch.arange(len(ids)), lengths - 1]
            mean = x.sum(1) / lengths[:, None]
            a = self.w0(torch.sigmoid(self.w1(x) + self.w2(anchor)[:, None] + self.w3(mean)[:, None])) * mask[..., None]
            h_s = torch.tanh(self.mlp_session((a * x).sum(1) + mean))
            return h_s * torch.tanh(self.mlp_anchor(anchor)) @ self.items.weight.T

    model = Stamp(args.products, args.dim)
    adam = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
    rows = torch.from_numpy(sessions(args.products))
    examples = torch.cartesian_prod(torch.arange(len(rows)), torch.arange(1, LENGTH))
    examples = examples[torch.randperm(len(examples))]
    position = torch.arange(LENGTH - 1)
    total, start = 0.0, time.perf_counter()
    for batch in examples.split(args.batch):
        session, lengths = batch[:, 0], batch[:, 1]
        mask = (position < lengths[:, None]).float()
        scores = model(rows[session, : LENGTH - 1], mask, lengths)
        loss = torch.nn.functional.cross_entropy(scores, rows[session, lengths])
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        total += loss.item() * len(batch)
    seconds = time.perf_counter() - start
    return {"speed": len(examples) / seconds, "loss": total / len(examples), "peak_mib": resident_mib("VmHWM"),
            "own_mib": resident_mib("VmHWM") - imported, "version": torch.__version__}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=43_097)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", choices=["stamp", "torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps({"stamp": run_stamp, "torch": run_torch}[args.worker](args)))
        return
    shape = {"products": args.products, "dim": args.dim, "batch": args.batch}
    options = [f"--{name}={value}" for name, value in {**shape, "threads": args.threads}.items()]
    runs: dict[str, list[dict]] = {"stamp": [], "torch": []}
    for _ in range(args.rounds):
        for name, results in runs.items():
            results.append(worker(__file__, "--worker", name, *options))
    result = {name: {key: median_of(results, key) for key in ("speed", "loss", "peak_mib", "own_mib")}
              for name, results in runs.items()}  # fmt: skip
    result["ratio"] = float(np.median([a["speed"] / b["speed"] for a, b in zip(runs["stamp"], runs["torch"])]))
    record("train", {**shape, **result, "torch_version": runs["torch"][0]["version"]}, args.threads)


if __name__ == "__main__":
    main()
