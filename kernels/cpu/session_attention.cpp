// What happens within a session: mean, anchor, attention. Compute-bound on the σ of Σ length · D gates.
//
// Ranges of one session overlap, so backward adds several examples into one row of d_x. Pieces of work are therefore
// cut only between examples whose ranges do not touch: no two threads meet in a row, and sums keep one order.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_pool.h"

namespace stamp::cpu {

namespace {

constexpr Index kGrain = 32;  // examples that one piece of work takes, at least

// First examples of the pieces, and B.
void cut_disjoint(Ranges ranges, std::vector<Index>& pieces) {
  pieces.assign(1, 0);
  Index end = 0;
  for (Index b = 0; b < ranges.B; ++b) {
    if (b - pieces.back() >= kGrain && ranges.begin[b] >= end) pieces.push_back(b);
    end = std::max<Index>(end, ranges.begin[b] + ranges.length[b]);
  }
  pieces.push_back(ranges.B);
}

// Attention weights of example b into a[length], gates σ into gates[length,D].
void attend(const SessionAttention& p, Index b, float* a, float* gates) {
  const Index begin = p.ranges.begin[b], length = p.ranges.length[b];
  for (Index i = 0; i < length; ++i)
    a[i] = simd().gate(p.D, p.keys + (begin + i) * p.D, p.query + b * p.D, p.w0, gates + i * p.D);
  if (p.normalization == Normalization::softmax) {
    const float sum = simd().exp_sum(length, simd().max(length, a), a);
    simd().scale(length, 1 / sum, a);
  }
}

Index longest(Ranges ranges) { return ranges.B ? *std::max_element(ranges.length, ranges.length + ranges.B) : 0; }

}  // namespace

void CpuDevice::session_summary(Ranges ranges, Index D, const float* x, float* anchor, float* mean) {
  parallel_for_ranges(ranges.B, kGrain, threads_, [&](Index first, Index last) {
    for (Index b = first; b < last; ++b) {
      const Index begin = ranges.begin[b], length = ranges.length[b];
      std::memcpy(anchor + b * D, x + (begin + length - 1) * D, D * sizeof(float));
      std::memset(mean + b * D, 0, D * sizeof(float));
      for (Index i = begin; i < begin + length; ++i) simd().axpy(D, 1, x + i * D, mean + b * D);
      simd().scale(D, 1.0f / static_cast<float>(length), mean + b * D);
    }
  });
}

void CpuDevice::session_summary_backward(Ranges ranges, Index D, const float* d_anchor, const float* d_mean,
                                         float* d_x) {
  cut_disjoint(ranges, pieces_);
  parallel_for(static_cast<Index>(pieces_.size()) - 1, threads_, [&](Index piece) {
    for (Index b = pieces_[piece]; b < pieces_[piece + 1]; ++b) {
      const Index begin = ranges.begin[b], length = ranges.length[b];
      simd().axpy(D, 1, d_anchor + b * D, d_x + (begin + length - 1) * D);
      for (Index i = begin; i < begin + length; ++i)
        simd().axpy(D, 1.0f / static_cast<float>(length), d_mean + b * D, d_x + i * D);
    }
  });
}

void CpuDevice::session_attention(const SessionAttention& p, float* y) {
  const Index most = longest(p.ranges);
  parallel_for_ranges(p.ranges.B, kGrain, threads_, [&](Index first, Index last) {
    float* a = scratch<float, 1>(most);
    float* gates = scratch<float, 2>(most * p.D);
    for (Index b = first; b < last; ++b) {
      attend(p, b, a, gates);
      if (p.residual)
        std::memcpy(y + b * p.D, p.residual + b * p.D, p.D * sizeof(float));
      else
        std::memset(y + b * p.D, 0, p.D * sizeof(float));
      for (Index i = 0; i < p.ranges.length[b]; ++i)
        simd().axpy(p.D, a[i], p.x + (p.ranges.begin[b] + i) * p.D, y + b * p.D);
    }
  });
}

// With d = d_y · x_i the gradient of a_i: d_x_i += a_i d_y, and through the softmax de_i = a_i (d_i - Σ a_j d_j).
void CpuDevice::session_attention_backward(const SessionAttention& p, const float* d_y, float* d_x, float* d_keys,
                                           float* d_query, float* d_w0) {
  cut_disjoint(p.ranges, pieces_);
  const Index count = static_cast<Index>(pieces_.size()) - 1, most = longest(p.ranges), D = p.D;
  partial_.assign(count * D, 0);  // d_w0 of each piece
  std::memset(d_x, 0, p.ranges.L * D * sizeof(float));
  std::memset(d_keys, 0, p.ranges.L * D * sizeof(float));
  parallel_for(count, threads_, [&](Index piece) {
    float* a = scratch<float, 1>(most);
    float* gates = scratch<float, 2>(most * D);
    float* d_a = scratch<float, 3>(most);
    for (Index b = pieces_[piece]; b < pieces_[piece + 1]; ++b) {
      const Index begin = p.ranges.begin[b], length = p.ranges.length[b];
      const float* d_row = d_y + b * D;
      attend(p, b, a, gates);
      for (Index i = 0; i < length; ++i) {
        d_a[i] = simd().dot(D, d_row, p.x + (begin + i) * D);
        simd().axpy(D, a[i], d_row, d_x + (begin + i) * D);
      }
      if (p.normalization == Normalization::softmax) {
        const float mean = simd().dot(length, a, d_a);
        for (Index i = 0; i < length; ++i) d_a[i] = a[i] * (d_a[i] - mean);
      }
      std::memset(d_query + b * D, 0, D * sizeof(float));
      for (Index i = 0; i < length; ++i)
        simd().gate_backward(D, d_a[i], p.w0, gates + i * D, partial_.data() + piece * D, d_keys + (begin + i) * D,
                             d_query + b * D);
    }
  });
  std::fill_n(d_w0, D, 0.0f);
  for (Index piece = 0; piece < count; ++piece) simd().axpy(D, 1, partial_.data() + piece * D, d_w0);
}

}  // namespace stamp::cpu
