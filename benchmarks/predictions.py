"""What was written down of a GPU before it was measured, so that it can be contradicted.

V = 43,097, D = 100, B = 512, bf16 and one H200 (4.8 TB/s, 990 Tflop/s dense in bf16, 67 in fp32) unless it says otherwise.
"""

from __future__ import annotations

from report_tables import limits, share, speeds, table

FIRST = "161bf612a3"  # the commit that met a GPU first

# Of what stood at FIRST.
BEFORE_FIRST = {
    "step": (
        "a training step",
        "≤ 0.15 ms, 3.4 M examples/s",
        "Two passes of 4·B·V·W = 9.9 Gflop, W = 112: 10 µs each at 990 Tflop/s, some 20 at what mma.sync reaches. Bytes: "
        "28·V·D + 4·V·W, 140 MB, 29 µs. Together 70 µs where they overlap badly. Some 35 launches of the session's part, "
        "2 µs each in a graph: 70 µs.",
    ),
    "eager": (
        "PyTorch eager / stamp",
        "≥ 8",
        "Eager keeps [B,V] scores in fp32 beside their copies in bf16, 22 million: it moves them some ten times, 0.9 GB or "
        "0.2 ms; Adam reads and writes 28·V·D in passes of its own; and some 120 launches at 5 µs and more: 1.2 ms.",
    ),
    "compiled": (
        "torch.compile at its best / stamp",
        "≥ 1.5",
        "Graphs take the launches away and fusion half of the passes over the scores: 0.1 ms for these, 0.05 for four "
        "products, 0.06 for Adam and the gradient of the table.",
    ),
    "cublas": (
        "the four catalog products by cuBLAS / ours, bf16",
        "≥ 0.5",
        "cuBLAS: 4 × 2·B·V·D = 17.7 Gflop, 25 µs at what wgmma reaches, and [B,V] of 44 MB in bf16 written and read twice, "
        "35 µs. Ours: 20 Gflop at two thirds of 620 Tflop/s, 48 µs, and Adam's 103 MB, 22 µs, partly beside it.",
    ),
    "top_k": (
        "top 20 of 1,000,000 for 256 queries, share of the binding limit",
        "≥ 35 %",
        "2·B·V·D = 51 Gflop in bf16: 52 µs at 990 Tflop/s against 42 µs for 200 MB, so arithmetic binds. Padded to "
        "W = 112 and at what mma.sync reaches, 620 Tflop/s, 92 µs; queues and the merge some 50 µs: 0.15 ms.",
    ),
}


def measured(train: list[dict], kernels: list[dict]) -> dict[str, str]:
    """What became of predictions, by their names."""
    found: dict[str, str] = {}
    for row in train:
        if (row["products"], row["batch"], row["precision"]) == (43_097, 512, "bf16"):
            speed = speeds(row)
            found["step"] = f"{1e3 * row['batch'] / speed['stamp']:.3f} ms, {speed['stamp'] / 1e6:.2f} M examples/s"
            found["eager"] = f"{row['ratio']:.1f}"
            compiled = [ratio for name, ratio in row["ratios"].items() if name != "torch"]
            if compiled:
                found["compiled"] = f"{min(compiled):.2f}"
    best = limits(kernels)
    loss = [r for r in kernels if r["group"] == "catalog_cross_entropy" and r["shape"] == "V=43097 D=100 B=512"]
    ours = [r["us"] for r in loss if r["variant"] == "shipped bf16"]
    theirs = [r["us"] for r in loss if r["variant"].startswith("cuBLAS alone, bf16")]
    if ours and theirs:
        found["cublas"] = f"{min(theirs) / ours[0]:.2f}"
    for row in kernels:
        key = row["group"], row["variant"], row["shape"]
        if key == ("catalog_top_k", "shipped", "V=1000000 D=100 B=256") and best:
            found["top_k"] = f"{100 * share(row, best):.0f} %"
    return found


def predictions(gpu: str, train: list[dict], kernels: list[dict]) -> list[str]:
    """Each prediction beside what `gpu` did of the commits that it was about, or a dash."""
    text = []
    for when, foretold, about in (
        (
            f"Written down before the first measurement, of commit {FIRST}",
            BEFORE_FIRST,
            lambda row: row["commit"] == FIRST,
        ),
    ):
        done = measured(*([row for row in rows if row.get("gpu") == gpu and about(row)] for rows in (train, kernels)))
        text += [f"{when}:", table([gpu, "predicted", "measured", "why"],
                                   [[what, target, done.get(key, "-"), why]
                                    for key, (what, target, why) in foretold.items()])]  # fmt: skip
    return text
