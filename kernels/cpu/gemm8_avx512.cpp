#include <immintrin.h>

#include "kernels/cpu/gemm8.inl"

namespace stamp::cpu {
namespace {

struct Avx512 {
  using Sums = __m512i;
  using Bytes = __m512i;
  static constexpr Index kLanes = 16, kRows = 6, kVectors = 4;
  static Bytes load(const void* p) { return _mm512_loadu_si512(p); }
  static Bytes broadcast(const void* p) { return _mm512_set1_epi32(_mm_cvtsi128_si32(_mm_loadu_si32(p))); }
  static Sums add(Sums sums, Bytes u, Bytes s) {
    const __m512i pairs = _mm512_maddubs_epi16(u, s);  // of 16 bits, saturated
    return _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
  static void store(void* p, Sums sums) { _mm512_storeu_si512(p, sums); }
};

}  // namespace

const Gemm8 kGemm8Avx512 = {kNoSaturation, true, multiply8<Avx512>};

}  // namespace stamp::cpu
