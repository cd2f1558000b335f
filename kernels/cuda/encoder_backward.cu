// From the gradients of queries back to those of the rows looked up, in three launches.
//
//   of examples   d_q -> d_s, d_t of the cells -> d_memory and d_anchor, through W_s and W_t;
//                 d_i = d_memory · x_i, d_e_i = d_i, or a_i (d_i - Σ_j a_j d_j), u_i = d_e_i w0 σ (1-σ);
//                 d_query = Σ u_i, d_w0 = Σ d_e_i σ;
//                 d_anchor += W2ᵀ d_query (+ d_memory), d_mean = W3ᵀ d_query (+ d_memory)
//   of events     d_keys = Σ_b u_b, d_x = Σ_b a_b d_memory_b + d_mean_b / length_b (+ d_anchor_b) + W1ᵀ d_keys;
//                 dropout and shortening backward
//   of weights    weight_gradients.cu
//
// What belongs to an event is owned by the event: a warp adds up the examples that hold it, in their order, so no two
// warps meet in a row and no atomics are needed. Neither begins nor ends of ranges fall, so those examples are
// neighbours that two searches find. Gates are computed again wherever they are needed: P·D of them, P = Σ length,
// against 4·P·D bytes to keep them.
//
// Bound by latency. At L = 768, D = 100, B = 512, P = 1,280: of examples 64 blocks that read 2 MB of rows and four
// matrices each, of events 96 that read W1 and up to 5 MB of rows from the second-level cache; 108 Mflop with those of
// weights. Predicted, of examples: 1.7 µs to launch, 0.8 for rows, twice 1.6 for two products (80 KB at 64 bytes a
// cycle and two rounds of loads), 1.8 for four events one after another, 1 for instructions to come: 8.5 µs. Of
// events: 1.7, 0.7 for two searches, 1.2 for two to three examples, 1.2 for the product, 1.2 for the end and
// instructions: 6 µs.
#include <algorithm>

#include "kernels/cuda/encoder.h"

namespace stamp::cuda {
namespace {

constexpr int kRowsOfExamples = 5 * kTile;  // d_s, d_t, d_memory, d_anchor, d_query
constexpr int kRowsOfEvents = 2 * kTile;    // d_x, d_keys
constexpr int kColumns = kWidest / kWarp;   // that a lane adds up at once

// First of n non-falling values at or above `bound`, or n, by a warp: 32 looks at once, as each waits for the one
// before.
template <class Value>
__device__ Index search(Index n, Index bound, Value&& value) {
  Index first = 0;
  while (n > 0) {
    const Index step = (n + kWarp - 1) / kWarp, next = (lane_index() + 1) * step;  // a lane looks at the last of a step
    const bool below = next <= n && value(first + next - 1) < bound;
    const Index passed = __popc(__ballot_sync(kAll, below)) * step;
    first += passed;
    n = n - passed < step ? n - passed : step - 1;
  }
  return first;
}

// First example that ends behind event l; and the first that begins behind it, which ends those that hold it.
__device__ Index first_holding(const Ranges& ranges, Index l) {
  return search(ranges.B, l + 1, [&](Index b) { return end_of(ranges, b); });
}
__device__ Index last_holding(const Ranges& ranges, Index l) {
  return search(ranges.B, l + 1, [&](Index b) { return Index{ranges.begin[b]}; });
}

__device__ float weight_of(const Encoder& p, const Normalizer& n, float e) {
  return p.normalization == Normalization::softmax ? __expf(e - n.top) * n.inverse_sum : e;
}
__device__ float d_energy(const Encoder& p, const Normalizer& n, float a, float d_a) {
  return p.normalization == Normalization::softmax ? a * (d_a - n.mean) : d_a;
}

// The softmax of example b's attention, by a warp.
template <bool general>
__device__ Normalizer normalizer_of(const Encoder& p, const EncoderRows& rows, Index b, const float* d_memory) {
  float top = -INFINITY, sum = 0, mean = 0;
#pragma unroll 1
  for (Index l = p.ranges.begin[b]; l < end_of(p.ranges, b); ++l) {
    const float e = energy<general>(p, rows.keys + l * p.D, rows.query + b * p.D);
    const float d_a = dot<general>(static_cast<int>(p.D), d_memory, rows.x + l * p.D), before = top;
    top = fmaxf(top, e);
    const float shrink = __expf(before - top), a = __expf(e - top);
    sum = sum * shrink + a;
    mean = mean * shrink + a * d_a;
  }
  return {top, 1 / sum, mean / sum};
}

// d_query of example b, a row of the block's, and its d_w0, by a warp.
template <bool general>
__device__ void attend_backward(const Encoder& p, const EncoderRows& rows, Index b, const float* d_memory,
                                float* d_query) {
  const int D = static_cast<int>(p.D), lane = lane_index();
  const Index begin = p.ranges.begin[b], length = p.ranges.length[b];
  const bool softmax = p.normalization == Normalization::softmax;
  const float* query = rows.query + b * D;
  const Normalizer normalizer = softmax ? normalizer_of<general>(p, rows, b, d_memory) : Normalizer{0, 1, 0};
  if (lane == 0) rows.normalizers[b] = normalizer;
    // 32 events at once: lane j keeps what belongs to the j-th, columns are added up over all of them.
#pragma unroll 1
  for (Index first = 0; first < length; first += kWarp) {
    const int n = static_cast<int>(length - first < kWarp ? length - first : kWarp);
    float d_e = 0;
#pragma unroll 2
    for (int j = 0; j < n; ++j) {
      const Index l = begin + first + j;
      const float d_a = dot<general>(D, d_memory, rows.x + l * D);
      const float a = softmax ? weight_of(p, normalizer, energy<general>(p, rows.keys + l * D, query)) : 0.0f;
      if (lane == j) d_e = d_energy(p, normalizer, a, d_a);
    }
#pragma unroll 1
    for (int column = 0; column < D; column += kWidest) {
      float to_query[kColumns] = {}, to_w0[kColumns] = {};
#pragma unroll 2
      for (int j = 0; j < n; ++j) {
        const float d_ej = __shfl_sync(kAll, d_e, j);
        const float* key = rows.keys + (begin + first + j) * D;
#pragma unroll
        for (int i = 0; i < kColumns; ++i)
          if (const int d = column + i * kWarp + lane; d < D) {
            const float s = gate(key, query, d);
            to_query[i] += d_ej * p.weights.w0[d] * s * (1 - s);
            to_w0[i] += d_ej * s;
          }
      }
#pragma unroll
      for (int i = 0; i < kColumns; ++i)
        if (const int d = column + i * kWarp + lane; d < D) {
          d_query[d] += to_query[i];
          rows.d_w0[b * D + d] = (first > 0 ? rows.d_w0[b * D + d] : 0.0f) + to_w0[i];
        }
    }
  }
  for_columns<general>(D, [&](int d) { rows.d_query[b * D + d] = d_query[d]; });
}

template <int bits, bool general>
__global__ void __launch_bounds__(kThreads, 1)
    encode_backward_examples_kernel(Encoder p, EncoderRows rows, float* room, const float* d_queries) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int D = static_cast<int>(p.D), width = padded(D), stride = stride_of(D);
  float* d_s = general ? room + static_cast<Index>(blockIdx.x) * kRowsOfExamples * stride
                       : static_cast<float*>(dynamic_shared());
  float *d_t = d_s + kTile * stride, *d_memory = d_t + kTile * stride, *d_anchor = d_memory + kTile * stride,
        *d_query = d_anchor + kTile * stride;
  const Index first = static_cast<Index>(blockIdx.x) * kTile, own = first + warp;
  const bool present = own < p.ranges.B;

  // The cells, and a query's length.
  float factor = 1, along = 0;
  if (present && p.scale > 0) {
    float squared = 0;
    for_columns<general>(D, [&](int d) {
      const Index i = own * D + d;
      const float product = rows.h_s[i] * rows.h_t[i];
      squared += product * product;
      along += product * d_queries[i];
    });
    squared = warp_sum(squared);
    along = squared > 0 ? warp_sum(along) / squared : 0.0f;
    factor = squared > 0 ? p.scale / sqrtf(squared) : 0.0f;
  }
  for_columns<general>(width, [&](int d) {
    float to_s = 0, to_t = 0;
    if (present && d < D) {
      const Index i = own * D + d;
      const float s = rows.h_s[i], t = rows.h_t[i], d_product = factor * (d_queries[i] - along * s * t);
      to_s = rows.d_s[i] = d_product * t * (1 - s * s);
      to_t = rows.d_t[i] = d_product * s * (1 - t * t);
    }
    d_s[warp * stride + d] = to_s;
    d_t[warp * stride + d] = to_t;
    d_query[warp * stride + d] = 0;
  });
  __syncthreads();

  // Half of the warps have one product, half the other.
  const bool second = warp >= kWarps / 2;
  const int from = 32 * (warp % (kWarps / 2)), step = 32 * (kWarps / 2);
#pragma unroll 1
  for (int m = from; m < D; m += step) {
    float sums[2][4] = {};
    multiply_transposed<bits, general>(sums, D, second ? p.weights.anchor_weight : p.weights.session_weight, m,
                                       second ? d_t : d_s, stride);
    for_transposed(D, m, sums, [&](int d, int row, float value) {
      (second ? d_anchor : d_memory)[row * stride + d] = value;
      if (!second && first + row < p.ranges.B) rows.d_memory[(first + row) * D + d] = value;
    });
  }
  __syncthreads();
  if (present) attend_backward<general>(p, rows, own, d_memory + warp * stride, d_query + warp * stride);
  __syncthreads();

#pragma unroll 1
  for (int m = from; m < D; m += step) {
    float sums[2][4] = {};
    multiply_transposed<bits, general>(sums, D, second ? p.weights.w3 : p.weights.w2, m, d_query, stride);
    for_transposed(D, m, sums, [&](int d, int row, float value) {
      const Index b = first + row;
      if (b >= p.ranges.B) return;
      if (p.residual == (second ? Residual::mean : Residual::anchor)) value += d_memory[row * stride + d];
      if (second)
        rows.d_mean[b * D + d] = value * (1.0f / static_cast<float>(p.ranges.length[b]));
      else
        rows.d_anchor[b * D + d] = d_anchor[row * stride + d] + value;
    });
  }
}

template <int bits, bool general>
__global__ void __launch_bounds__(kThreads, 1)
    encode_backward_events_kernel(Encoder p, EncoderRows rows, float* room, float* d_rows) {
  const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int D = static_cast<int>(p.D), width = padded(D), stride = stride_of(D);
  float* d_x =
      general ? room + static_cast<Index>(blockIdx.x) * kRowsOfEvents * stride : static_cast<float*>(dynamic_shared());
  float* d_keys = d_x + kTile * stride;
  const Index first = static_cast<Index>(blockIdx.x) * kTile, l = first + warp;
  const Index end = end_of(p.ranges, p.ranges.B - 1);  // no example reads further
  if (first >= end) {
    if (l < p.ranges.L) for_columns<general>(D, [&](int d) { d_rows[l * D + d] = 0; });
    return;
  }

  float *own_x = d_x + warp * stride, *own_key = d_keys + warp * stride;
  for_columns<general>(width, [&](int d) { own_x[d] = own_key[d] = 0; });
  const Index from = l < end ? first_holding(p.ranges, l) : 0, to = l < end ? last_holding(p.ranges, l) : 0;
  // 32 examples at once: lane j keeps what belongs to the j-th, columns are added up over all of them.
#pragma unroll 1
  for (Index at = from; at < to; at += kWarp) {
    const int n = static_cast<int>(to - at < kWarp ? to - at : kWarp);
    const float *key = rows.keys + l * D, *x = rows.x + l * D;
    float a = 0, d_e = 0;
#pragma unroll 2
    for (int j = 0; j < n; ++j) {
      const Index b = at + j;
      const float weight = weight_of(p, rows.normalizers[b], energy<general>(p, key, rows.query + b * D));
      const float d_a = dot<general>(D, rows.d_memory + b * D, x);
      if (lane == j) {
        a = weight;
        d_e = d_energy(p, rows.normalizers[b], weight, d_a);
      }
    }
#pragma unroll 1
    for (int column = 0; column < D; column += kWidest) {
      float to_x[kColumns] = {}, to_key[kColumns] = {};
#pragma unroll 2
      for (int j = 0; j < n; ++j) {
        const float a_j = __shfl_sync(kAll, a, j), d_ej = __shfl_sync(kAll, d_e, j);
        const Index b = at + j;
        const bool is_anchor = end_of(p.ranges, b) == l + 1;
#pragma unroll
        for (int i = 0; i < kColumns; ++i)
          if (const int d = column + i * kWarp + lane; d < D) {
            const float s = gate(key, rows.query + b * D, d);
            to_key[i] += d_ej * p.weights.w0[d] * s * (1 - s);
            to_x[i] += a_j * rows.d_memory[b * D + d] + rows.d_mean[b * D + d];
            if (is_anchor) to_x[i] += rows.d_anchor[b * D + d];
          }
      }
#pragma unroll
      for (int i = 0; i < kColumns; ++i)
        if (const int d = column + i * kWarp + lane; d < D) {
          own_x[d] += to_x[i];
          own_key[d] += to_key[i];
        }
    }
  }
  if (l < end) for_columns<general>(D, [&](int d) { rows.d_keys[l * D + d] = own_key[d]; });
  __syncthreads();

#pragma unroll 1
  for (int m = 32 * warp; m < D; m += 32 * kWarps) {
    float sums[2][4] = {};
    multiply_transposed<bits, general>(sums, D, p.weights.w1, m, d_keys, stride);
    for_transposed(D, m, sums, [&](int d, int row, float value) { d_x[row * stride + d] += value; });
  }
  __syncthreads();

  if (l >= p.ranges.L) return;
  float factor = 1, along = 0;
  const std::int32_t id = p.events[l];
  const float* item = p.items + (id < 0 ? 0 : id) * p.D;
  if (id >= 0) factor = shortened<general>(p, item);
  for_masked<general>(p, l, [&](int d, float mask) { own_x[d] = mask == 0 ? 0.0f : own_x[d] * mask; });
  __syncwarp();
  if (factor != 1) along = dot<general>(D, item, own_x) / dot<general>(D, item, item);
  for_columns<general>(
      D, [&](int d) { d_rows[l * D + d] = factor == 1 ? own_x[d] : factor * (own_x[d] - along * item[d]); });
}

}  // namespace

void CudaDevice::encode_backward(const Encoder& p, const float* d_queries, float* d_rows,
                                 const EncoderWeights<float>& gradients, std::span<const Parameter> parameters) {
  const EncoderRows rows = encoder_rows(p);
  with_operands(precision_, p.D, [&](auto bits, auto general) {
    const dim3 of_examples = blocks_for(p.ranges.B, kTile), of_events = blocks_for(p.ranges.L, kTile);
    const Index stride = stride_of(p.D);
    float* room =
        general ? encoder_room_.need(
                      std::max(of_examples.x * Index{kRowsOfExamples}, of_events.x * Index{kRowsOfEvents}) * stride)
                : nullptr;
    launch("encode_backward of examples", encode_backward_examples_kernel<bits, general>, of_examples, dim3(kThreads),
           general ? 0 : kRowsOfExamples * stride * sizeof(float), p, rows, room, d_queries);
    launch("encode_backward of events", encode_backward_events_kernel<bits, general>, of_events, dim3(kThreads),
           general ? 0 : kRowsOfEvents * stride * sizeof(float), p, rows, room, d_rows);
  });
  weight_gradients(p, rows, gradients, parameters);
}

}  // namespace stamp::cuda
