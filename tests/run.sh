#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test: C++ (release, then sanitizers), an outside consumer of the
# installed library, Python. Fresh Debian 12 as root, or any machine where the packages are there already. Tests run on
# the CPU, on the simulator of CUDA and, where there is one, on a GPU; STAMP_REQUIRE_CUDA=1 makes its absence a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

. tests/setup.sh
if [ -z "${STAMP_DATA:-}" ] && [ -d ../shared/data ]; then
  STAMP_DATA=$(cd ../shared/data && pwd)
fi
export STAMP_DATA=${STAMP_DATA:-}
say "Real data: ${STAMP_DATA:-none, tests that want it are skipped}"

export STAMP_REQUIRE_CUDA_SIM=1
if [ -x "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)" ]; then
  cuda=ON
  say "nvcc is here: the CUDA module is built"
else
  cuda=OFF
  say "NO nvcc IS HERE: THE CUDA SOURCES ARE COMPILED FOR THE SIMULATOR ALONE"
fi

say "Building and testing C++ (release)"
cmake --preset release -DSTAMP_CUDA=$cuda >/dev/null
cmake --build --preset release
ctest --preset release --parallel "$(nproc)"

say "Building and testing C++ (address and undefined-behaviour sanitizers)"
cmake --preset asan >/dev/null
cmake --build --preset asan
ctest --preset asan --parallel "$(nproc)"

say "Building and testing C++ (thread sanitizer)"
cmake --preset tsan >/dev/null
cmake --build --preset tsan
ctest --preset tsan --parallel "$(nproc)"

say "STAMP_CUDA=ON, AUTO and OFF"
tests/cuda_option.sh

say "A consumer outside the tree, against the installed library"
tests/consumer.sh

say "Building the Python package into .venv and testing it"
.venv/bin/pip install --quiet ".[test]"
.venv/bin/mypy
export STAMP_CUDA_SIM_MODULE=$PWD/build/release/libstamp_cuda_sim.so
.venv/bin/python -m pytest tests/python --doctest-modules --pyargs stamp
