#include "kernels/cpu/gemm8_registers.inl"

namespace stamp::cpu {
namespace {

struct Avx512 : Registers {
  static Sums add(Sums sums, Bytes u, Bytes s) {
    const Bytes pairs = _mm512_maddubs_epi16(u, s);  // of 16 bits, saturated
    return _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
};

}  // namespace

const Gemm8 kGemm8Avx512 = {kNoSaturation, true, multiply8<Avx512>};

}  // namespace stamp::cpu
