"""Registers, shared memory, spills and occupancy of every kernel, as ptxas reports them; needs nvcc and no GPU.

    python benchmarks/kernel_resources.py [--architectures 80 90a 100 120]   into results/kernel_resources.jsonl
    python benchmarks/kernel_resources.py --check --architectures 90a        fails where a hot kernel spills

Occupancy is computed from what a block is launched with (LAUNCHES) and the limits of the architecture, those of the
"Technical Specifications per Compute Capability" in the CUDA C++ Programming Guide.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from common import RESULTS, ROOT, commit

# Warps, blocks and KiB of shared memory of a multiprocessor.
LIMITS = {"80": (64, 32, 164), "90a": (64, 32, 228), "100": (64, 32, 228), "120": (48, 24, 100)}
REGISTERS = 64 << 10
HOT = (
    "attend_catalog",
    "scan_bounds",
    "scan_wide_bounds",
    "score_chunks",
    "select_chunks",
    "encode",
    "weight_gradients",
    "adam",
    "finish_items",
)

ROWS_OF_ENCODER = {"encode_kernel": 160, "encode_backward_examples_kernel": 40, "encode_backward_events_kernel": 16}


def launch_of(kernel: str, argument: int, flags: str) -> tuple[int, int]:
    """Threads of a block and its dynamic shared memory, as the .cu files launch them; top-k for lists up to 256 and, where
    rows are wide, two slices; the encoder for D = 100. argument, flags: the integer that a template is made for, and its
    bools, as "01"."""
    if kernel in ("attend_catalog_kernel", "attend_catalog_backward_kernel"):
        return 128, 4 * 2 * 64 * argument
    if kernel in ("scan_bounds_kernel", "scan_wide_bounds_kernel"):
        return 128, 2 * 2 * 64 * argument + (2 * 32 * 2 * argument if "wide" in kernel else 0)
    if kernel == "select_chunks_kernel":  # of a catalog of a million
        return 512, 8 * 1024 + 4 * 8 * 512
    if kernel == "merge_lists_kernel":
        return 256, 8 * 512
    if kernel in ROWS_OF_ENCODER:
        return 256, 0 if flags.startswith("1") else ROWS_OF_ENCODER[kernel] * 112 * 4
    if kernel == "weight_gradients_kernel":
        return 256, 8 * 32 * 33 * 4
    return 256, 0


def name_of(mangled: str) -> str:
    """The name among the length-prefixed parts of a mangled one that ends in _kernel; the shortest, where digits of a
    hash before it look like lengths."""
    for at in range(len(mangled), 1, -1):
        for digits in (1, 2):
            length = mangled[at - digits : at]
            if length.isdigit() and mangled[at:][: int(length)].endswith("_kernel"):
                return mangled[at : at + int(length)]
    raise ValueError(f"no kernel in {mangled}")


def occupancy(architecture: str, threads: int, registers: int, shared: int) -> float:
    """Share of the warps of a multiprocessor that can be resident at once."""
    warps, blocks, kibibytes = LIMITS[architecture]
    of_block = threads // 32
    by_registers = REGISTERS // (-(-registers * 32 // 256) * 256) // of_block
    by_shared = (kibibytes << 10) // (shared + 1024)  # of which the system takes 1 KiB a block
    return min(warps // of_block, blocks, by_registers, by_shared) * of_block / warps


def compile_with_report(nvcc: str, source: pathlib.Path, architectures: list[str]) -> str:
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, "-std=c++20", "--expt-relaxed-constexpr", "-O3", "-DNDEBUG", f"-I{ROOT}",
                   f"-I{ROOT}/kernels/cuda/native", '-DSTAMP_CUDA_NAME="cuda"', '-DSTAMP_VERSION="0"', *targets,
                   "-Xptxas=-v", "-c", str(source), "-o", f"{folder}/object.o"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or "instructions are serialized" in done.stderr:  # of a warpgroup: one after the other
        raise SystemExit(done.stderr)
    return done.stderr


def kernels_of(source: pathlib.Path, report: str) -> list[dict]:
    entry = re.compile(
        r"Compiling entry function '(\S+)' for 'sm_(\d+a?)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers(.*?)\n",
        re.S,
    )
    kernels = []
    for mangled, architecture, stack, stores, loads, registers, rest in entry.findall(report):
        if "5stamp4cuda" not in mangled or "_kernel" not in mangled:  # those of CUB
            continue
        name, template = name_of(mangled), re.search(r"_kernelILi(\d+)E((?:Lb[01]E)*)", mangled)
        argument, flags = (int(template[1]), re.sub("[LbE]", "", template[2])) if template else (0, "")
        made_for = f"<{','.join([template[1], *flags])}>" if template else ""
        threads, dynamic = launch_of(name, argument, flags)
        static = int(match[1]) if (match := re.search(r"(\d+) bytes smem", rest)) else 0
        kernels.append({
            "source": source.name, "kernel": name.removesuffix("_kernel") + made_for,
            "architecture": architecture, "threads": threads, "registers": int(registers), "static": static,
            "dynamic": dynamic, "stack": int(stack), "spill_stores": int(stores), "spill_loads": int(loads),
            "occupancy": occupancy(architecture, threads, int(registers), static + dynamic),
        })  # fmt: skip
    return kernels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", nargs="+", default=list(LIMITS), choices=LIMITS)
    parser.add_argument("--check", action="store_true", help="only the sources of hot kernels, nothing is recorded")
    parser.add_argument("--nvcc", default="nvcc")
    args = parser.parse_args()
    nvcc = shutil.which(args.nvcc)
    if not nvcc:
        raise SystemExit(f"kernel_resources.py: there is no {args.nvcc}")
    sources = [path for path in sorted((ROOT / "kernels" / "cuda").glob("*.cu"))
               if not args.check or re.search(rf"\b({'|'.join(HOT)})\w*_kernel\(", path.read_text())]  # fmt: skip
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        reports = pool.map(lambda source: compile_with_report(nvcc, source, args.architectures), sources)
        kernels = [kernel for source, report in zip(sources, reports) for kernel in kernels_of(source, report)]
    spilling = [k for k in kernels if k["kernel"].startswith(HOT) and k["spill_stores"] + k["spill_loads"] > 0]
    for k in spilling:
        print(f"{k['source']}: {k['kernel']} spills {k['spill_stores']} bytes on sm_{k['architecture']}")
    hot = {k["kernel"].partition("<")[0] for k in kernels if k["kernel"].startswith(HOT)}
    print(f"{len(kernels)} kernels, {len(spilling)} of the hot ones spill ({', '.join(sorted(hot))})")
    if args.check:
        missing = [name for name in HOT if not any(kernel.startswith(name) for kernel in hot)]
        sys.exit(f"no kernel is named {', '.join(missing)}" if missing else bool(spilling))
    release = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    line = {"commit": commit(), "nvcc": re.search(r"release [\d.]+, V([\d.]+)", release)[1], "kernels": kernels}
    with (RESULTS / "kernel_resources.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
