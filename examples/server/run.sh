#!/usr/bin/env bash
# From nothing to a server that answers: installs what is missing, builds stamp and stamp-server, trains a small shop's
# bundle (or one of your events: --data FILE), serves it on this machine, and says how to ask. Ends with Ctrl-C.
#   examples/server/run.sh [--config FILE] [--data FILE]
set -euo pipefail
config= data=()
while [ $# -gt 0 ]; do
  case $1 in
    --config) config=$(realpath "$2"); shift 2 ;;
    --data) data=(--data "$(realpath "$2")"); shift 2 ;;
    *) echo "unknown argument $1; --config FILE and --data FILE are known" >&2; exit 2 ;;
  esac
done
cd "$(dirname "$0")/../.."

. examples/setup.sh
printf '\n== Building stamp-server\n'
examples/server/build.sh

if [ -z "$config" ]; then
  if [ ! -e build/server/shop/bundle/manifest.json ] || [ ${#data[@]} -gt 0 ]; then
    printf '\n== Training a bundle to serve\n'
    .venv/bin/python examples/server/shop.py --out build/server/shop "${data[@]}"
  fi
  config=examples/server/server.json
fi
build/server/stamp-server --config "$config" --check >/dev/null
cat <<'END'

== Serving. Try, elsewhere:

curl --json '{"userEvent": {"eventType": "detail-page-view", "visitorId": "you", "productDetails": [{"product": {"id": "sku-00042"}}]}, "k": 5}' \
  http://127.0.0.1:8080/v1/servingConfigs/product_page:predict

curl --json '{"eventType": "detail-page-view", "visitorId": "you", "productDetails": [{"product": {"id": "sku-00042"}}]}' \
  http://127.0.0.1:8080/v1/userEvents:write

curl --json '{"userEvent": {"visitorId": "you"}, "explain": true}' http://127.0.0.1:8080/v1/servingConfigs/home:predict

END
exec build/server/stamp-server --config "$config"
