// Adam on elements, for the kernel of that name and for the owners of item rows: the same bits from both, so every
// product that is added to something says how it is rounded, and no compiler chooses.
#pragma once

#include <cuda_runtime.h>

#include <cmath>

#include "stamp/device.h"

namespace stamp::cuda {

struct AdamFactors {
  float beta1, beta2, epsilon;
  float rate;          // learning rate / (1 - beta1^number)
  float second_scale;  // 1 / (1 - beta2^number)
  float shrink;        // 1 - learning rate * weight decay
  float gradient_scale;
};

__device__ inline AdamFactors adam_factors(const TrainingStep& step) {
  const double number = static_cast<double>(step.number);
  return {step.beta1,
          step.beta2,
          step.epsilon,
          static_cast<float>(step.learning_rate / (1 - pow(static_cast<double>(step.beta1), number))),
          static_cast<float>(1 / (1 - pow(static_cast<double>(step.beta2), number))),
          fmaf(-step.learning_rate, step.weight_decay, 1.0f),
          step.gradient_scale};
}

// Elements first, first + step and so on below n, eight at a time so that their loads are under way together.
template <class Gradient>
__device__ void adam_elements(const AdamFactors& f, std::int64_t first, std::int64_t step, std::int64_t n, float* value,
                              float* moment1, float* moment2, Gradient&& gradient) {
  constexpr int kAtOnce = 8;
  for (std::int64_t begin = first; begin < n; begin += kAtOnce * step) {
    float g[kAtOnce], p[kAtOnce], m[kAtOnce], v[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const std::int64_t i = begin + j * step;
      if (i >= n) continue;
      g[j] = gradient(i) * f.gradient_scale;
      p[j] = value[i];
      m[j] = moment1[i];
      v[j] = moment2[i];
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const std::int64_t i = begin + j * step;
      if (i >= n) continue;
      m[j] = fmaf(f.beta1, m[j], (1 - f.beta1) * g[j]);
      v[j] = fmaf(f.beta2, v[j], (1 - f.beta2) * g[j] * g[j]);
      moment1[i] = m[j];
      moment2[i] = v[j];
      value[i] = fmaf(p[j], f.shrink, -(f.rate * m[j] / (sqrtf(v[j] * f.second_scale) + f.epsilon)));
    }
  }
}

}  // namespace stamp::cuda
