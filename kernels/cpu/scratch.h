// Memory for one thread's tiles, kept from call to call so that nothing allocates inside a step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stamp::cpu {

// A thread's buffer number `slot`, at least n values long. Contents are left over from the last use.
template <class T, int slot>
T* scratch(std::int64_t n) {
  thread_local std::vector<T> buffer;
  if (static_cast<std::int64_t>(buffer.size()) < n) buffer.resize(static_cast<std::size_t>(n));
  return buffer.data();
}

}  // namespace stamp::cpu
