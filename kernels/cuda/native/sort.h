// Sorting, by CUB: nothing allocates, nothing waits, and a graph may capture it. The simulator has a header of this
// name for g++, as it cannot compile CUB.
#pragma once

#include <cub/device/device_radix_sort.cuh>

#include <cstddef>
#include <cstdint>

// Bytes of scratch that sort_pairs needs for n pairs, whatever the bits.
inline std::size_t sort_pairs_bytes(int n) {
  std::size_t bytes = 0;
  const std::uint32_t* from = nullptr;
  std::uint32_t* to = nullptr;
  cub::DeviceRadixSort::SortPairs(nullptr, bytes, from, to, from, to, n);
  return bytes;
}

// Ascending by the lowest `bits` bits of the keys, 1 to 32; of equal keys, the first stays first. The arrays must not
// overlap.
inline cudaError_t sort_pairs(void* scratch, std::size_t bytes, const std::uint32_t* keys, std::uint32_t* sorted_keys,
                              const std::uint32_t* values, std::uint32_t* sorted_values, int n, int bits,
                              cudaStream_t stream) {
  return cub::DeviceRadixSort::SortPairs(scratch, bytes, keys, sorted_keys, values, sorted_values, n, 0, bits, stream);
}

// The same for keys alone, by all their 64 bits.
inline std::size_t sort_keys_bytes(int n) {
  std::size_t bytes = 0;
  const std::uint64_t* from = nullptr;
  std::uint64_t* to = nullptr;
  cub::DeviceRadixSort::SortKeys(nullptr, bytes, from, to, n);
  return bytes;
}

inline cudaError_t sort_keys(void* scratch, std::size_t bytes, const std::uint64_t* keys, std::uint64_t* sorted_keys,
                             int n, cudaStream_t stream) {
  return cub::DeviceRadixSort::SortKeys(scratch, bytes, keys, sorted_keys, n, 0, 64, stream);
}
