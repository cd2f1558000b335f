// Kernels that treat every element alone, one a thread or four. Bound by memory, 8 to 12 bytes an element; a batch's
// B·D elements take less than a launch does.
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"
#include "stamp/philox.h"

namespace stamp::cuda {
namespace {

__device__ Index element() { return static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x; }

__global__ void add_kernel(Index n, const float* x, float* y) {
  if (const Index i = element(); i < n) y[i] += x[i];
}

// Four elements a thread, as many as Philox gives words.
__global__ void dropout_kernel(Index n, float rate, float kept, std::uint64_t seed, const TrainingStep* step,
                               float* y) {
  const Index group = element();
  if (group * 4 >= n) return;
  const auto words = philox(seed, static_cast<std::uint64_t>(step->number), static_cast<std::uint64_t>(group));
  for (int j = 0; j < 4; ++j)
    if (const Index i = group * 4 + j; i < n) y[i] = uniform(words[j]) < rate ? 0.0f : y[i] * kept;
}

}  // namespace

void CudaDevice::add(Index n, const float* x, float* y) {
  launch("add", add_kernel, blocks_for(n, kThreads), dim3(kThreads), 0, n, x, y);
}

void CudaDevice::dropout(Index n, float rate, std::uint64_t seed, const TrainingStep* step, float* y) {
  launch("dropout", dropout_kernel, blocks_for((n + 3) / 4, kThreads), dim3(kThreads), 0, n, rate, 1 / (1 - rate), seed,
         step, y);
}

}  // namespace stamp::cuda
