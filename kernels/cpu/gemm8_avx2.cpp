#include <immintrin.h>

#include "kernels/cpu/gemm8.inl"

namespace stamp::cpu {
namespace {

struct Avx2 {
  using Sums = __m256i;
  using Bytes = __m256i;
  static constexpr Index kLanes = 8, kRows = 4, kVectors = 2;
  static Bytes load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static Bytes broadcast(const void* p) { return _mm256_broadcastd_epi32(_mm_loadu_si32(p)); }
  static Sums add(Sums sums, Bytes u, Bytes s) {
    const __m256i pairs = _mm256_maddubs_epi16(u, s);  // of 16 bits, saturated
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static void store(void* p, Sums sums) { _mm256_storeu_si256(static_cast<__m256i*>(p), sums); }
};

}  // namespace

const Gemm8 kGemm8Avx2 = {kNoSaturation, true, multiply8<Avx2>};

}  // namespace stamp::cpu
