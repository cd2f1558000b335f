// Adam on elements, for the kernel of that name and for the owners of item rows: the same bits from both, so every
// product that is added to something says how it is rounded, and no compiler chooses.
#pragma once

#include <cuda_runtime.h>
#include <ptx.h>

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

// The element's new value. Factors come by value, here and below: what is stored might be them. Square root and
// quotient are off by 2 units in the last place at most, as exact ones would cost half of the instructions.
__device__ inline float adam(AdamFactors f, float gradient, float value, float& moment1, float& moment2) {
  const float g = gradient * f.gradient_scale;
  moment1 = fmaf(f.beta1, moment1, (1 - f.beta1) * g);
  moment2 = fmaf(f.beta2, moment2, (1 - f.beta2) * g * g);
  return fmaf(value, f.shrink, -divide_approx(f.rate * moment1, sqrt_approx(moment2 * f.second_scale) + f.epsilon));
}

// Elements of Adam by `threads` of which this is number `thread`: arrays that are aligned to 16 bytes. Where `kept` is
// not null the new values go there too; it may be `gradient`.
struct AdamElements {
  const float* gradient;
  float *value, *moment1, *moment2, *kept;

  __device__ void update(AdamFactors f, std::int64_t i) const {
    const float updated = adam(f, gradient[i], value[i], moment1[i], moment2[i]);
    value[i] = updated;
    if (kept) kept[i] = updated;
  }

  // Fours of elements first, first + step and so on, so many that their loads are under way together.
  template <int count>
  __device__ void update_fours(AdamFactors f, std::int64_t first, std::int64_t step) const {
    const auto of = [&](float* x, int j) -> float4& { return reinterpret_cast<float4*>(x)[first + j * step]; };
    float4 g[count], p[count], m[count], v[count];
#pragma unroll
    for (int j = 0; j < count; ++j) {
      p[j] = of(value, j);
      m[j] = of(moment1, j);
      v[j] = of(moment2, j);
      g[j] = reinterpret_cast<const float4*>(gradient)[first + j * step];
    }
#pragma unroll
    for (int j = 0; j < count; ++j) {
      p[j].x = adam(f, g[j].x, p[j].x, m[j].x, v[j].x);
      p[j].y = adam(f, g[j].y, p[j].y, m[j].y, v[j].y);
      p[j].z = adam(f, g[j].z, p[j].z, m[j].z, v[j].z);
      p[j].w = adam(f, g[j].w, p[j].w, m[j].w, v[j].w);
      of(moment1, j) = m[j];
      of(moment2, j) = v[j];
      of(value, j) = p[j];
      if (kept) of(kept, j) = p[j];
    }
  }

  template <int kAtOnce>
  __device__ void update(AdamFactors f, std::int64_t thread, std::int64_t threads, std::int64_t n) const {
    std::int64_t four = thread;
#pragma unroll 1
    for (; four + (kAtOnce - 1) * threads < n / 4; four += kAtOnce * threads) update_fours<kAtOnce>(f, four, threads);
#pragma unroll 1
    for (; four < n / 4; four += threads) update_fours<1>(f, four, threads);
    if (n / 4 * 4 + thread < n) update(f, n / 4 * 4 + thread);
  }
};

}  // namespace stamp::cuda
