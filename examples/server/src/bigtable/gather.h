// Requests to one table, so that those which come while calls are in flight go together with the next.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace server::bigtable {

// A Request says whether it is `answered()` already and whether it can go `together_with(first)`. Thread-safe.
template <class Request>
class Gather {
 public:
  using Requests = std::vector<std::shared_ptr<Request>>;
  using Start = std::function<void(Requests)>;

  // `start` begins a call for requests and sees to it that ended() is called after it, once.
  Gather(int calls, int requests_per_call, std::size_t max_waiting, Start start)
      : free_(calls), requests_per_call_(requests_per_call), max_waiting_(max_waiting), start_(std::move(start)) {}

  // Before it nothing starts.
  void open() {
    std::unique_lock lock(mutex_);
    open_ = true;
    start_those_that_wait(lock);
  }
  // False: as many wait as may, or it is closed.
  bool add(std::shared_ptr<Request> request) {
    std::unique_lock lock(mutex_);
    if (closed_ || waiting_.size() >= max_waiting_) return false;
    waiting_.push_back(std::move(request));
    start_those_that_wait(lock);
    return true;
  }
  void ended() {
    std::unique_lock lock(mutex_);
    ++free_;
    start_those_that_wait(lock);
  }
  // Takes no more and starts no more; gives back what waits.
  Requests close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    return take(waiting_.size());
  }

 private:
  void start_those_that_wait(std::unique_lock<std::mutex>& lock) {
    while (open_ && free_ > 0) {
      Requests requests = take(requests_per_call_);
      if (requests.empty()) return;
      --free_;
      lock.unlock();
      start_(std::move(requests));
      lock.lock();
    }
  }
  Requests take(std::size_t most) {
    Requests requests;
    while (!waiting_.empty() && requests.size() < most) {
      std::shared_ptr<Request>& next = waiting_.front();
      if (!next->answered()) {
        if (!closed_ && !requests.empty() && !next->together_with(*requests.front())) break;
        requests.push_back(std::move(next));
      }
      waiting_.pop_front();
    }
    return requests;
  }

  mutable std::mutex mutex_;
  std::deque<std::shared_ptr<Request>> waiting_;
  bool open_ = false;
  bool closed_ = false;
  int free_;
  const std::size_t requests_per_call_;
  const std::size_t max_waiting_;
  const Start start_;
};

}  // namespace server::bigtable
