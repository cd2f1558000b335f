// What the 32 threads of a warp do together. Sums have one order, so they are the same on every run.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace stamp::cuda {

constexpr int kWarp = 32;
constexpr int kWarps = 8;  // of a block whose warps work alone
constexpr int kThreads = kWarp * kWarps;
constexpr unsigned kAll = 0xffffffff;

__device__ inline int lane_index() { return static_cast<int>(threadIdx.x) % kWarp; }

// Number of this warp among those of the grid, in blocks of kThreads.
__device__ inline std::int64_t warp_index() {
  return static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
}

template <class T>
__device__ T warp_sum(T value) {
  for (int bits = kWarp / 2; bits > 0; bits /= 2) value += __shfl_xor_sync(kAll, value, bits);
  return value;
}

// Several sums, whose shuffles are under way together.
template <int n>
__device__ void warp_sums(float (&values)[n]) {
  for (int bits = kWarp / 2; bits > 0; bits /= 2)
#pragma unroll
    for (int i = 0; i < n; ++i) values[i] += __shfl_xor_sync(kAll, values[i], bits);
}

__device__ inline float warp_max(float value) {
  for (int bits = kWarp / 2; bits > 0; bits /= 2) value = fmaxf(value, __shfl_xor_sync(kAll, value, bits));
  return value;
}

// x · y over n values by a warp; the same bits in every kernel.
__device__ inline float warp_dot(std::int64_t n, const float* x, const float* y) {
  float sum = 0;
  for (std::int64_t i = lane_index(); i < n; i += kWarp) sum = fmaf(x[i], y[i], sum);
  return warp_sum(sum);
}

// What a row of this squared length is multiplied by so that its length is 1; zero rows stay zero.
__device__ inline float unit_scale(float squared) { return squared > 0 ? 1 / sqrtf(squared) : 0.0f; }

// First of n non-falling values at or above `bound`, or n; value(i) gives them.
template <class Value, class T>
__device__ std::int64_t lower_bound(std::int64_t n, T bound, Value&& value) {
  std::int64_t first = 0;
  while (n > 0) {
    const std::int64_t half = n / 2;
    if (value(first + half) < bound) {
      first += half + 1;
      n -= half + 1;
    } else {
      n = half;
    }
  }
  return first;
}

}  // namespace stamp::cuda
