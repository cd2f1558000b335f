// The one way that kernels are launched, and errors of CUDA become exceptions.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <mutex>

#include "stamp/device.h"

namespace stamp::cuda {

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // so that no later call finds it
  fail("cuda: ", what, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")");
}

// A block has 48 KiB of shared memory, static (32 KiB at most, here) and dynamic together, unless its kernel asked for
// more. Asking only ever raises the bound, as other threads launch the same kernel.
constexpr std::size_t kSharedUnasked = 16 << 10;
template <class Kernel>
void allow_shared(const char* name, Kernel kernel, std::size_t bytes) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  cudaFuncAttributes attributes;
  check(cudaFuncGetAttributes(&attributes, kernel), name);
  if (static_cast<std::size_t>(attributes.maxDynamicSharedSizeBytes) < bytes)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), name);
}

template <class... Parameters, class... Arguments>
void launch(const char* name, cudaStream_t stream, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            std::size_t shared, Arguments... arguments) {
  if (shared > kSharedUnasked) allow_shared(name, kernel, shared);
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

// Blocks of `size` for n threads.
inline dim3 blocks_for(std::int64_t n, std::int64_t size) { return dim3(static_cast<unsigned>((n + size - 1) / size)); }

}  // namespace stamp::cuda
