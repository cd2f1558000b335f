#!/usr/bin/env bash
# Rules of the sources: headers of stamp/ include only headers before them in the order of the design; kernels see device.h
# and philox.h alone; stamp/internal is for the sources of stamp/, one of which knows nlohmann's header: it is long to compile.
set -euo pipefail
cd "$(dirname "$0")/.."
order=(error files safetensors device tensor philox texts catalog attributes sessions pool lists pairs successors repeats content content_arrays objective model floors batches optimizer metrics calibration trainer clusters cross_recommendations versions baselines popularity item_rules session_knn place_set rules score_terms scan_table bundle routes selection scan_queue scanner answer release replay new_products recommender stamp_c)
status=0
for header in stamp/*.h; do
  [[ " ${order[*]} " == *" $(basename "$header" .h) "* ]] || { echo "$header is not in the order"; status=1; }
done
for i in "${!order[@]}"; do
  for included in $(grep -oP '^#include "stamp/\K[a-z_]+(?=\.h")' "stamp/${order[$i]}.h" || true); do
    [[ " ${order[*]:0:$i} " == *" $included "* ]] || { echo "stamp/${order[$i]}.h includes $included.h, which stands after it"; status=1; }
  done
done
if grep -rn 'include "stamp/internal/' stamp/*.h kernels bindings examples benchmarks tests --include='*.h' --include='*.c*'; then status=1; fi
if grep -rn 'include <nlohmann' stamp | grep -v '^stamp/internal/json.cpp:'; then status=1; fi
for file in $(find kernels -type f); do
  for included in $(grep -oP '^#include "\K(stamp|kernels)/[a-z_/.]+(?=")' "$file" || true); do
    case $included in
      stamp/device.h | stamp/philox.h | "$(dirname "$file")"/*) ;;
      *) echo "$file includes $included"; status=1 ;;
    esac
  done
done
if grep -rn 'include <cuda' stamp; then status=1; fi
# Python's lock is let go and taken by bindings/gil.h, which threads survive that outlive the interpreter.
if grep -rnE 'gil_scoped|PyGILState|call_guard' bindings --include='*.cpp' --include='*.h' | grep -v '^bindings/gil.h:'; then status=1; fi
# Kernels are launched through launch.h alone, which checks; sums of floats have an order (atomics count integers only).
if grep -rn '<<<' stamp kernels; then status=1; fi
if grep -rnE 'cudaLaunchKernel' kernels | grep -v '^kernels/cuda/launch.h:'; then status=1; fi
if grep -rnE 'atomic[A-Z]' kernels/cuda | grep -v 'atomicAdd(&counts'; then status=1; fi
exit $status
