// Stands in for kernels/cuda/native/sort.h: the same functions, by std::stable_sort.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

std::size_t sort_pairs_bytes(int n);
cudaError_t sort_pairs(void* scratch, std::size_t bytes, const std::uint32_t* keys, std::uint32_t* sorted_keys,
                       const std::uint32_t* values, std::uint32_t* sorted_values, int n, int bits, cudaStream_t stream);

std::size_t sort_keys_bytes(int n);
cudaError_t sort_keys(void* scratch, std::size_t bytes, const std::uint64_t* keys, std::uint64_t* sorted_keys, int n,
                      cudaStream_t stream);
