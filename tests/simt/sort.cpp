#include <sort.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace {

// The device's scratch holds a copy of what is sorted; here it is only spoiled, for those who keep something in it.
cudaError_t enqueue(void* scratch, std::size_t bytes, std::size_t needed, cudaStream_t stream,
                    std::function<void()> sort) {
  if (!scratch || bytes < needed) return cudaErrorInvalidValue;
  return simt::enqueue(stream, [=, sort = std::move(sort)] {
    std::memset(scratch, 0xff, bytes);
    simt::mark_written(scratch, bytes);
    sort();
  });
}

template <class T>
std::vector<T> read(const T* array, int n, const char* reader) {
  simt::check_written(array, n * sizeof(T), reader);
  return {array, array + n};
}

}  // namespace

std::size_t sort_pairs_bytes(int n) { return 256 + 2 * sizeof(std::uint32_t) * n; }

cudaError_t sort_pairs(void* scratch, std::size_t bytes, const std::uint32_t* keys, std::uint32_t* sorted_keys,
                       const std::uint32_t* values, std::uint32_t* sorted_values, int n, int bits,
                       cudaStream_t stream) {
  if (n < 0 || bits < 1 || bits > 32) return cudaErrorInvalidValue;
  return enqueue(scratch, bytes, sort_pairs_bytes(n), stream, [=] {
    const auto from_keys = read(keys, n, "sort_pairs"), from_values = read(values, n, "sort_pairs");
    std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
    for (int i = 0; i < n; ++i) pairs.emplace_back(from_keys[i], from_values[i]);
    const std::uint32_t low = ~0u >> (32 - bits);
    std::stable_sort(pairs.begin(), pairs.end(),
                     [&](const auto& a, const auto& b) { return (a.first & low) < (b.first & low); });
    for (int i = 0; i < n; ++i) std::tie(sorted_keys[i], sorted_values[i]) = pairs[i];
    simt::mark_written(sorted_keys, n * sizeof *sorted_keys);
    simt::mark_written(sorted_values, n * sizeof *sorted_values);
  });
}

std::size_t sort_keys_bytes(int n) { return 256 + sizeof(std::uint64_t) * n; }

cudaError_t sort_keys(void* scratch, std::size_t bytes, const std::uint64_t* keys, std::uint64_t* sorted_keys, int n,
                      cudaStream_t stream) {
  if (n < 0) return cudaErrorInvalidValue;
  return enqueue(scratch, bytes, sort_keys_bytes(n), stream, [=] {
    auto sorted = read(keys, n, "sort_keys");
    std::sort(sorted.begin(), sorted.end());
    std::copy(sorted.begin(), sorted.end(), sorted_keys);
    simt::mark_written(sorted_keys, n * sizeof *sorted_keys);
  });
}
