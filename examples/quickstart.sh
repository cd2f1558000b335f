#!/usr/bin/env bash
# From nothing to recommendations: installs what is missing, builds stamp into .venv, trains on a synthetic shop or on
# your own events (--data FILE), evaluates and recommends. Arguments go to examples/quickstart.py.
set -euo pipefail
cd "$(dirname "$0")/.."

. examples/setup.sh
printf '\n== Training\n'
exec .venv/bin/python examples/quickstart.py "$@"
