#!/usr/bin/env bash
# Measures beside PyTorch and FAISS in benchmarks/.venv, appends to benchmarks/results and writes the tables in docs/.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/setup.sh
if [ ! -x benchmarks/.venv/bin/python ]; then
  python3 -m venv benchmarks/.venv
  benchmarks/.venv/bin/pip install --quiet -r benchmarks/requirements.txt
fi
benchmarks/.venv/bin/pip install --quiet ".[cluster,data]"
cmake --preset release -DSTAMP_BUILD_BENCHMARKS=ON >/dev/null
cmake --build --preset release --target bench_in_flight
benchmarks/.venv/bin/python benchmarks/train.py
benchmarks/.venv/bin/python benchmarks/recommend.py
benchmarks/.venv/bin/python benchmarks/cluster.py
benchmarks/.venv/bin/python benchmarks/rules.py
benchmarks/.venv/bin/python benchmarks/in_flight.py
if command -v valgrind > /dev/null; then
  benchmarks/.venv/bin/python benchmarks/costs.py
fi
if [ -n "${STAMP_DATA:-}" ]; then
  benchmarks/.venv/bin/python benchmarks/replay.py
  benchmarks/.venv/bin/python benchmarks/sample_verdicts.py
fi
benchmarks/.venv/bin/python benchmarks/daily.py
benchmarks/.venv/bin/python benchmarks/report.py
