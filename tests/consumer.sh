#!/usr/bin/env bash
# Installs the release build into a prefix of its own and builds examples/consumer against that alone, found by CMake
# and by pkg-config.
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=$PWD/build/install
rm -rf "$prefix" build/consumer
cmake --install build/release --prefix "$prefix" --component library >/dev/null
cmake -S examples/consumer -B build/consumer -G Ninja -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build build/consumer
build/consumer/consumer build/consumer/bundle
answer=$(build/consumer/client build/consumer/bundle red sku-41 sku-42)
echo "$answer"
grep -q '^sku-45 ' <<<"$answer"

export PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name stamp.pc)")
g++ -std=c++20 examples/consumer/main.cpp -o build/consumer/by_pkg_config \
  $(pkg-config --cflags --libs stamp) -Wl,-rpath,"$(pkg-config --variable=libdir stamp)"
build/consumer/by_pkg_config build/consumer/bundle >/dev/null
echo "the consumer also builds with pkg-config"
