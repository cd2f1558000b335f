#include "kernels/cpu/gemm8_registers.inl"

namespace stamp::cpu {
namespace {

struct Avx2 : Registers {
  static Sums add(Sums sums, Bytes u, Bytes s) {
    const Bytes pairs = _mm256_maddubs_epi16(u, s);  // of 16 bits, saturated
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace

const Gemm8 kGemm8Avx2 = {kNoSaturation, true, multiply8<Avx2>};

}  // namespace stamp::cpu
