#!/usr/bin/env bash
# Builds stamp-server against the installed library, and installs both: examples/server/build.sh [--tests] [PREFIX]
# PREFIX is build/server/prefix unless it is given. --tests also builds the server's tests, in build/server.
set -euo pipefail
cd "$(dirname "$0")/../.."

tests=OFF
if [ "${1:-}" = --tests ]; then
  tests=ON
  shift
fi
prefix=${1:-$PWD/build/server/prefix}

. tests/setup.sh
. examples/server/setup.sh
# Where pip built the library last, what it built the Python module with is gone: without that.
configured=()
[ -e build/release/CMakeCache.txt ] || configured=(-DSTAMP_CUDA=OFF -DSTAMP_BUILD_TESTS=OFF)
cmake --preset release -DSTAMP_BUILD_PYTHON=OFF "${configured[@]}" >/dev/null
cmake --build build/release --target stamp
cmake --install build/release --prefix "$prefix" --component library >/dev/null
cmake -S examples/server -B build/server -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DSTAMP_SERVER_TESTS=$tests \
  -DSTAMP_SERVER_BENCHMARKS=$tests >/dev/null
cmake --build build/server
cmake --install build/server --prefix "$prefix" >/dev/null
