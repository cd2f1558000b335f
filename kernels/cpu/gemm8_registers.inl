// The widest registers that a source is compiled for: what its primitives share (gemm8.inl).
#include <immintrin.h>

#include "kernels/cpu/gemm8.inl"

namespace stamp::cpu {
namespace {

#if defined(__AVX512F__)

struct Registers {
  using Sums = __m512i;
  using Bytes = __m512i;
  static constexpr Index kLanes = 16, kRows = 6, kVectors = 4;
  static Bytes load(const void* p) { return _mm512_loadu_si512(p); }
  static Bytes broadcast(const void* p) { return _mm512_set1_epi32(_mm_cvtsi128_si32(_mm_loadu_si32(p))); }
  static void store(void* p, Sums sums) { _mm512_storeu_si512(p, sums); }
};

#else

struct Registers {
  using Sums = __m256i;
  using Bytes = __m256i;
  static constexpr Index kLanes = 8, kRows = 4, kVectors = 2;
  static Bytes load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static Bytes broadcast(const void* p) { return _mm256_broadcastd_epi32(_mm_loadu_si32(p)); }
  static void store(void* p, Sums sums) { _mm256_storeu_si256(static_cast<__m256i*>(p), sums); }
};

#endif

}  // namespace
}  // namespace stamp::cpu
