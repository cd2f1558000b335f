#!/usr/bin/env bash
# Everything that wants a GPU, on a bare machine with nvcc, CMake and PyTorch but no network.
#
#   tests/gpu.sh pack             here: fills gpu/ (ignored by git, some 10 MiB) with what must travel beside the sources
#   tests/gpu.sh prebuild         here, after pack, where there is nvcc: builds for compute capability 9.0 into gpu/built
#                                 (some 25 MiB), so that `build` there makes no more than the Python package
#   tests/gpu.sh PART...          there: build test kernels train recommend daily profile peers accuracy sanitize, each
#                                 under 9 minutes, in this order of value; `all` is all of them, going on where one fails
#   tests/gpu.sh collect FOLDER   here: appends results that came back to benchmarks/results and writes the tables
#
# Called again, a part goes on: builds and accuracy runs that are done stay done. Results are lines of JSON with
# hardware, driver, commit and command, in $OUT if the machine sets it, else in build/gpu-results: eight files at most.
# STAMP_GPU_REHEARSAL=1 runs the same parts with the simulator in the GPU's place and tiny sizes, here.
set -euo pipefail
cd "$(dirname "$0")/.."

build=$PWD/build/gpu
device=cuda
parts=(build test kernels train recommend daily profile peers accuracy sanitize)
export STAMP_RESULTS=${OUT:-$PWD/build/gpu-results}
export STAMP_NUM_THREADS=${STAMP_NUM_THREADS:-$(nproc)}
export PYTHONUNBUFFERED=1
python=${STAMP_PYTHON:-python3}
rehearsal=${STAMP_GPU_REHEARSAL:-0}
if [ "$rehearsal" = 1 ]; then
  build=$PWD/build/gpu-rehearsal
  device=cuda-sim
  export STAMP_RESULTS=${OUT:-$PWD/build/gpu-rehearsal-results}
fi
mkdir -p "$STAMP_RESULTS"
export PYTHONPATH=$build/site${PYTHONPATH:+:$PYTHONPATH}

say() { printf '\n== %s\n' "$*"; }
# Ends what would outrun its part; a part is cut off by the machine after ten minutes, with its results lost.
within() { local seconds=$1; shift; timeout --signal=INT --kill-after=20 "$seconds" "$@"; }

pack() {
  local data=${STAMP_DATA:-../shared/data} name
  rm -rf gpu
  mkdir -p gpu/include gpu/data gpu/wheels
  cp -r /usr/include/doctest /usr/include/nlohmann gpu/include/
  mkdir -p gpu/cmake
  # Packages that say where they lie by themselves; those of Debian name /usr.
  cat >gpu/cmake/doctestConfig.cmake <<'CMAKE'
add_library(doctest::doctest INTERFACE IMPORTED)
set_target_properties(doctest::doctest PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${CMAKE_CURRENT_LIST_DIR}/../include)
CMAKE
  sed 's/doctest::doctest/nlohmann_json::nlohmann_json/' gpu/cmake/doctestConfig.cmake >gpu/cmake/nlohmann_jsonConfig.cmake
  printf 'set(PACKAGE_VERSION 3.11)\nset(PACKAGE_VERSION_COMPATIBLE TRUE)\n' >gpu/cmake/nlohmann_jsonConfigVersion.cmake
  for name in yoochoose1_64 diginetica retailrocket; do
    mkdir gpu/data/$name
    cp "$data/$name"/{train,test}.tsv.gz gpu/data/$name/
  done
  mkdir gpu/data/yoochoose_week
  cp "$data/yoochoose_week/sessions.tsv.gz" gpu/data/yoochoose_week/
  # Of pure Python: what builds the package where it is not there already.
  "$python" -m pip download --quiet --no-deps --only-binary=:all: -d gpu/wheels scikit-build-core pybind11 packaging pathspec
  mkdir gpu/peers
  "$python" -m pip download --quiet --no-deps -d gpu/peers cut-cross-entropy liger-kernel
  write_commit
  du -sm gpu | awk '{ print $1 " MiB in gpu/"; exit $1 >= 60 }'
}

write_commit() {
  local changed
  changed=$(git status --porcelain --untracked-files=no -- ':!benchmarks/results' ':!docs')
  echo "$(git rev-parse --short=10 HEAD)${changed:+-dirty}" >gpu/commit
}

# What a build is made of, as one checksum.
sources() { find CMakeLists.txt stamp kernels tests benchmarks/kernels -type f ! -name '*.py*' -print0 | sort -z | xargs -0 cat | sha256sum; }

# What runs of a build made here. Its paths are those of this checkout, which stands elsewhere there: `build` links one
# to the other.
prebuild() {
  [ -d gpu/cmake ] || { echo "tests/gpu.sh prebuild: there is no gpu/; run tests/gpu.sh pack first" >&2; return 1; }
  build=$PWD/build/gpu
  configure -DSTAMP_CUDA=ON -DSTAMP_BUILD_SIMULATOR=OFF -DCMAKE_CUDA_ARCHITECTURES=90a
  cmake --build "$build" --parallel "$STAMP_NUM_THREADS"
  rm -rf gpu/built
  mkdir -p gpu/built
  (cd "$build" && find . \( -name 'libstamp*.so*' -o -path './tests/test_*' -o -path './benchmarks/*/bench_*' \
    -o -name CTestTestfile.cmake \) \( -type f -o -type l \) ! -path '*/CMakeFiles/*' -print0 |
    xargs -0 cp -P --parents -t "$OLDPWD/gpu/built")
  find gpu/built -type f ! -name '*.cmake' -exec strip --strip-unneeded {} + 2>/dev/null || true
  echo "$PWD" >gpu/built/checkout
  sources >gpu/built/sources
  write_commit
  du -sm gpu | awk '{ print $1 " MiB in gpu/"; exit $1 >= 60 }'
}

configure() {
  local ninja=()
  ! command -v ninja >/dev/null || ninja=(-G Ninja)
  cmake -S . -B "$build" "${ninja[@]}" "$@" -DCMAKE_BUILD_TYPE=Release -DSTAMP_BUILD_BENCHMARKS=ON \
    -Ddoctest_DIR="$PWD/gpu/cmake" -Dnlohmann_json_DIR="$PWD/gpu/cmake" >"$build.log" 2>&1 || { tail -30 "$build.log"; return 1; }
}

build() {
  say "The library, its CUDA module, tests and benchmarks"
  local cuda=(-DSTAMP_CUDA=ON -DSTAMP_BUILD_SIMULATOR=OFF) targets=()
  if [ "$rehearsal" = 1 ]; then
    cuda=(-DSTAMP_CUDA=OFF)
    targets=(--target stamp_cuda_sim test_kernels_encoder test_release)
    for name in limits catalog_cross_entropy catalog_top_k encoder elementwise; do targets+=(sim_bench_$name); done
  fi
  if [ -f gpu/built/checkout ] && [ "$rehearsal" = 0 ]; then
    local checkout
    checkout=$(cat gpu/built/checkout)
    [ "$(sources)" = "$(cat gpu/built/sources)" ] || { echo "tests/gpu.sh build: gpu/built is of other sources; run prebuild anew, or remove it" >&2; return 1; }
    [ -e "$checkout" ] || { mkdir -p "$(dirname "$checkout")" && ln -sfn "$PWD" "$checkout"; }
    mkdir -p "$build"
    cp -a gpu/built/. "$build/"
    echo "as it was built before, of commit $(cat gpu/commit)"
  else
    configure "${cuda[@]}"
    within 420 cmake --build "$build" --parallel "$STAMP_NUM_THREADS" "${targets[@]}" | tail -2
  fi

  say "The Python package"
  # On top of what is installed, in a folder of its own.
  local tools=()
  "$python" -c 'import scikit_build_core, pybind11' 2>/dev/null || tools=(gpu/wheels/*.whl)
  mkdir -p "$build/site"
  [ ${#tools[@]} -eq 0 ] || "$python" -m pip install --quiet --no-index --no-deps --upgrade --target "$build/site" "${tools[@]}"
  "$python" -m pip install --quiet --no-index --no-deps --no-build-isolation --upgrade --target "$build/site" . \
    -C cmake.define.STAMP_CUDA=OFF -C build-dir="$build/python" -C cmake.define.nlohmann_json_DIR="$PWD/gpu/cmake"
  # The modules are those built above.
  export_modules
  "$python" -c 'import stamp; print(stamp.devices())'
}

export_modules() {
  export STAMP_CUDA_MODULE=$build/libstamp_cuda.so STAMP_CUDA_SIM_MODULE=$build/libstamp_cuda_sim.so
  if [ "$rehearsal" = 1 ]; then unset STAMP_CUDA_MODULE; else unset STAMP_CUDA_SIM_MODULE; fi
}

run_test() {
  say "Every C++ test on $device"
  local only=() status=0
  if [ "$rehearsal" = 1 ]; then
    export STAMP_REQUIRE_CUDA_SIM=1
    only=(-R '^test_(kernels_encoder|release)$')
  else
    export STAMP_REQUIRE_CUDA=1
  fi
  within 500 ctest --test-dir "$build" --output-on-failure --timeout 300 -j 4 -E '_(baseline|avx2)$|device_sources|kernel_spills|layout' \
    "${only[@]}" >"$STAMP_RESULTS/test.log" 2>&1 || status=$?
  # Each check that failed, once, and how many did; then the programs.
  grep -E '^[^ ]+\.(cpp|h):[0-9]+: (FATAL )?ERROR' "$STAMP_RESULTS/test.log" | sed "s|$PWD/||" | sort | uniq -c | head -30 || true
  sed -n '/tests passed/,$p' "$STAMP_RESULTS/test.log"
  return $status
}

sanitize() {
  say "compute-sanitizer"
  local tool test
  local sanitizer status=0
  if ! sanitizer=$(command -v compute-sanitizer || command -v /usr/local/cuda/bin/compute-sanitizer); then
    echo "there is no compute-sanitizer: nothing was checked"
    return 0
  fi
  [ "$rehearsal" = 0 ] || return 0
  export STAMP_REQUIRE_CUDA=1
  for tool in memcheck racecheck; do
    for test in test_kernels_encoder test_kernels; do
      within 130 "$sanitizer" --tool $tool --error-exitcode 9 "$build/tests/$test" 2>&1 |
        tee -a "$STAMP_RESULTS/sanitize.log" | tail -3 || { status=1; echo "$tool of $test failed"; }
    done
  done
  return $status
}

kernels() {
  say "Kernels, beside cuBLAS, cuDNN and CUB"
  within 520 "$python" benchmarks/kernels.py --build "$build" --device $device
}

train() {
  say "Training, beside PyTorch"
  local size=() precisions=(bf16 tf32) precision
  if [ "$rehearsal" = 1 ]; then
    size=(--products 60 --dim 16 --batch 16 --epochs 2 --rounds 1)
  else
    size=(--rounds 3)
  fi
  for precision in "${precisions[@]}"; do
    within 260 "$python" benchmarks/train.py --device $device --precision $precision "${size[@]}"
  done
}

recommend() {
  say "Recommending, beside PyTorch"
  local size=()
  [ "$rehearsal" = 0 ] || size=(--products 300 --dim 16 --rounds 1)
  within 500 "$python" benchmarks/recommend.py --device $device "${size[@]}"
}

daily() {
  say "Models of a catalog in clusters, side by side"
  local size=()
  [ "$rehearsal" = 0 ] || size=(--products 300 --clusters 5 --dim 8 --batch 32 --side-by-side 1 2 --rounds 1)
  within 300 "$python" benchmarks/daily.py --device $device --rounds 2 "${size[@]}"
}

# Nothing to rehearse: Nsight Compute and the peers want a GPU.
profile() {
  say "Kernels one by one, by Nsight Compute"
  [ "$rehearsal" = 0 ] || return 0
  within 300 "$python" benchmarks/kernel_profile.py --device $device
}

peers() {
  say "Other programs for the catalog's loss"
  [ "$rehearsal" = 0 ] || return 0
  "$python" -m pip install --quiet --no-index --no-deps --no-build-isolation --target "$build/peers" gpu/peers/* || true
  PYTHONPATH=$PYTHONPATH:$build/peers within 300 "$python" benchmarks/loss_peers.py --device $device
}

accuracy() {
  say "Accuracy in every precision"
  if [ "$rehearsal" = 1 ]; then
    small_data
    within 500 "$python" benchmarks/accuracy.py --device $device --model official --dataset yoochoose1_64 \
      --precision bf16 --work "$build/accuracy" --data "$build/data" --epochs 1
  else
    # Cut off, it leaves a checkpoint; what is done is not done again.
    within 520 "$python" benchmarks/accuracy.py --device $device --model official tuned paper --precision bf16 tf32 fp32 \
      --work "${STAMP_WORK:-$build/accuracy}" --data "$STAMP_DATA"
  fi
}

# A few sessions of the real data.
small_data() {
  local file
  mkdir -p "$build/data/yoochoose1_64"
  for file in train test; do
    zcat "$STAMP_DATA/yoochoose1_64/$file.tsv.gz" | awk -v n=$([ $file = train ] && echo 81 || echo 11) 'NR <= n' |
      gzip >"$build/data/yoochoose1_64/$file.tsv.gz"
  done
}

collect() {
  local file
  for file in "$1"/*.jsonl; do cat "$file" >>"benchmarks/results/$(basename "$file")"; done
  "$python" benchmarks/report.py
}

part() {
  export_modules
  [ ! -d gpu/data ] || export STAMP_DATA=$PWD/gpu/data
  case $1 in
    build | sanitize | kernels | train | recommend | daily | profile | peers | accuracy) "$1" ;;
    test) run_test ;;
    *)
      echo "tests/gpu.sh: no part is named '$1'; expected pack, prebuild, collect FOLDER, all or some of ${parts[*]}" >&2
      return 2
      ;;
  esac
}

[ $# -gt 0 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2; }
case $1 in
  pack) pack ;;
  prebuild) prebuild ;;
  collect) collect "$2" ;;
  all)
    failed=()
    for name in "${parts[@]}"; do
      # A shell of its own: `set -e` would not hold in a function whose status is looked at.
      "$0" "$name" || failed+=("$name")
    done
    [ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
    ;;
  *) for name in "$@"; do part "$name"; done ;;
esac
