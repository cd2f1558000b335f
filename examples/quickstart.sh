#!/usr/bin/env bash
# From nothing to recommendations: installs what is missing, builds stamp into .venv, trains on a synthetic shop or on
# your own events (--data FILE), evaluates and recommends. Arguments go to examples/quickstart.py.
set -euo pipefail
cd "$(dirname "$0")/.."

. tests/setup.sh
# The package is built again only when its sources are not those of the last build.
sources=$(cat pyproject.toml CMakeLists.txt $(find stamp kernels bindings cmake -type f -not -name '*.pyc' | sort) | sha256sum)
if [ "$(cat .venv/stamp-sources 2>/dev/null)" != "$sources" ]; then
  printf '\n== Building stamp (two to three minutes, more where CUDA is there)\n'
  .venv/bin/pip install --quiet ".[data]" tqdm
  echo "$sources" >.venv/stamp-sources
fi
printf '\n== Training\n'
exec .venv/bin/python examples/quickstart.py "$@"
