// The one way that kernels are launched, and errors of CUDA become exceptions.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "stamp/device.h"

namespace stamp::cuda {

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) fail("cuda: ", what, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")");
}

constexpr std::size_t kSharedByDefault = 48 << 10;  // beyond it a kernel must ask

template <class... Parameters, class... Arguments>
void launch(const char* name, cudaStream_t stream, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            std::size_t shared, Arguments... arguments) {
  if (shared > kSharedByDefault)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), name);
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
