// Memory that is kept from call to call, so that nothing allocates inside a step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stamp::cpu {

// Grows to the largest need, then never again. From the beginning of a line of the cache: vectors that straddle two
// cost the products a tenth.
class Buffer {
 public:
  // At least n values, whose contents are left over from the last use.
  template <class T>
  T* need(std::int64_t n) {
    const std::size_t lines = (static_cast<std::size_t>(n) * sizeof(T) + sizeof(Line) - 1) / sizeof(Line);
    if (lines_.size() < lines) lines_.resize(lines);
    return reinterpret_cast<T*>(lines_.data());
  }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> lines_;
};

// A thread's buffer number `slot` for its tiles.
template <class T, int slot>
T* scratch(std::int64_t n) {
  thread_local Buffer buffer;
  return buffer.need<T>(n);
}

}  // namespace stamp::cpu
