#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test: C++ (release, then sanitizers), an outside consumer of the
# installed library, Python, the server. Fresh Debian 12 as root, or any machine where the packages are there already. Tests run on
# the CPU, on the simulator of CUDA and, where there is one, on a GPU; STAMP_REQUIRE_CUDA=1 makes its absence a failure.
# It ends with the CPU-minutes of each part.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

# part NAME COMMAND…: runs it, and notes the CPU time of all its processes, also where it fails.
spent=$(mktemp -d)
part() {
  local name=$1
  (
    trap 'times >"$spent/$(date +%s.%N) $name"' EXIT
    "${@:2}"
  )
}
# In minutes, from lines of `times` such as "12m3.456s 0m7.890s".
closing_table() {
  wait
  say "CPU-minutes"
  for file in "$spent"/*; do
    awk -F '[ms ]+' -v name="${file#* }" '{ all += $1 + $2 / 60 + $3 + $4 / 60 } END { printf "%7.1f  %s\n", all, name }' "$file"
  done | awk '{ print; all += $1 } END { printf "%7.1f  in all\n", all }'
  rm -rf "$spent"
}

build() { cmake --preset "$@" >/dev/null && cmake --build --preset "$1"; }
check() { ctest --preset "$1" --parallel "$(nproc)"; }

# A build beside tests of something else. What it says comes when it is waited for, in one piece.
begin_building() {
  part "Building ($1)" "${@:2}" >"build/$1.log" 2>&1 &
  building=$!
}
end_building() {
  local status=0
  wait "$building" || status=$?
  say "Building C++ ($1)"
  cat "build/$1.log"
  return $status
}

# The server for ThreadSanitizer, which can judge what is compiled with it: Debian's RocksDB and gRPC are not.
build_server_tsan() {
  cmake --install build/tsan --prefix "$PWD/build/tsan/prefix" --component library >/dev/null
  cmake -S examples/server -B build/server-tsan -G Ninja -DCMAKE_PREFIX_PATH="$PWD/build/tsan/prefix" \
    -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1" -DSTAMP_SANITIZE=thread -DSTAMP_SERVER_TESTS=OFF \
    -DSTAMP_SERVER_BENCHMARKS=OFF -DSTAMP_SERVER_BIGTABLE=OFF >/dev/null
  cmake --build build/server-tsan
}
# What has many threads, without what opens one of the other stores or weighs memory. A report ends the server, and fails
# the test.
check_server_tsan() {
  local tests=examples/server/tests
  STAMP_SERVER=$PWD/build/server-tsan/stamp-server STAMP_LOAD=$PWD/build/server/benchmarks/stamp-load \
    TSAN_OPTIONS=halt_on_error=1:atexit_sleep_ms=0 .venv/bin/python -m pytest \
    $tests/test_{stress,http,shadow,releases,inventory,experiments,keys}.py -k "not embedded and not 200_reloads" \
    --deselect $tests/test_shadow.py::test_answers_that_do_without_a_part_are_not_compared
}

. tests/setup.sh
install_missing openjdk-17-jre-headless # of Spark
. examples/server/setup.sh
. examples/server/tests/setup.sh
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

trap closing_table EXIT
mkdir -p build
say "Building C++ (release)"
# Without the module: what pybind11 it was built with, in pip's own environment, is gone.
part "Building (release)" build release -DSTAMP_CUDA=$cuda -DSTAMP_BUILD_PYTHON=OFF
begin_building asan build asan
say "Testing C++ (release)"
part "Testing (release)" check release
end_building asan
begin_building tsan build tsan
say "Testing C++ (address and undefined-behaviour sanitizers)"
part "Testing (asan)" check asan
end_building tsan
begin_building server examples/server/build.sh --tests
say "Testing C++ (thread sanitizer)"
part "Testing (tsan)" check tsan

say "STAMP_CUDA=ON, AUTO and OFF"
part "STAMP_CUDA without nvcc" tests/cuda_option.sh

say "A consumer outside the tree, against the installed library"
part "A consumer" tests/consumer.sh

end_building server
begin_building server-tsan build_server_tsan
say "Building the wheel, and testing it in .venv"
# In the folder of the release build, since the wheel holds the same library. Tests of the wheel itself find it by
# STAMP_WHEEL.
install_wheel() {
  rm -rf build/dist
  .venv/bin/pip wheel --quiet --no-deps -w build/dist -Cbuild-dir=build/release -Ccmake.define.STAMP_CUDA=AUTO \
    -Ccmake.define.STAMP_BUILD_TESTS=ON .
  .venv/bin/pip install --quiet --no-deps --force-reinstall build/dist/*.whl
  .venv/bin/pip install --quiet -c tests/python/constraints.txt "$(echo build/dist/*.whl)[test]"
}
part "The wheel, and what its tests need" install_wheel
STAMP_WHEEL=$(echo "$PWD"/build/dist/*.whl)
export STAMP_WHEEL
part "Types" .venv/bin/mypy
export STAMP_CUDA_SIM_MODULE=$PWD/build/release/libstamp_cuda_sim.so
part "Testing (Python)" .venv/bin/python -m pytest --numprocesses "$(nproc)" --dist loadgroup tests/python \
  --doctest-modules --pyargs stamp

say "Testing the server"
STAMP_READ_ROWS_CASES=$(.venv/bin/python examples/server/tests/bigtable/read_rows_cases.py build/server)
export STAMP_READ_ROWS_CASES
part "Testing (server, C++)" ctest --test-dir build/server --output-on-failure --parallel "$(nproc)"
part "Testing (server)" .venv/bin/python -m pytest examples/server/tests
end_building server-tsan
say "Testing the server (thread sanitizer)"
part "Testing (server, tsan)" check_server_tsan
