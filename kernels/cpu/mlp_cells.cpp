// The end of the two MLP cells: biases, tanh and their product. Bound by the tanh.
#include <utility>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_pool.h"

namespace stamp::cpu {

namespace {
constexpr Index kRows = 64;
constexpr Index kGrain = 1 << 15;
}  // namespace

void CpuDevice::mlp_cells(Index B, Index D, const float* session_bias, const float* anchor_bias, float* h_s, float* h_t,
                          float* product) {
  parallel_for_ranges(B, kRows, threads_, [&](Index first, Index last) {
    for (const auto& [h, bias] : {std::pair{h_s, session_bias}, std::pair{h_t, anchor_bias}}) {
      for (Index b = first; b < last && bias; ++b) simd().axpy(D, 1, bias, h + b * D);
      simd().tanh((last - first) * D, h + first * D);
    }
    for (Index i = first * D; i < last * D; ++i) product[i] = h_s[i] * h_t[i];
  });
}

void CpuDevice::mlp_cells_backward(Index n, const float* h_s, const float* h_t, const float* d_product, float* d_h_s,
                                   float* d_h_t) {
  parallel_for_ranges(n, kGrain, threads_, [&](Index first, Index last) {
    for (Index i = first; i < last; ++i) {
      d_h_s[i] = d_product[i] * h_t[i] * (1 - h_s[i] * h_s[i]);
      d_h_t[i] = d_product[i] * h_s[i] * (1 - h_t[i] * h_t[i]);
    }
  });
}

}  // namespace stamp::cpu
