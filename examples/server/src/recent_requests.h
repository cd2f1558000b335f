// Some of the latest requests, to warm a new release with before it answers: events and rules, nobody's name.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "stamp/recommender.h"

namespace server {

// Thread-safe, and nobody waits for anybody.
class RecentRequests {
 public:
  // Keeps the first requests, then one of sixteen, in the place of the oldest.
  void add(const stamp::Request& request);
  std::vector<stamp::Request> all() const;

 private:
  std::atomic<std::uint64_t> seen_{0};
  mutable std::mutex mutex_;
  std::vector<stamp::Request> kept_;
  std::size_t next_ = 0;  // whose place is taken
};

}  // namespace server
