// Memory for one thread's tiles, kept from call to call so that nothing allocates inside a step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stamp::cpu {

// A thread's buffer number `slot`, at least n values long, from the beginning of a line of the cache: vectors that
// straddle two cost the products a tenth. Contents are left over from the last use.
template <class T, int slot>
T* scratch(std::int64_t n) {
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  thread_local std::vector<Line> buffer;
  const std::size_t lines = (static_cast<std::size_t>(n) * sizeof(T) + sizeof(Line) - 1) / sizeof(Line);
  if (buffer.size() < lines) buffer.resize(lines);
  return reinterpret_cast<T*>(buffer.data());
}

}  // namespace stamp::cpu
