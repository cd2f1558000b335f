#include "recent_requests.h"

namespace server {

namespace {

constexpr std::size_t kKept = 100;
constexpr std::uint64_t kEvery = 16;
constexpr std::size_t kMostIds = 1000;  // of a request, so that what is kept stays small

}  // namespace

void RecentRequests::add(const stamp::Request& request) {
  const std::uint64_t n = seen_.fetch_add(1, std::memory_order_relaxed);
  if (n >= kKept && n % kEvery != 0) return;
  if (request.events.size() + request.bought.size() + request.exclude.size() +
          (request.only ? request.only->size() : 0) >
      kMostIds)
    return;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return;
  if (kept_.size() < kKept) {
    kept_.push_back(request);
  } else {
    kept_[next_] = request;
    next_ = (next_ + 1) % kKept;
  }
}

std::vector<stamp::Request> RecentRequests::all() const {
  const std::lock_guard lock(mutex_);
  return kept_;
}

}  // namespace server
