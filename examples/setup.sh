# Sourced by examples that need stamp in .venv: installs what is missing and builds it, again only when its sources are
# not those of the last build. The library itself lies in build/release then.
. tests/setup.sh
stamp_sources=$(cat pyproject.toml CMakeLists.txt $(find stamp kernels bindings cmake -type f -not -name '*.pyc' -not -name '*.so*' | sort) | sha256sum)
if [ "$(cat .venv/stamp-sources 2>/dev/null)" != "$stamp_sources" ] || [ ! -e build/release/libstamp.so ]; then
  printf '\n== Building stamp (two to three minutes, more where CUDA is there)\n'
  .venv/bin/pip install --quiet -Cbuild-dir=build/release ".[data,prepare]" tqdm
  echo "$stamp_sources" >.venv/stamp-sources
fi
