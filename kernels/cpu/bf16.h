// Products of operands rounded to bf16 and added up in fp32, compiled once per instruction set (bf16_*.cpp include
// bf16.inl) and chosen at run time beside simd(). Every set gives the same bits: vdpbf16ps computes them where the
// machine has it, multiplications and additions with its roundings elsewhere.
#pragma once

#include "kernels/cpu/simd.h"

namespace stamp::cpu {

// Two neighbours along the dimension that a product sums over, the first in the low half. Rounded to nearest, ties to
// even; NaN stays, what is denormal is 0.
using Bf16Pair = std::int32_t;

struct Bf16 {
  const char* name;
  bool in_hardware;  // by vdpbf16ps, at twice the speed of fp32; else slower than fp32

  // c[M,N] (+)= a b over K pairs, strides in pairs as in Simd::gemm. Every output adds, in the order of the pairs,
  // first the product of their second halves, then that of the first, each rounded, denormals to 0.
  void (*gemm)(Index M, Index N, Index K, const Bf16Pair* a, Index a_row, Index a_col, const Bf16Pair* b, Index b_row,
               float* c, Index c_row, bool accumulate);

  // out[i] = (x[2i], x[2i+1]) for i < (n+1)/2, with 0 for x[n]
  void (*pair_columns)(Index n, const float* x, Bf16Pair* out);
  // out[i] = (first_scale * first[i], second_scale * second[i]), or 0 for a second row that is null
  void (*pair_rows)(Index n, const float* first, float first_scale, const float* second, float second_scale,
                    Bf16Pair* out);
  // out[d*width + i] = (in[i*D + 2d], in[i*D + 2d+1]), i < n <= width, the rest of each line zero
  void (*transpose)(Index n, Index D, const float* in, Bf16Pair* out, Index width);
};

const Bf16& bf16();  // of this machine

extern const Bf16 kBf16Baseline, kBf16Avx2, kBf16Avx512;

}  // namespace stamp::cpu
