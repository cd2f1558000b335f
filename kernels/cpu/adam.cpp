// The end of a training step: the norm of its gradient, Adam. Bound by memory.
#include "kernels/cpu/adam.h"

#include <cmath>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace stamp::cpu {

namespace {
constexpr Index kGrain = 1 << 15;
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

void CpuDevice::clip_gradient(std::span<const Parameter> parameters, float norm, TrainingStep* step) {
  double squared = 0;
  for (const Parameter& p : parameters) squared += squared_norm(p.n, p.gradient);
  const double length = std::sqrt(squared);
  step->gradient_scale = length > norm ? static_cast<float>(norm / length) : 1.0f;
}

AdamFactors adam_factors(const TrainingStep& step) {
  const double number = static_cast<double>(step.number);
  return {.beta1 = step.beta1,
          .beta2 = step.beta2,
          .epsilon = step.epsilon,
          .rate = static_cast<float>(step.learning_rate / (1 - std::pow(double{step.beta1}, number))),
          .second_scale = static_cast<float>(1 / (1 - std::pow(double{step.beta2}, number))),
          .shrink = 1 - step.learning_rate * step.weight_decay,
          .gradient_scale = step.gradient_scale};
}

void CpuDevice::adam(std::span<const Parameter> parameters, const TrainingStep* step) {
  if (step->stopped) return;
  const AdamFactors factors = adam_factors(*step);
  for (const Parameter& p : parameters)
    parallel_for_ranges(p.n, kGrain, threads_, [&](Index first, Index last) {
      simd().adam(last - first, p.gradient + first, p.value + first, p.moment1 + first, p.moment2 + first, factors);
    });
}

}  // namespace stamp::cpu
