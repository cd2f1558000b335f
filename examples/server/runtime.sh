#!/usr/bin/env bash
# What stamp-server needs to run, where it was built elsewhere: Debian 12, as root.
set -euo pipefail
packages=(ca-certificates libgrpc++1.51 libprotobuf32 librocksdb7.8 libsimdjson14 libsqlite3-0 libssl3)
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
