#!/usr/bin/env bash
# STAMP_CUDA=ON without nvcc is an error that says what to do; AUTO and OFF then build without CUDA.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# What CMake says, on one line, where nvcc does not work.
configure() {
  rm -rf "$folder/build"
  CUDACXX=/no/nvcc cmake -S . -B "$folder/build" -DSTAMP_BUILD_TESTS=OFF -DSTAMP_CUDA="$1" 2>&1 | tr -s ' \n' ' '
}

if output=$(configure ON); then
  echo "STAMP_CUDA=ON went on without nvcc"
  exit 1
fi
grep -q "STAMP_CUDA=ON, but no nvcc that works was found; put it on PATH" <<<"$output"
output=$(configure AUTO)
grep -q "no CUDA module: no .* STAMP_CUDA=AUTO wants one" <<<"$output"
output=$(configure OFF)
if grep CUDA <<<"$output"; then exit 1; fi
echo "without nvcc: ON is an error, AUTO and OFF build without CUDA"
