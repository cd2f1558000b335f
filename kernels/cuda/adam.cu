// The end of a training step: the norm of its gradient, Adam.
//
//   scale = min(1, norm / |all gradients|)
//   m = β1 m + (1-β1) g    v = β2 v + (1-β2) g²    p = (1 - lr·decay) p - lr m' / (√v' + ε)
//
// Sums in double, by a fixed number of blocks and in their order. Adam: all tensors in one launch, 28 bytes an element,
// bound by memory.
#include "kernels/cuda/adam.h"

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/last_block.h"

namespace stamp::cuda {
namespace {

constexpr int kParts = 64;            // of a tensor whose norm is taken
constexpr std::size_t kTensors = 16;  // of a model, at most

struct Tensors {
  Parameter tensor[kTensors];
  int count;
};

Tensors tensors_of(std::span<const Parameter> parameters) {
  require(parameters.size() <= kTensors, "cuda: ", parameters.size(), " tensors, expected ", kTensors, " or fewer");
  Tensors tensors{};
  for (const Parameter& parameter : parameters) tensors.tensor[tensors.count++] = parameter;
  return tensors;
}

__global__ void squared_norms_kernel(Tensors tensors, double* sums) {
  const Parameter& p = tensors.tensor[blockIdx.y];
  double squared = 0;
  for (Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x; i < p.n; i += Index{kParts} * kThreads)
    squared += static_cast<double>(p.gradient[i]) * p.gradient[i];
  squared = block_sum(squared);
  if (threadIdx.x == 0) sums[blockIdx.y * kParts + blockIdx.x] = squared;
}

__global__ void gradient_scale_kernel(int n, const double* sums, float norm, TrainingStep* step) {
  double squared = 0;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) squared += sums[i];
  squared = block_sum(squared);
  if (threadIdx.x != 0) return;
  const double length = sqrt(squared);
  step->gradient_scale = length > norm ? static_cast<float>(norm / length) : 1.0f;
}

__global__ void adam_kernel(Tensors tensors, const TrainingStep* step) {
  if (step->stopped) return;
  __shared__ AdamFactors factors;
  if (threadIdx.x == 0) factors = adam_factors(*step);
  __syncthreads();
  const Parameter& p = tensors.tensor[blockIdx.y];
  AdamElements{p.gradient, p.value, p.moment1, p.moment2, nullptr}.update<2>(
      factors, static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x, static_cast<Index>(gridDim.x) * kThreads, p.n);
}

}  // namespace

double CudaDevice::squared_norm(Index n, const float* x) {
  const Parameter whole{n, nullptr, const_cast<float*>(x), nullptr, nullptr};
  double* sums = sums_.need(kTensors * kParts);
  launch("squared_norm", squared_norms_kernel, dim3(kParts), dim3(kThreads), 0, tensors_of(std::span(&whole, 1)), sums);
  double parts[kParts], squared = 0;
  copy_out(parts, sums, sizeof parts);
  for (double part : parts) squared += part;
  return squared;
}

void CudaDevice::clip_gradient(std::span<const Parameter> parameters, float norm, TrainingStep* step) {
  const auto count = static_cast<unsigned>(parameters.size());
  double* sums = sums_.need(kTensors * kParts);
  launch("clip_gradient's norms", squared_norms_kernel, dim3(kParts, count), dim3(kThreads), 0, tensors_of(parameters),
         sums);
  launch("clip_gradient", gradient_scale_kernel, dim3(1), dim3(kThreads), 0, static_cast<int>(count * kParts), sums,
         norm, step);
}

void CudaDevice::adam(std::span<const Parameter> parameters, const TrainingStep* step) {
  Index largest = 0;
  for (const Parameter& p : parameters) largest = std::max(largest, p.n);
  const Index blocks = std::min<Index>((largest / 4 + kThreads) / kThreads, 8 * multiprocessors_);
  launch("adam", adam_kernel, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(parameters.size())),
         dim3(kThreads), 0, tensors_of(parameters), step);
}

}  // namespace stamp::cuda
