#!/usr/bin/env bash
# From nothing to a release that serves, night after night, on this machine: installs what is missing, builds stamp and
# stamp-server, makes up two weeks of a shop's clicks, and runs its pipeline for three days. The first is released, the
# second, which begins with the models of the first, too; the clicks of the third are broken: it is refused, and the server
# stays with the second. Everything is in build/pipeline, which is made anew each time; --keep leaves the server running.
set -euo pipefail
cd "$(dirname "$0")/../.."
keep=
case ${1:-} in
  "") ;;
  --keep) keep=yes ;;
  *) echo "unknown argument $1; --keep is known" >&2; exit 2 ;;
esac

say() { printf '\n== %s\n' "$*"; }
stamp() { .venv/bin/stamp "$@"; }

stamp_extras=data,pipeline . examples/setup.sh
say "Building stamp-server"
examples/server/build.sh

rm -rf build/pipeline
mkdir -p build/pipeline
cp examples/pipeline/shop.json build/pipeline/
first=$(date -u -d '14 days ago' +%F)
day() { date -u -d "$first + $(($1 - 1)) days" +%F; }
clicks() { .venv/bin/python examples/pipeline/clicks.py --out build/pipeline --first "$first" "$@"; }
night() { stamp pipeline run build/pipeline/shop.json --date "$(day "$1")"; }

say "A server, and a sync that brings it what the champion is: nothing yet"
.venv/bin/stamp store sync build/pipeline/store --alias champion --to build/pipeline/served --watch 0.5 >build/pipeline/sync.log 2>&1 &
started=($!)
trap 'kill "${started[@]}" 2>/dev/null; wait' EXIT
build/server/stamp-server --config examples/pipeline/server.json >build/pipeline/server.log 2>&1 &
started+=($!)
# What the server answers to a visitor who looked at a product, and of which release that is.
ask() {
  curl --silent --show-error --json '{"userEvent": {"eventType": "detail-page-view", "visitorId": "you",
    "productDetails": [{"product": {"id": "sku-00042"}}]}, "k": 5}' \
    http://127.0.0.1:8080/v1/servingConfigs/product_page:predict
  echo
}

say "Clicks of twelve days, and the night after"
clicks $(seq -f '--write %g' 12)
night 12
ask

say "The night after the thirteenth day: it begins with what serves"
clicks --write 13
night 13
ask
served=$(curl --silent http://127.0.0.1:8081/release)

say "The fourteenth day, whose export lost products: it is to be refused"
clicks --write 14 --broken 14
if night 14; then
  echo "broken clicks were released" >&2
  exit 1
fi
[ "$(curl --silent http://127.0.0.1:8081/release | .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)["release"])')" = \
  "$(echo "$served" | .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)["release"])')" ]
echo "The server stays with the release of $(day 13)."

say "The store"
stamp store list build/pipeline/store
stamp store diff build/pipeline/store "$(.venv/bin/python -c 'import json; print(json.load(open("build/pipeline/store/aliases/champion.json"))["previous"][0])')" champion
echo "The record of what serves: build/pipeline/store/records/<release>/index.html, or stamp store show build/pipeline/store champion --open"
if [ -n "$keep" ]; then
  say "Serving at http://127.0.0.1:8080, until Ctrl-C"
  wait "${started[-1]}"
fi
