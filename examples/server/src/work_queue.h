// Threads for work that must not hold up those that read requests.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace server {

// Thread-safe. Work is begun in the order in which it came, and must not throw.
class WorkQueue {
 public:
  explicit WorkQueue(std::size_t most, int threads = 1);  // most: that waits
  ~WorkQueue();                                           // stops, if it has not

  bool add(std::function<void()> work);  // false: too much waits, or it has been stopped
  void stop();                           // does what waits, then no more

 private:
  void run();

  const std::size_t most_;
  std::mutex mutex_;
  std::condition_variable some_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace server
