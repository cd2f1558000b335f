#!/usr/bin/env bash
# What libstamp.so exports is its API: names of namespace stamp, and the stamp_… functions of stamp_c.h, all of them and
# no other. Its SONAME ends in the major version. It destroys nothing when the process exits, while threads may be in it.
# Usage: exports.sh LIBRARY MAJOR
set -euo pipefail
cd "$(dirname "$0")/.."
library=$1
status=0

# Beside its own, a library exports weak symbols of what it instantiates of the standard library with public types:
# type information of shared pointers, members of containers. Every program that does so has them, and no visibility of
# ours takes them away. Those of other libraries must not be there.
exported=$(nm -D --defined-only --demangle "$library" | sed -E 's/^[0-9a-f]* //')
others=$(grep -vE -e '^[A-Zu] ((vtable|typeinfo|typeinfo name) for |[a-z ]+ )?stamp::' -e '^T stamp_[a-z_]+$' \
  -e '^[VWu] ([^(]* )?(std|__gnu_cxx)::' <<<"$exported" || true)
others+=$(grep -E 'nlohmann|\(anonymous namespace\)' <<<"$exported" || true)
if [[ -n $others ]]; then
  echo "exported beside the API:"
  echo "$others"
  status=1
fi

declared=$(grep -oP '^STAMP_C_API .*?\Kstamp_[a-z_]+(?=\()' stamp/stamp_c.h | sort)
found=$(grep -oP '^T \Kstamp_[a-z_]+$' <<<"$exported" | sort)
diff <(echo "$declared") <(echo "$found") || { echo "declared (<) and exported (>) functions differ"; status=1; }

soname=$(readelf -d "$library" | grep -oP 'SONAME.*\[\K[^]]+')
[[ $soname == "libstamp.so.$2" ]] || { echo "SONAME is $soname, expected libstamp.so.$2"; status=1; }
if grep -q '__cxa_atexit' <<<"$(nm -D --undefined-only "$library")"; then  # a pipe would break nm, and pass
  echo "an object is destroyed at exit"
  status=1
fi
exit $status
