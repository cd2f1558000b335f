#include <immintrin.h>

#include "kernels/cpu/gemm8.inl"

namespace stamp::cpu {
namespace {

struct AvxVnni {
  using Sums = __m256i;
  using Bytes = __m256i;
  static constexpr Index kLanes = 8, kRows = 4, kVectors = 2;
  static Bytes load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static Bytes broadcast(const void* p) { return _mm256_broadcastd_epi32(_mm_loadu_si32(p)); }
  static Sums add(Sums sums, Bytes u, Bytes s) { return _mm256_dpbusd_avx_epi32(sums, u, s); }
  static void store(void* p, Sums sums) { _mm256_storeu_si256(static_cast<__m256i*>(p), sums); }
};

}  // namespace

const Gemm8 kGemm8AvxVnni = {kAnyByte, true, multiply8<AvxVnni>};

}  // namespace stamp::cpu
