# Sourced by examples that need stamp in .venv: installs what is missing and builds it, again only when its sources, or the
# extras in stamp_extras, are not those of the last build. The library itself lies in build/release then.
. tests/setup.sh
stamp_extras=${stamp_extras:-data,prepare}
stamp_sources=$(cat pyproject.toml CMakeLists.txt $(find stamp kernels bindings cmake -type f -not -name '*.pyc' -not -name '*.so*' | sort) | sha256sum)
if ! grep -qsxF "$stamp_sources $stamp_extras" .venv/stamp-sources || [ ! -e build/release/libstamp.so ]; then
  printf '\n== Building stamp (two to three minutes, more where CUDA is there)\n'
  .venv/bin/pip install --quiet -Cbuild-dir=build/release ".[$stamp_extras]" tqdm
  echo "$stamp_sources $stamp_extras" >.venv/stamp-sources
fi
