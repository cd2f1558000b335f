"""Other programs for the catalog's loss on a GPU: forward and backward in bf16, without Adam.

    python benchmarks/loss_peers.py [--device cuda]

The same sizes and random operands as benchmarks/kernels/catalog_cross_entropy.cu, whose `shipped bf16` updates the table
besides. Medians by triton.testing.do_bench, which flushes the second-level cache as ours does. A peer that is not
installed, or cannot take the sizes, is left out and said.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Callable

from common import record

SHAPES = ((43_097, 100, 512), (43_097, 100, 128), (466_867, 100, 512))


def peers(torch) -> dict[str, Callable]:
    """By name and version: from queries [B,D], items [V,D] and targets [B] to the mean loss."""

    def eager(queries, items, targets):
        return torch.nn.functional.cross_entropy((queries @ items.T).float(), targets)

    found: dict[str, Callable] = {
        f"PyTorch {torch.__version__}": eager,
        f"torch.compile {torch.__version__}": torch.compile(eager, mode="max-autotune-no-cudagraphs", dynamic=False),
    }
    try:
        from cut_cross_entropy import linear_cross_entropy

        # As it comes it skips gradients of probabilities below 2^-12, which are nearly all here: "exact" skips none.
        name = f"cut-cross-entropy {importlib.metadata.version('cut-cross-entropy')}, exact"
        found[name] = lambda queries, items, targets: linear_cross_entropy(queries, items, targets, impl="cce_exact")
    except ImportError as error:
        print(f"cut-cross-entropy: {error}", file=sys.stderr)
    try:
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

        name = f"Liger {importlib.metadata.version('liger-kernel')}"
        found[name] = lambda queries, items, targets: LigerFusedLinearCrossEntropyFunction.apply(
            queries, items, targets
        )[0]
    except ImportError as error:
        print(f"liger-kernel: {error}", file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    import torch
    from triton.testing import do_bench

    torch.manual_seed(0)
    for V, D, B in SHAPES:
        queries = (0.3 * torch.randn(B, D, device=args.device)).bfloat16().requires_grad_()
        items = (0.3 * torch.randn(V, D, device=args.device)).bfloat16().requires_grad_()
        targets = torch.randint(V, (B,), device=args.device)
        for name, loss_of in peers(torch).items():

            def work(loss_of=loss_of, operands=(queries, items), targets=targets):
                torch.autograd.grad(loss_of(*operands, targets), operands)

            try:
                milliseconds = do_bench(work, return_mode="median")
            except Exception as error:  # of any peer's own kind: it is left out
                print(f"{name} at V = {V}, B = {B}: {error}", file=sys.stderr)
                continue
            # Flops and bytes as ours are counted without Adam: four products; table and gradient.
            record("kernels", {"group": "catalog_cross_entropy", "variant": f"peer: {name}", "shape": f"V={V} D={D} B={B}",
                               "us": 1e3 * milliseconds, "flops": 8 * B * V * D, "bytes": 8 * V * D, "unit": "bf16",
                               "error": 0}, 1, args.device)  # fmt: skip


if __name__ == "__main__":
    main()
