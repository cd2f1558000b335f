// What happens within a session: mean, anchor, attention.
//
//   y_b  = Σ a_i x_i + residual_b     a_i = e_i, or softmax of e over the session     e_i = w0 · σ(k_i + q_b)
//   d_i  = d_y_b · x_i   de_i = d_i, or a_i (d_i - Σ_j a_j d_j)
//   d_x_i += a_i d_y_b   d_w0 = Σ de_i σ    d_k_i = Σ_b u    d_q_b = Σ_i u    with u = de_i w0 σ (1-σ)
//
// Forward and what belongs to an example: a warp owns example b. What belongs to an event (d_x, d_keys): a warp owns
// event l and adds up the examples that hold it, in their order, so that no two warps meet in a row and no atomics are
// needed. Neither begins nor ends of ranges fall, so those examples are neighbours that two searches find.
// Gates are computed again wherever they are needed: P·D of them, P = Σ length, against 4·P·D bytes to keep them.
// Bound by latency: a batch of 512 has some 2,000 pairs, 200,000 gates, 2 MB.
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {
namespace {

__device__ Index end_of(const Ranges& ranges, Index b) { return Index{ranges.begin[b]} + ranges.length[b]; }

// First example that ends behind event l; and the first that begins behind it, which ends those that hold it.
__device__ Index first_holding(const Ranges& ranges, Index l) {
  return lower_bound(ranges.B, l + 1, [&](Index b) { return end_of(ranges, b); });
}
__device__ Index last_holding(const Ranges& ranges, Index l) {
  return lower_bound(ranges.B, l + 1, [&](Index b) { return Index{ranges.begin[b]}; });
}

__global__ void session_summary_kernel(Ranges ranges, Index D, const float* x, float* anchor, float* mean) {
  const Index b = warp_index();
  if (b >= ranges.B) return;
  const Index begin = ranges.begin[b], length = ranges.length[b];
  for (Index d = lane_index(); d < D; d += kWarp) {
    float sum = 0;
    for (Index i = begin; i < begin + length; ++i) sum += x[i * D + d];
    anchor[b * D + d] = x[(begin + length - 1) * D + d];
    mean[b * D + d] = sum * (1.0f / static_cast<float>(length));
  }
}

__global__ void session_summary_backward_kernel(Ranges ranges, Index D, const float* d_anchor, const float* d_mean,
                                                float* d_x) {
  const Index l = warp_index();
  if (l >= ranges.L) return;
  const Index first = first_holding(ranges, l), last = last_holding(ranges, l);
  if (first >= last) return;
  for (Index d = lane_index(); d < D; d += kWarp) {
    float sum = d_x[l * D + d];
    for (Index b = first; b < last; ++b) {
      if (end_of(ranges, b) == l + 1) sum += d_anchor[b * D + d];
      sum += d_mean[b * D + d] * (1.0f / static_cast<float>(ranges.length[b]));
    }
    d_x[l * D + d] = sum;
  }
}

__device__ float sigmoid(float x) { return 1 / (1 + __expf(-x)); }

// e of event i for example b, by a warp.
__device__ float energy(const SessionAttention& p, Index i, Index b) {
  float sum = 0;
  for (Index d = lane_index(); d < p.D; d += kWarp)
    sum += p.w0[d] * sigmoid(p.keys[i * p.D + d] + p.query[b * p.D + d]);
  return warp_sum(sum);
}

// The softmax of an example's session, so far or as a whole.
struct Softmax {
  float top = -INFINITY, sum = 0;
  // What sums must be multiplied by now that `energies` (one a lane, -inf for none) came.
  __device__ float extend(float energies) {
    const float before = top;
    top = fmaxf(top, warp_max(energies));
    const float rescale = __expf(before - top);
    sum = sum * rescale + warp_sum(__expf(energies - top));
    return rescale;
  }
};

// Chunks of 32 events: lane j keeps what belongs to the j-th, columns are added up over all of them at once.
__global__ void session_attention_kernel(SessionAttention p, float* y) {
  const Index b = warp_index();
  if (b >= p.ranges.B) return;
  const bool softmax = p.normalization == Normalization::softmax;
  const Index begin = p.ranges.begin[b], length = p.ranges.length[b];
  const int lane = lane_index();
  Softmax state;
  for (Index first = 0; first < length; first += kWarp) {
    const int n = static_cast<int>(length - first < kWarp ? length - first : kWarp);
    float a = softmax ? -INFINITY : 0.0f;
    for (int j = 0; j < n; ++j) {
      const float e = energy(p, begin + first + j, b);
      if (lane == j) a = e;
    }
    float rescale = 1;
    if (softmax) {
      rescale = state.extend(a);
      a = __expf(a - state.top);
    }
    for (Index column = 0; column < p.D; column += kWarp) {  // whole warps, for the shuffles
      const Index d = column + lane;
      float sum = first > 0 && d < p.D ? y[b * p.D + d] * rescale : 0.0f;
      for (int j = 0; j < n; ++j) {
        const float weight = __shfl_sync(kAll, a, j);
        if (d < p.D) sum += weight * p.x[(begin + first + j) * p.D + d];
      }
      if (d < p.D) y[b * p.D + d] = sum;
    }
  }
  if (softmax || p.residual)
    for (Index d = lane; d < p.D; d += kWarp)
      y[b * p.D + d] = y[b * p.D + d] * (softmax ? 1 / state.sum : 1) + (p.residual ? p.residual[b * p.D + d] : 0);
}

// What backward must know of each example's softmax.
struct Normalizer {
  float top, inverse_sum, mean;  // mean: Σ a_j d_j
};

__device__ float weight_of(const SessionAttention& p, const Normalizer& n, float e) {
  return p.normalization == Normalization::softmax ? __expf(e - n.top) * n.inverse_sum : e;
}
__device__ float d_energy(const SessionAttention& p, const Normalizer& n, float a, float d_a) {
  return p.normalization == Normalization::softmax ? a * (d_a - n.mean) : d_a;
}

// d_query and w0's gradient [B,D] of each example.
__global__ void session_attention_backward_examples_kernel(SessionAttention p, const float* d_y,
                                                           Normalizer* normalizers, float* d_query, float* d_w0) {
  const Index b = warp_index();
  if (b >= p.ranges.B) return;
  const bool softmax = p.normalization == Normalization::softmax;
  const Index begin = p.ranges.begin[b], length = p.ranges.length[b];
  const int lane = lane_index();
  Normalizer normalizer{0, 1, 0};
  if (softmax) {
    Softmax state;
    float mean = 0;
    for (Index i = begin; i < begin + length; ++i) {
      const float e = energy(p, i, b), d_a = warp_dot(p.D, d_y + b * p.D, p.x + i * p.D);
      mean *= state.extend(lane == 0 ? e : -INFINITY);
      mean += __expf(e - state.top) * d_a;
    }
    normalizer = {state.top, 1 / state.sum, mean / state.sum};
  }
  if (lane == 0) normalizers[b] = normalizer;
  for (Index first = 0; first < length; first += kWarp) {
    const int n = static_cast<int>(length - first < kWarp ? length - first : kWarp);
    float d_e = 0;
    for (int j = 0; j < n; ++j) {
      const Index i = begin + first + j;
      const float d_a = warp_dot(p.D, d_y + b * p.D, p.x + i * p.D);
      const float a = softmax ? weight_of(p, normalizer, energy(p, i, b)) : 0.0f;
      if (lane == j) d_e = d_energy(p, normalizer, a, d_a);
    }
    for (Index column = 0; column < p.D; column += kWarp) {
      const Index d = column + lane;
      float to_query = first > 0 && d < p.D ? d_query[b * p.D + d] : 0.0f;
      float to_w0 = first > 0 && d < p.D ? d_w0[b * p.D + d] : 0.0f;
      for (int j = 0; j < n; ++j) {
        const float d_ej = __shfl_sync(kAll, d_e, j);
        if (d >= p.D) continue;
        const float s = sigmoid(p.keys[(begin + first + j) * p.D + d] + p.query[b * p.D + d]);
        to_query += d_ej * p.w0[d] * s * (1 - s);
        to_w0 += d_ej * s;
      }
      if (d < p.D) {
        d_query[b * p.D + d] = to_query;
        d_w0[b * p.D + d] = to_w0;
      }
    }
  }
}

// d_x and d_keys of each event.
__global__ void session_attention_backward_events_kernel(SessionAttention p, const float* d_y,
                                                         const Normalizer* normalizers, float* d_x, float* d_keys) {
  const Index l = warp_index();
  if (l >= p.ranges.L) return;
  const int lane = lane_index();
  const Index from = first_holding(p.ranges, l), to = last_holding(p.ranges, l);
  for (Index d = lane; d < p.D; d += kWarp) d_x[l * p.D + d] = d_keys[l * p.D + d] = 0;
  for (Index first = from; first < to; first += kWarp) {
    const int n = static_cast<int>(to - first < kWarp ? to - first : kWarp);
    float a = 0, d_e = 0;
    for (int j = 0; j < n; ++j) {
      const Index b = first + j;
      const float weight = weight_of(p, normalizers[b], energy(p, l, b));
      const float d_a = warp_dot(p.D, d_y + b * p.D, p.x + l * p.D);
      if (lane == j) {
        a = weight;
        d_e = d_energy(p, normalizers[b], weight, d_a);
      }
    }
    for (Index column = 0; column < p.D; column += kWarp) {
      const Index d = column + lane;
      float to_x = d < p.D ? d_x[l * p.D + d] : 0.0f, to_key = d < p.D ? d_keys[l * p.D + d] : 0.0f;
      for (int j = 0; j < n; ++j) {
        const float a_j = __shfl_sync(kAll, a, j), d_ej = __shfl_sync(kAll, d_e, j);
        if (d >= p.D) continue;
        const Index b = first + j;
        const float s = sigmoid(p.keys[l * p.D + d] + p.query[b * p.D + d]);
        to_x += a_j * d_y[b * p.D + d];
        to_key += d_ej * p.w0[d] * s * (1 - s);
      }
      if (d < p.D) {
        d_x[l * p.D + d] = to_x;
        d_keys[l * p.D + d] = to_key;
      }
    }
  }
}

}  // namespace

void CudaDevice::session_summary(Ranges ranges, Index D, const float* x, float* anchor, float* mean) {
  launch("session_summary", session_summary_kernel, blocks_for(ranges.B, kWarps), dim3(kThreads), 0, ranges, D, x,
         anchor, mean);
}

void CudaDevice::session_summary_backward(Ranges ranges, Index D, const float* d_anchor, const float* d_mean,
                                          float* d_x) {
  launch("session_summary_backward", session_summary_backward_kernel, blocks_for(ranges.L, kWarps), dim3(kThreads), 0,
         ranges, D, d_anchor, d_mean, d_x);
}

void CudaDevice::session_attention(const SessionAttention& p, float* y) {
  launch("session_attention", session_attention_kernel, blocks_for(p.ranges.B, kWarps), dim3(kThreads), 0, p, y);
}

void CudaDevice::session_attention_backward(const SessionAttention& p, const float* d_y, float* d_x, float* d_keys,
                                            float* d_query, float* d_w0) {
  const Index B = p.ranges.B;
  constexpr Index kNormalizer = sizeof(Normalizer) / sizeof(float);
  auto* normalizers = reinterpret_cast<Normalizer*>(attention_.need(B * (p.D + kNormalizer)));
  float* d_w0_of_examples = attention_.data() + B * kNormalizer;
  launch("session_attention_backward of examples", session_attention_backward_examples_kernel, blocks_for(B, kWarps),
         dim3(kThreads), 0, p, d_y, normalizers, d_query, d_w0_of_examples);
  launch("session_attention_backward of events", session_attention_backward_events_kernel,
         blocks_for(p.ranges.L, kWarps), dim3(kThreads), 0, p, d_y, normalizers, d_x, d_keys);
  launch("session_attention_backward of w0", column_sums_kernel, blocks_for(p.D, kWarp), dim3(kColumnThreads), 0, B,
         p.D, d_w0_of_examples, d_w0);
}

}  // namespace stamp::cuda
