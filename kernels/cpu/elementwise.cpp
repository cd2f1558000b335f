// Kernels that treat every element alone; bound by memory.
#include <cmath>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/scratch.h"
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

void CpuDevice::dropout(Index n, float rate, std::uint64_t seed, std::uint64_t step, float* y) {
  const float kept = 1 / (1 - rate);
  parallel_for_ranges(n, kGrain, threads_, [&](Index first, Index last) {  // kGrain is a multiple of 4
    for (Index i = first; i < last; i += 4) {
      const auto words = philox(seed, step, static_cast<std::uint64_t>(i / 4));
      for (Index j = i; j < last && j < i + 4; ++j) y[j] = uniform(words[j - i]) < rate ? 0 : y[j] * kept;
    }
  });
}

double CpuDevice::squared_norm(Index n, const float* x) {
  const Index pieces = (n + kGrain - 1) / kGrain;
  double* parts = scratch<double, 1>(pieces);
  parallel_for_ranges(n, kGrain, threads_, [&](Index first, Index last) {
    parts[first / kGrain] = simd().squared_norm(last - first, x + first);
  });
  double total = 0;
  for (Index i = 0; i < pieces; ++i) total += parts[i];
  return total;
}

AdamFactors adam_factors(const AdamStep& adam) {
  const double step = static_cast<double>(adam.step);
  return {.beta1 = adam.beta1,
          .beta2 = adam.beta2,
          .epsilon = adam.epsilon,
          .rate = static_cast<float>(adam.learning_rate / (1 - std::pow(double{adam.beta1}, step))),
          .second_scale = static_cast<float>(1 / (1 - std::pow(double{adam.beta2}, step))),
          .shrink = 1 - adam.learning_rate * adam.weight_decay,
          .gradient_scale = adam.gradient_scale};
}

void CpuDevice::adam(Index n, const float* gradient, float* parameters, float* moment1, float* moment2,
                     const AdamStep& adam) {
  const AdamFactors factors = adam_factors(adam);
  parallel_for_ranges(n, kGrain, threads_, [&](Index first, Index last) {
    simd().adam(last - first, gradient + first, parameters + first, moment1 + first, moment2 + first, factors);
  });
}

}  // namespace stamp::cpu
