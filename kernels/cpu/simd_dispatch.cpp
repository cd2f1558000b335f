#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/gemm8.h"
#include "kernels/cpu/simd.h"
#include "stamp/device.h"

namespace stamp::cpu {
namespace {

struct InstructionSet {
  std::string_view name;
  bool (*here)();
  const Simd* simd;
  const Gemm8* gemm8;
};

// Best first.
constexpr InstructionSet kSets[] = {
#if defined(__x86_64__)
    {"avx512vnni", [] { return kSets[1].here() && __builtin_cpu_supports("avx512vnni"); }, &kSimdAvx512,
     &kGemm8Avx512Vnni},
    {"avx512",
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
     },
     &kSimdAvx512, &kGemm8Avx512},
    {"avx2vnni", [] { return kSets[3].here() && __builtin_cpu_supports("avxvnni"); }, &kSimdAvx2, &kGemm8AvxVnni},
    {"avx2", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, &kSimdAvx2, &kGemm8Avx2},
#endif
    {"baseline", [] { return true; }, &kSimdBaseline, &kGemm8Plain},
};

const InstructionSet& choose() {
  const char* wanted = std::getenv("STAMP_CPU_ISA");
  const std::string_view limit = wanted ? wanted : kSets[0].name;
  const auto* set = std::find_if(std::begin(kSets), std::end(kSets), [&](const auto& s) { return s.name == limit; });
  std::string names;
  for (const InstructionSet& known : kSets) names.append(names.empty() ? "" : ", ").append(known.name);
  require(set != std::end(kSets), "STAMP_CPU_ISA is '", limit, "', expected one of ", names);
  while (!set->here()) ++set;
  return *set;
}

const InstructionSet& chosen() {
  static const InstructionSet& set = choose();
  return set;
}

const Bf16& choose_bf16() {
#if defined(__x86_64__)
  if (&simd() == &kSimdAvx512 && __builtin_cpu_supports("avx512bf16")) return kBf16Avx512;
  if (&simd() != &kSimdBaseline) return kBf16Avx2;
#endif
  return kBf16Baseline;
}

}  // namespace

const Simd& simd() { return *chosen().simd; }
const Gemm8& gemm8() { return *chosen().gemm8; }

const Bf16& bf16() {
  static const Bf16& chosen = choose_bf16();
  return chosen;
}

}  // namespace stamp::cpu

namespace stamp {

std::string cpu_isa() { return std::string(cpu::chosen().name); }

}  // namespace stamp
