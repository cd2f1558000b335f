// What the encoder's kernels share: what they leave for each other, products of a few rows with a weight matrix, and
// the rows looked up.
//
// A block of 8 warps has 8 examples (or events). The weights are the left operand of mma, 16 outputs a warp, and the
// rows the right one, 8 of them: no row of a tensor core is wasted. A warp reads each weight once, as it is in memory,
// 16 bytes a lane and all of a product's under way together; which column is which k of an mma is nobody's business, so
// a lane's four neighbours are its four. Every output is summed in one order, whatever else is in the batch.
#pragma once

#include <ptx.h>

#include <type_traits>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"
#include "stamp/philox.h"

namespace stamp::cuda {

constexpr int kTile = kWarps;  // examples or events of a block: a warp owns one, and an mma has as many columns

// The softmax of an example's attention: a_i = exp(e_i - top) · inverse_sum; mean: Σ a_j d_j.
struct Normalizer {
  float top, inverse_sum, mean;
};

// What encode leaves for encode_backward, and its kernels for the next. All null where no backward follows.
struct EncoderRows {
  float *x, *keys, *d_keys;                              // [L,D]
  float *anchor, *mean, *query, *memory, *h_s, *h_t;     // [B,D]
  float *d_s, *d_t;                                      // [B,D] of the cells before their tanh
  float *d_memory, *d_query, *d_anchor, *d_mean, *d_w0;  // [B,D] d_mean: of each event, so of the sum
  Normalizer* normalizers;                               // [B]
};

// Rows in shared memory, or for widths beyond kWidest in device memory: zeros from D to a multiple of 16, and eight
// rows that begin in two different halves of the banks, so that 16 bytes a lane meet none twice.
__host__ __device__ inline int padded(std::int64_t D) { return static_cast<int>((D + 15) / 16 * 16); }
__host__ __device__ inline int stride_of(std::int64_t D) { return (padded(D) + 15) / 32 * 32 + 16; }

__device__ inline Index end_of(const Ranges& ranges, Index b) { return Index{ranges.begin[b]} + ranges.length[b]; }

// Four neighbours of w's row r (or column, where transposed) from k on; zeros beyond D. Matrices are aligned to 16
// bytes.
template <bool transposed>
__device__ float4 four_weights(Index D, const float* w, Index r, Index k) {
  const auto at = [&](Index i) { return r < D && i < D ? (transposed ? w[i * D + r] : w[r * D + i]) : 0.0f; };
  if (!transposed && D % 4 == 0)
    return r < D && k < D ? *reinterpret_cast<const float4*>(w + r * D + k) : make_float4(0, 0, 0, 0);
  return make_float4(at(k), at(k + 1), at(k + 2), at(k + 3));
}

// d[16,8] += a[16,16] b[16,8] in operands of so many bits: 8, bf16; 11, tf32. With g = lane / 4 and t = lane % 4, a
// lane has columns 4t to 4t+3 of rows g and g+8 of a, and those rows of column g of b.
template <int bits>
__device__ void multiply_fours(float (&d)[4], const float4& upper, const float4& lower, const float4& b) {
  if constexpr (bits == 8) {
    mma_m16n8k16(d,
                 {pack_bf16(upper.x, upper.y), pack_bf16(lower.x, lower.y), pack_bf16(upper.z, upper.w),
                  pack_bf16(lower.z, lower.w)},
                 {pack_bf16(b.x, b.y), pack_bf16(b.z, b.w)});
  } else {
    mma_m16n8k8(d, {round_tf32(upper.x), round_tf32(lower.x), round_tf32(upper.y), round_tf32(lower.y)},
                {round_tf32(b.x), round_tf32(b.y)});
    mma_m16n8k8(d, {round_tf32(upper.z), round_tf32(lower.z), round_tf32(upper.w), round_tf32(lower.w)},
                {round_tf32(b.z), round_tf32(b.w)});
  }
}

// sums += w x for outputs m … m+15 of w [D,D] (of its transpose) and the 8N rows of x, by a warp: sums[n][2h + c] is
// output m + lane / 4 + 8h of row 8n + 2 (lane % 4) + c. 24 bits: fp32, without tensor cores.
template <int bits, bool transposed, int N>
__device__ void multiply(float (&sums)[N][4], Index D, const float* w, Index m, const float* x, int stride) {
  const int lane = lane_index(), g = lane / 4, t = lane % 4;
  if constexpr (bits == 24) {
    for (int k = 0; k < D; ++k) {
      const auto at = [&](Index r) { return r < D ? (transposed ? w[k * D + r] : w[r * D + k]) : 0.0f; };
      const float upper = at(m + g), lower = at(m + g + 8);
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const float value = x[(8 * n + 2 * t + c) * stride + k];
          sums[n][c] = fmaf(upper, value, sums[n][c]);
          sums[n][2 + c] = fmaf(lower, value, sums[n][2 + c]);
        }
    }
  } else {
    constexpr int kSteps = kWidest / 16;
    for (int first = 0; first < D; first += kWidest) {
      float4 weights[kSteps][2];
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
#pragma unroll
        for (int h = 0; h < 2; ++h)
          weights[step][h] = four_weights<transposed>(D, w, m + g + 8 * h, first + 16 * step + 4 * t);
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        if (const int k = first + 16 * step; k < D)
#pragma unroll
          for (int n = 0; n < N; ++n)
            multiply_fours<bits>(sums[n], weights[step][0], weights[step][1],
                                 *reinterpret_cast<const float4*>(x + (8 * n + g) * stride + k + 4 * t));
      }
    }
  }
}

// f(output, row, value) for all that multiply left in this lane.
template <int N, class F>
__device__ void for_outputs(Index m, const float (&sums)[N][4], F&& f) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) f(static_cast<int>(m) + g + i / 2 * 8, 8 * n + 2 * t + i % 2, sums[n][i]);
}

// f(d, factor of dropout) for the elements of event l's row, by a warp: a lane has those that share words of Philox.
template <class F>
__device__ void for_masked(const Encoder& p, Index l, F&& f) {
  const float kept = 1 / (1 - p.dropout);
  const Index first = l * p.D;
  for (Index group = first / 4 + lane_index(); group * 4 < first + p.D; group += kWarp) {
    std::array<std::uint32_t, 4> words{};
    if (p.dropout > 0)
      words = philox(p.seed, static_cast<std::uint64_t>(p.step->number), static_cast<std::uint64_t>(group));
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (const Index i = group * 4 + j; i >= first && i < first + p.D)
        f(static_cast<int>(i - first), p.dropout > 0 ? (uniform(words[j]) < p.dropout ? 0.0f : kept) : 1.0f);
  }
}

// What event l's row is multiplied by, before dropout; to be called by a warp.
__device__ inline float shortened(const Encoder& p, const float* row) {
  if (!(p.max_norm > 0)) return 1;
  const float norm = sqrtf(warp_dot(p.D, row, row));
  return norm > p.max_norm ? p.max_norm / norm : 1.0f;
}

__device__ inline float sigmoid(float x) { return __fdividef(1, 1 + __expf(-x)); }

// The gate σ of an event for an example in one dimension.
__device__ inline float gate(const float* key, const float* query, Index d) { return sigmoid(key[d] + query[d]); }

// e = w0 · σ, by a warp.
__device__ inline float energy(const Encoder& p, const float* key, const float* query) {
  float sum = 0;
  for (Index d = lane_index(); d < p.D; d += kWarp) sum += p.weights.w0[d] * gate(key, query, d);
  return warp_sum(sum);
}

// Calls f(bits of the operands, whether rows are in device memory), both std::integral_constant.
template <class F>
void with_operands(Precision precision, Index D, F&& f) {
  const auto with_bits = [&](auto bits) {
    if (D <= kWidest)
      f(bits, std::false_type());
    else
      f(bits, std::true_type());
  };
  if (precision == Precision::fp32)
    with_bits(std::integral_constant<int, 24>());
  else if (precision == Precision::tf32)
    with_bits(std::integral_constant<int, 11>());
  else
    with_bits(std::integral_constant<int, 8>());
}

}  // namespace stamp::cuda
