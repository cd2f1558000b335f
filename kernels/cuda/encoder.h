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

// Widths that are general take 4 bytes at once and rows in device memory; the others, multiples of 4 up to kWidest,
// have all their columns in registers: 4 a lane.
inline bool is_general(std::int64_t D) { return D > kWidest || D % 4 != 0; }

// f(d) for the columns d < n that this lane has.
template <bool general, class F>
__device__ void for_columns(int n, F&& f) {
  if constexpr (general) {
#pragma unroll 1
    for (int d = lane_index(); d < n; d += kWarp) f(d);
  } else {
#pragma unroll
    for (int j = 0; j < kWidest / kWarp; ++j)
      if (const int d = lane_index() + j * kWarp; d < n) f(d);
  }
}

// x · y by a warp.
template <bool general>
__device__ float dot(int D, const float* x, const float* y) {
  float sum = 0;
  for_columns<general>(D, [&](int d) { sum += x[d] * y[d]; });
  return warp_sum(sum);
}

// w[r] … w[r+3] of n values; zeros from n on. Without branches, so that loads do not wait for each other.
template <bool general>
__device__ float4 four_of(const float* w, int r, int n) {
  if constexpr (!general) {
    const float4 four = *reinterpret_cast<const float4*>(w + (r < n ? r : 0));
    return r < n ? four : make_float4(0, 0, 0, 0);
  } else {
    const auto at = [&](int i) {
      const float value = w[i < n ? i : 0];
      return i < n ? value : 0.0f;
    };
    return make_float4(at(r), at(r + 1), at(r + 2), at(r + 3));
  }
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

// sums += w x for outputs m … m+15 of w [D,D], aligned to 16 bytes, and the 8N rows of x, by a warp: sums[n][2h + c] is
// output m + lane / 4 + 8h of row 8n + 2 (lane % 4) + c. 24 bits: fp32, without tensor cores.
template <int bits, bool general, int N>
__device__ void multiply(float (&sums)[N][4], int D, const float* w, int m, const float* x, int stride) {
  const int g = lane_index() / 4, t = lane_index() % 4;
  const float* rows[2];  // g and g + 8; any where there are none
#pragma unroll
  for (int h = 0; h < 2; ++h) rows[h] = w + Index{m + g + 8 * h < D ? m + g + 8 * h : 0} * D;
  if constexpr (bits == 24) {
    for (int k = 0; k < D; ++k) {
      const float upper = rows[0][k], lower = rows[1][k];
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
    constexpr int kSteps = general ? 4 : kWidest / 16;
#pragma unroll 1
    for (int first = 0; first < D; first += 16 * kSteps) {
      float4 weights[kSteps][2];
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
#pragma unroll
        for (int h = 0; h < 2; ++h) weights[step][h] = four_of<general>(rows[h], first + 16 * step + 4 * t, D);
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
        if (const int k = first + 16 * step; k < D)
#pragma unroll
          for (int n = 0; n < N; ++n)
            multiply_fours<bits>(sums[n], weights[step][0], weights[step][1],
                                 *reinterpret_cast<const float4*>(x + (8 * n + g) * stride + k + 4 * t));
    }
  }
}

// f(output, row, value) for all that multiply left in this lane; zeros for outputs beyond D.
template <int N, class F>
__device__ void for_outputs(int D, int m, const float (&sums)[N][4], F&& f) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int output = m + g + i / 2 * 8;
      f(output, 8 * n + 2 * t + i % 2, output < D ? sums[n][i] : 0.0f);
    }
}

// sums += wᵀ x for outputs m … m+31 and 8 rows, by a warp: sums[i][2h + c] is output m + 4 (lane / 4) + 2i + h of row
// 2 (lane % 4) + c. Which output is which row of an mma is nobody's business either, so here a lane's four neighbours
// are four outputs.
template <int bits, bool general>
__device__ void multiply_transposed(float (&sums)[2][4], int D, const float* w, int m, const float* x, int stride) {
  const int g = lane_index() / 4, t = lane_index() % 4;
  if constexpr (bits == 24) {
    for (int k = 0; k < D; ++k) {
      const float4 four = four_of<general>(w + Index{k} * D, m + 4 * g, D);
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float value = x[(2 * t + c) * stride + k];
        sums[0][c] = fmaf(four.x, value, sums[0][c]);
        sums[0][2 + c] = fmaf(four.y, value, sums[0][2 + c]);
        sums[1][c] = fmaf(four.z, value, sums[1][c]);
        sums[1][2 + c] = fmaf(four.w, value, sums[1][2 + c]);
      }
    }
  } else {
    constexpr int kSteps = 4;
#pragma unroll 1
    for (int first = 0; first < D; first += 16 * kSteps) {
      float4 weights[kSteps][4];
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int k = first + 16 * step + 4 * t + j;
          weights[step][j] = four_of<general>(w + Index{k < D ? k : 0} * D, k < D ? m + 4 * g : D, D);
        }
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
        if (const int k = first + 16 * step; k < D) {
          const float4(&of)[4] = weights[step];
          const float4 b = *reinterpret_cast<const float4*>(x + g * stride + k + 4 * t);
          multiply_fours<bits>(sums[0], make_float4(of[0].x, of[1].x, of[2].x, of[3].x),
                               make_float4(of[0].y, of[1].y, of[2].y, of[3].y), b);
          multiply_fours<bits>(sums[1], make_float4(of[0].z, of[1].z, of[2].z, of[3].z),
                               make_float4(of[0].w, of[1].w, of[2].w, of[3].w), b);
        }
    }
  }
}

// f(output, row, value) for all outputs below D that it left in this lane.
template <class F>
__device__ void for_transposed(int D, int m, const float (&sums)[2][4], F&& f) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (const int output = m + 4 * g + i / 2; output < D) f(output, 2 * t + i % 2, sums[i / 4][i % 4]);
}

// f(d, factor of dropout) for the elements of event l's row, by a warp: a lane has those that share words of Philox.
template <bool general, class F>
__device__ void for_masked(const Encoder& p, Index l, F&& f) {
  const float kept = 1 / (1 - p.dropout);
  const Index first = l * p.D;
#pragma unroll 1
  for (Index group = first / 4 + lane_index(); group * 4 < first + p.D; group += kWarp) {
    std::array<std::uint32_t, 4> words{};
    if (p.dropout > 0)
      words = philox(p.seed, streams::kDropout + static_cast<std::uint64_t>(p.step->number),
                     static_cast<std::uint64_t>(group));
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (const Index i = group * 4 + j; !general || (i >= first && i < first + p.D))
        f(static_cast<int>(i - first), p.dropout > 0 ? (uniform(words[j]) < p.dropout ? 0.0f : kept) : 1.0f);
  }
}

// What a row looked up is multiplied by, before dropout; by a warp.
template <bool general>
__device__ float shortened(const Encoder& p, const float* row) {
  if (!(p.max_norm > 0)) return 1;
  const float norm = sqrtf(dot<general>(static_cast<int>(p.D), row, row));
  return norm > p.max_norm ? p.max_norm / norm : 1.0f;
}

// What its preferences add to example b's bias in dimension d: Σ_k π_k u_k, of rows [K,D].
__device__ inline float preferred(const Encoder& p, const float* rows, Index b, int d) {
  float sum = 0;
  for (Index k = 0; k < p.K; ++k) sum += p.preferences[b * p.K + k] * rows[k * p.D + d];
  return sum;
}

// The gate σ of an event for an example in dimension d.
__device__ inline float gate(const float* key, const float* query, int d) {
  return __fdividef(1, 1 + __expf(-(key[d] + query[d])));
}

// e = w0 · σ, by a warp.
template <bool general>
__device__ float energy(const Encoder& p, const float* key, const float* query) {
  float sum = 0;
  for_columns<general>(static_cast<int>(p.D), [&](int d) { sum += p.weights.w0[d] * gate(key, query, d); });
  return warp_sum(sum);
}

// Calls f(bits of the operands, whether the width is general), both std::integral_constant.
template <class F>
void with_operands(Precision precision, Index D, F&& f) {
  const auto with_bits = [&](auto bits) {
    if (is_general(D))
      f(bits, std::true_type());
    else
      f(bits, std::false_type());
  };
  if (precision == Precision::fp32)
    with_bits(std::integral_constant<int, 24>());
  else if (precision == Precision::tf32)
    with_bits(std::integral_constant<int, 11>());
  else
    with_bits(std::integral_constant<int, 8>());
}

}  // namespace stamp::cuda
