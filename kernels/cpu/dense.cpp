// The small dense products, N up to a few thousand rows, D x D weights: compute-bound.
#include <algorithm>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_pool.h"

namespace stamp::cpu {

namespace {
constexpr Index kRows = 128;  // rows of x that one piece of work takes
}

void CpuDevice::linear(Index N, Index in, Index out, const float* x, const float* w, float* y, bool accumulate) {
  if (N <= kRows) return simd().linear(N, in, out, x, w, y, accumulate);
  float* transposed = scratch<float, 0>(in * out);  // [in,out]: the microkernel wants lines of outputs
  simd().transpose(out, in, w, in, transposed, out);
  parallel_for_ranges(N, kRows, threads_, [&](Index first, Index last) {
    simd().gemm(last - first, out, in, x + first * in, in, 1, transposed, out, y + first * out, out, accumulate);
  });
}

void CpuDevice::linear_backward(Index N, Index in, Index out, const float* x, const float* w, const float* d_y,
                                float* d_x, bool accumulate_d_x, float* d_w) {
  parallel_for_ranges(N, kRows, threads_, [&](Index first, Index last) {
    simd().gemm(last - first, in, out, d_y + first * out, out, 1, w, in, d_x + first * in, in, accumulate_d_x);
  });
  constexpr Index kOutputs = 32;
  parallel_for_ranges(out, kOutputs, threads_, [&](Index first, Index last) {
    simd().gemm(last - first, in, N, d_y + first, 1, out, x, in, d_w + first * in, in, false);
  });
}

void CpuDevice::add_bias(Index N, Index D, const float* bias, float* y) {
  for (Index n = 0; n < N; ++n) simd().axpy(D, 1, bias, y + n * D);
}

void CpuDevice::add_bias_backward(Index N, Index D, const float* d_y, float* d_bias) {
  std::fill_n(d_bias, D, 0.0f);
  for (Index n = 0; n < N; ++n) simd().axpy(D, 1, d_y + n * D, d_bias);
}

void CpuDevice::add_preferences(Index N, Index D, Index K, const float* preferences, const float* rows, float* y) {
  for (Index n = 0; n < N; ++n)
    for (Index k = 0; k < K; ++k) simd().axpy(D, preferences[n * K + k], rows + k * D, y + n * D);
}

void CpuDevice::add_preferences_backward(Index N, Index D, Index K, const float* preferences, const float* d_y,
                                         float* d_rows) {
  std::fill_n(d_rows, K * D, 0.0f);
  for (Index n = 0; n < N; ++n)
    for (Index k = 0; k < K; ++k) simd().axpy(D, preferences[n * K + k], d_y + n * D, d_rows + k * D);
}

}  // namespace stamp::cpu
