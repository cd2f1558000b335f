// Kernels that treat every element alone, one a thread. Bound by memory, 8 to 20 bytes an element; a batch's B·D
// elements take less than a launch does.
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"
#include "stamp/philox.h"

namespace stamp::cuda {
namespace {

__device__ Index element() { return static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x; }

__global__ void tanh_kernel(Index n, float* y) {
  if (const Index i = element(); i < n) y[i] = tanhf(y[i]);
}

__global__ void tanh_backward_kernel(Index n, const float* y, float* d_y) {
  if (const Index i = element(); i < n) d_y[i] *= 1 - y[i] * y[i];
}

__global__ void add_kernel(Index n, const float* x, float* y) {
  if (const Index i = element(); i < n) y[i] += x[i];
}

__global__ void multiply_kernel(Index n, const float* a, const float* b, float* y) {
  if (const Index i = element(); i < n) y[i] = a[i] * b[i];
}

__global__ void multiply_backward_kernel(Index n, const float* a, const float* b, const float* d_y, float* d_a,
                                         float* d_b) {
  if (const Index i = element(); i < n) {
    const float d = d_y[i];
    d_a[i] = d * b[i];
    d_b[i] = d * a[i];
  }
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

void CudaDevice::tanh(Index n, float* y) {
  launch("tanh", tanh_kernel, blocks_for(n, kThreads), dim3(kThreads), 0, n, y);
}

void CudaDevice::tanh_backward(Index n, const float* y, float* d_y) {
  launch("tanh_backward", tanh_backward_kernel, blocks_for(n, kThreads), dim3(kThreads), 0, n, y, d_y);
}

void CudaDevice::add(Index n, const float* x, float* y) {
  launch("add", add_kernel, blocks_for(n, kThreads), dim3(kThreads), 0, n, x, y);
}

void CudaDevice::multiply(Index n, const float* a, const float* b, float* y) {
  launch("multiply", multiply_kernel, blocks_for(n, kThreads), dim3(kThreads), 0, n, a, b, y);
}

void CudaDevice::multiply_backward(Index n, const float* a, const float* b, const float* d_y, float* d_a, float* d_b) {
  launch("multiply_backward", multiply_backward_kernel, blocks_for(n, kThreads), dim3(kThreads), 0, n, a, b, d_y, d_a,
         d_b);
}

void CudaDevice::dropout(Index n, float rate, std::uint64_t seed, const TrainingStep* step, float* y) {
  launch("dropout", dropout_kernel, blocks_for((n + 3) / 4, kThreads), dim3(kThreads), 0, n, rate, 1 / (1 - rate), seed,
         step, y);
}

}  // namespace stamp::cuda
