// How stamp reports errors: std::invalid_argument for bad input, std::runtime_error for the machine.
// Messages name the call, the value and what would have been right.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#if defined(__GNUC__)
#define STAMP_API __attribute__((visibility("default")))
#else
#define STAMP_API
#endif

namespace stamp {

// concat("k is ", k, ", expected 1 or more")
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
void require(bool holds, const Parts&... parts) {
  if (!holds) throw std::invalid_argument(concat(parts...));
}

// A file, a bundle or a machine that is not as it should be.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw std::runtime_error(concat(parts...));
}

}  // namespace stamp
