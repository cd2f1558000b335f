// One pool for the process. Work is cut by its size, never by the number of threads, so results do not depend on it.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace stamp::cpu {

// A callable that outlives the call it is passed to: what std::function is, without its allocation.
template <class Signature>
class FunctionRef;

template <class... Arguments>
class FunctionRef<void(Arguments...)> {
 public:
  template <class F>
  FunctionRef(const F& function)
      : function_(std::addressof(function)),
        call_([](const void* f, Arguments... arguments) { (*static_cast<const F*>(f))(arguments...); }) {}
  void operator()(Arguments... arguments) const { call_(function_, arguments...); }

 private:
  const void* function_;
  void (*call_)(const void*, Arguments...);
};

// Calls work(i) for every i in [0, n) on at most `threads` threads (0: all), the caller's among them. When the pool is
// busy with somebody else's work, or was inherited through fork, the caller does not wait for it.
// The first exception is rethrown here.
void parallel_for(std::int64_t n, int threads, FunctionRef<void(std::int64_t)> work);

// The same over pieces of [0, n) of `grain`: work(first, last).
void parallel_for_ranges(std::int64_t n, std::int64_t grain, int threads,
                         FunctionRef<void(std::int64_t, std::int64_t)> work);

}  // namespace stamp::cpu
