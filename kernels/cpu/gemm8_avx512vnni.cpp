#include "kernels/cpu/gemm8_registers.inl"

namespace stamp::cpu {
namespace {

struct Avx512Vnni : Registers {
  static Sums add(Sums sums, Bytes u, Bytes s) { return _mm512_dpbusd_epi32(sums, u, s); }
};

}  // namespace

const Gemm8 kGemm8Avx512Vnni = {kAnyByte, true, multiply8<Avx512Vnni>};

}  // namespace stamp::cpu
