// One pool for the process. Work is cut by its size, never by the number of threads, so results do not depend on it.
#pragma once

#include <cstdint>
#include <functional>

namespace stamp::cpu {

// Calls work(i) for every i in [0, n) on at most `threads` threads (0: all), the caller's among them. When the pool is
// busy with somebody else's work, or was inherited through fork, the caller does not wait for it.
// The first exception is rethrown here.
void parallel_for(std::int64_t n, int threads, const std::function<void(std::int64_t)>& work);

// The same over pieces of [0, n) of `grain`: work(first, last).
void parallel_for_ranges(std::int64_t n, std::int64_t grain, int threads,
                         const std::function<void(std::int64_t, std::int64_t)>& work);

}  // namespace stamp::cpu
