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


# Of what stood when the second was to come: rows of other commits contradict or bear it out. Times of kernels are derived
# in the heads of their sources, at 4 TB/s of memory and 5 of the second-level cache, which the first measurement has
# shown, and at what others' kernels of this shape make of wgmma, 440 Tflop/s beside exponentials and 600 without.
BEFORE_SECOND = {
    "step": (
        "a training step",
        "≤ 0.125 ms, 4.1 M examples/s",
        "9 launches, and a sort on a branch, in a graph. The batch 3 µs; the encoder 11.5 forward, 8.5 + 6 + 6.5 "
        "backward with Adam; the catalog 27 + 6 forward, 40 backward with Adam, sums of entries 4; the sort, 7.5, "
        "beside the encoder.",
    ),
    "eager": ("PyTorch eager / stamp", "≥ 20", "141,619 examples/s were measured."),
    "compiled": ("torch.compile at its best / stamp", "≥ 8", "374,382 examples/s were measured."),
    "loss": (
        "the catalog's loss with Adam, µs",
        "≤ 90",
        "27 + 6 + 40, sums and sort 11.5. 204 before: the tail of two waves, Adam behind the products instead of "
        "beside them, a pass over the table for its bf16 copy, parts combined one after another.",
    ),
    "large_loss": (
        "the same of V = 466,867, µs",
        "≤ 660",
        "Forward 250, bound by 107 Gflop, and backward 360, by 1.33 GB beside as many; 20 beside them. 1,288 before.",
    ),
    "cublas": ("the four catalog products by cuBLAS / ours, bf16", "≥ 2.8", "279 µs were measured."),
    "top_k_one": (
        "top 20 of 1,000,000 for 1 query, kernels, µs",
        "≤ 80",
        "224 MB of bf16 rows, 56 µs at 4 TB/s; 10 to find a threshold and score 46 chunks of 16, 4 to merge, 3 to begin.",
    ),
    "top_k_many": (
        "top 20 of 1,000,000 for 256 queries, kernels, µs",
        "≤ 185",
        "57 Gflop, 95 µs; 64 MB of bounds written, read twice, and 66 MB of chunks, 75.",
    ),
    "top_k_small": (
        "top 20 of 43,097 for 256 queries, kernels, µs",
        "≤ 28",
        "2.5 Gflop, 7 µs; 67 MB from the cache, 14.",
    ),
}


# Each kernel of a training step (V = 43,097, D = 100, B = 512, 768 events), and of the top 20 for so many queries: launches,
# what bounds it, µs. The heads of the sources derive them.
KERNELS = [
    ("build_batch", 1, "latency: three reads of memory", 3),
    ("encode", 1, "latency: rows, four products; 13 MB of weights from the cache", 11.5),
    ("attend_catalog", 1, "9.9 Gflop at 440 Tflop/s, 2 µs to begin, 15 MB of parts", 27),
    ("combine_parts", 1, "15 MB and a launch; the last block adds up the loss", 6),
    ("encode_backward_examples", 1, "latency; 10 MB of weights, 2 of rows from the cache", 8.5),
    ("encode_backward_events", 1, "latency; 4 MB of weights, 5 of rows", 6),
    ("weight_gradients", 1, "latency; 13 MB of rows from the cache; Adam", 6.5),
    ("CUB's sort, beside the encoder", 1, "one tile; measured", 7.5),
    ("sum_entries", 1, "latency", 4),
    ("attend_catalog_backward", 1, "122 MB, 31 µs at 3.98 TB/s, beside 9.9 Gflop; 9 of writes at the end", 40),
    ("scan_bounds, V = 1,000,000, 1 query", 1, "224 MB at 4 TB/s", 56),
    ("scan_bounds, V = 1,000,000, 256 queries", 1, "57 Gflop at 600 Tflop/s", 95),
    ("select_chunks, 1 query", 1, "latency: counts of a threshold, rows of 46 chunks, a sort", 10),
    ("select_chunks, V = 1,000,000, 256 queries", 1, "64 MB of bounds twice, 66 MB of chunks; 331 MB in all", 75),
    ("merge_lists", 1, "latency", 4),
]


def kernels_table() -> str:
    rows = [[name, str(launches), why, f"{us:g}"] for name, launches, why, us in KERNELS]
    return table(["kernel", "launches", "bound", "µs, predicted"], rows)


MICROSECONDS = {
    ("catalog_cross_entropy", "shipped bf16", "V=43097 D=100 B=512"): "loss",
    ("catalog_cross_entropy", "shipped bf16", "V=466867 D=100 B=512"): "large_loss",
    ("catalog_top_k", "shipped", "V=1000000 D=100 B=1"): "top_k_one",
    ("catalog_top_k", "shipped", "V=1000000 D=100 B=256"): "top_k_many",
    ("catalog_top_k", "shipped", "V=43097 D=100 B=256"): "top_k_small",
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
        if key in MICROSECONDS:
            found[MICROSECONDS[key]] = f"{row['us']:.0f}"
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
        ("Written down before the second", BEFORE_SECOND, lambda row: row["commit"] != FIRST),
    ):
        done = measured(*([row for row in rows if row.get("gpu") == gpu and about(row)] for rows in (train, kernels)))
        text += [f"{when}:", table([gpu, "predicted", "measured", "why"],
                                   [[what, target, done.get(key, "-"), why]
                                    for key, (what, target, why) in foretold.items()])]  # fmt: skip
    return text
