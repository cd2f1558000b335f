// A thread that yields to all others: for work that nobody waits for.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace server {

// It has stepped aside (priority.h). One for all of its work, so that what this leaves in the allocator's arena of the
// thread is used again.
class LowPriorityThread {
 public:
  LowPriorityThread();
  ~LowPriorityThread();

  // Returns when the work is done, or throws what it throws. For one caller at a time.
  void run(const std::function<void()>& work);

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void()>* work_ = nullptr;
  std::exception_ptr error_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace server
