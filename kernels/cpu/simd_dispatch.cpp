#include <cstdlib>
#include <string_view>

#include "kernels/cpu/simd.h"
#include "stamp/device.h"

namespace stamp::cpu {
namespace {

const Simd& choose() {
#if defined(__x86_64__)
  const char* wanted = std::getenv("STAMP_CPU_ISA");
  const std::string_view limit = wanted ? wanted : "avx512";
  require(limit == "avx512" || limit == "avx2" || limit == "baseline", "STAMP_CPU_ISA is '", limit,
          "', expected avx512, avx2 or baseline");
  __builtin_cpu_init();
  if (limit == "avx512" && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return kSimdAvx512;
  if (limit != "baseline" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kSimdAvx2;
#endif
  return kSimdBaseline;
}

}  // namespace

const Simd& simd() {
  static const Simd& chosen = choose();
  return chosen;
}

}  // namespace stamp::cpu

namespace stamp {

std::string cpu_isa() { return cpu::simd().name; }

}  // namespace stamp
