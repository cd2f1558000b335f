#include "kernels/cpu/gemm8_registers.inl"

namespace stamp::cpu {
namespace {

struct AvxVnni : Registers {
  static Sums add(Sums sums, Bytes u, Bytes s) { return _mm256_dpbusd_avx_epi32(sums, u, s); }
};

}  // namespace

const Gemm8 kGemm8AvxVnni = {kAnyByte, true, multiply8<AvxVnni>};

}  // namespace stamp::cpu
