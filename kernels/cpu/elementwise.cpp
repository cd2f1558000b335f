// Kernels that treat every element alone; bound by memory.
#include <cmath>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_pool.h"
#include "stamp/philox.h"

namespace stamp::cpu {

namespace {
constexpr Index kGrain = 1 << 15;
}

void CpuDevice::tanh(Index n, float* y) {
  parallel_for_ranges(n, kGrain, threads_, [&](Index first, Index last) { simd().tanh(last - first, y + first); });
}

void CpuDevice::tanh_backward(Index n, const float* y, float* d_y) {
  for (Index i = 0; i < n; ++i) d_y[i] *= 1 - y[i] * y[i];
}

void CpuDevice::add(Index n, const float* x, float* y) {
  for (Index i = 0; i < n; ++i) y[i] += x[i];
}

void CpuDevice::multiply(Index n, const float* a, const float* b, float* y) {
  for (Index i = 0; i < n; ++i) y[i] = a[i] * b[i];
}

void CpuDevice::multiply_backward(Index n, const float* a, const float* b, const float* d_y, float* d_a, float* d_b) {
  for (Index i = 0; i < n; ++i) {
    d_a[i] = d_y[i] * b[i];
    d_b[i] = d_y[i] * a[i];
  }
}

void CpuDevice::dropout(Index n, float rate, std::uint64_t seed, const TrainingStep* step, float* y) {
  const float kept = 1 / (1 - rate);
  parallel_for_ranges(n, kGrain, threads_, [&](Index first, Index last) {  // kGrain is a multiple of 4
    for (Index i = first; i < last; i += 4) {
      const auto words = philox(seed, static_cast<std::uint64_t>(step->number), static_cast<std::uint64_t>(i / 4));
      for (Index j = i; j < last && j < i + 4; ++j) y[j] = uniform(words[j - i]) < rate ? 0 : y[j] * kept;
    }
  });
}

}  // namespace stamp::cpu
