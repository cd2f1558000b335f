// Kernels of a test, launched and waited for.
#pragma once

#include <cuda_runtime.h>
#include <doctest/doctest.h>

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, Arguments... arguments) {
  const cudaLaunchConfig_t config{grid, block, shared, nullptr};
  REQUIRE(cudaLaunchKernelEx(&config, kernel, arguments...) == cudaSuccess);
  cudaDeviceSynchronize();
}
