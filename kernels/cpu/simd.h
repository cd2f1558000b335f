// The inner loops, compiled once per instruction set (simd_*.cpp include simd.inl) and chosen at run time, so that
// one binary serves every machine. Nothing here allocates, throws or knows of threads.
#pragma once

#include <cstdint>

namespace stamp::cpu {

using Index = std::int64_t;

// Shared with the update rule: everything Adam needs for one element, per step.
struct AdamFactors {
  float beta1, beta2, epsilon;
  float rate;          // learning rate / (1 - beta1^step)
  float second_scale;  // 1 / (1 - beta2^step)
  float shrink;        // 1 - learning rate * weight decay
  float gradient_scale;
};

struct Simd {
  // c[M,N] (+)= a b. a[i,k] stands at i*a_row + k*a_col, b[k,j] at k*b_row + j, c[i,j] at i*c_row + j.
  // Every output sums over k in order with one accumulator, so it depends on no other row or column.
  void (*gemm)(Index M, Index N, Index K, const float* a, Index a_row, Index a_col, const float* b, Index b_row,
               float* c, Index c_row, bool accumulate);

  // y[M,out] (+)= x[M,in] wᵀ, w[out,in]: the same sums for few rows, for which turning all of w would not pay.
  void (*linear)(Index M, Index in, Index out, const float* x, const float* w, float* y, bool accumulate);

  // out[d*width + i] = in[i*in_row + d], i < n <= width, the rest of each line zero
  void (*transpose)(Index n, Index D, const float* in, Index in_row, float* out, Index width);
  // The same of rows[i] · scale[i], scale null for none, that lie anywhere.
  void (*transpose_rows)(Index n, Index D, const float* const* rows, const float* scale, float* out, Index width);
  // scores[q*scores_row + i] = queries[q] · (rows[i] scale[i]), scale null for none, added up as gemm does: the same
  // bits.
  void (*score_rows)(Index M, Index n, Index D, const float* const* queries, const float* const* rows,
                     const float* scale, float* scores, Index scores_row);

  float (*max)(Index n, const float* x);             // NaN when one is, -inf for n = 0
  float (*exp_sum)(Index n, float shift, float* x);  // x = exp(x - shift), returns the sum
  float (*dot)(Index n, const float* a, const float* b);
  double (*squared_norm)(Index n, const float* x);
  void (*axpy)(Index n, float a, const float* x, float* y);  // y += a x
  void (*scale)(Index n, float a, float* x);                 // x *= a
  void (*tanh)(Index n, float* x);
  // s = σ(k + q), returns w · s
  float (*gate)(Index n, const float* k, const float* q, const float* w, float* s);
  // s = σ; d_w += d s; d_k += d w s(1-s); d_q += d w s(1-s)
  void (*gate_backward)(Index n, float d, const float* w, const float* s, float* d_w, float* d_k, float* d_q);
  void (*adam)(Index n, const float* gradient, float* parameters, float* moment1, float* moment2,
               const AdamFactors& factors);
  // Of the 64 products of a panel, as bit sets: whose score may be `least` or more, and, unless null, whose is surely
  // more. With z = scale (low[i] - low_offset + 128 (high[i] - high_offset)), high null for none, scores lie in
  // scales[i] (z ± error) ± slack + boosts[i] (null: 0), or anywhere where that is NaN (int8_table.h).
  std::uint64_t (*panel_bounds)(const std::int32_t* low, std::int32_t low_offset, const std::int32_t* high,
                                std::int32_t high_offset, const float* scales, float scale, float error, float slack,
                                const float* boosts, float least, std::uint64_t* surely);
  // Of 64 values, those that are `least` or more; NaN is not.
  std::uint64_t (*panel_at_least)(const float* x, float least);
  // sums[i] = Σ x[d] columns[d*n + i] over d < D in order, in double precision, in which such products are exact.
  void (*dots)(Index n, Index D, const float* columns, const float* x, double* sums);
  // Sets bit i % 64 of word i / 64 where x[i] is in [low, high], or where it is not, as NaN is not; returns how many
  // were not set before. No bit from n on is touched.
  Index (*mark)(Index n, const float* x, float low, float high, bool inside, std::uint64_t* bits);
};

const Simd& simd();  // of this machine

extern const Simd kSimdBaseline, kSimdAvx2, kSimdAvx512;

}  // namespace stamp::cpu
