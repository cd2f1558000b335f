// Adam on one element, for the kernel of that name and for the owners of item rows.
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
          1 - step.learning_rate * step.weight_decay,
          step.gradient_scale};
}

__device__ inline void adam_element(const AdamFactors& f, float gradient, float& value, float& moment1,
                                    float& moment2) {
  const float g = gradient * f.gradient_scale;
  const float m = f.beta1 * moment1 + (1 - f.beta1) * g;
  const float v = f.beta2 * moment2 + (1 - f.beta2) * g * g;
  moment1 = m;
  moment2 = v;
  value = value * f.shrink - f.rate * m / (sqrtf(v * f.second_scale) + f.epsilon);
}

}  // namespace stamp::cuda
