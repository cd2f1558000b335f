#!/usr/bin/env bash
# Measures beside PyTorch, FAISS and usearch in benchmarks/.venv, appends to benchmarks/results and writes the tables in docs/.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/setup.sh
if [ ! -x benchmarks/.venv/bin/python ]; then
  python3 -m venv benchmarks/.venv
fi
benchmarks/.venv/bin/pip install --quiet -r benchmarks/requirements.txt
benchmarks/.venv/bin/pip install --quiet ".[cluster,data]"
cmake --preset release -DSTAMP_BUILD_BENCHMARKS=ON >/dev/null
cmake --build --preset release --target bench_in_flight bench_scan bench_candidates
benchmarks/.venv/bin/python benchmarks/train.py
benchmarks/.venv/bin/python benchmarks/recommend.py
benchmarks/.venv/bin/python benchmarks/scan.py
benchmarks/.venv/bin/python benchmarks/cluster.py
benchmarks/.venv/bin/python benchmarks/rules.py
benchmarks/.venv/bin/python benchmarks/loading.py
benchmarks/.venv/bin/python benchmarks/in_flight.py
. examples/server/setup.sh
cmake --install build/release --prefix "$PWD/build/install" --component library >/dev/null
cmake -S examples/server -B build/server -G Ninja -DCMAKE_PREFIX_PATH="$PWD/build/install" >/dev/null
cmake --build build/server --target stamp-server stamp-load empty-server
benchmarks/.venv/bin/python benchmarks/serve.py
if command -v valgrind > /dev/null; then
  benchmarks/.venv/bin/python benchmarks/costs.py
fi
if [ -n "${STAMP_DATA:-}" ]; then
  benchmarks/.venv/bin/python benchmarks/candidates.py  # trains the models of build/trained
  benchmarks/.venv/bin/python benchmarks/floors.py
  for dataset in diginetica yoochoose1_64; do
    benchmarks/.venv/bin/python benchmarks/recommend.py --bundle "build/trained/$dataset/bundle" \
      --histories "build/trained/$dataset/histories.txt"
  done
  benchmarks/.venv/bin/python benchmarks/replay.py
  benchmarks/.venv/bin/python benchmarks/sample_verdicts.py
fi
benchmarks/.venv/bin/python benchmarks/daily.py
benchmarks/.venv/bin/python benchmarks/report.py
