#include "low_priority_thread.h"

#include <utility>

#include "priority.h"

namespace server {

LowPriorityThread::LowPriorityThread() : thread_([this] { loop(); }) {}

LowPriorityThread::~LowPriorityThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void LowPriorityThread::run(const std::function<void()>& work) {
  std::unique_lock lock(mutex_);
  work_ = &work;
  wake_.notify_one();
  done_.wait(lock, [this] { return !work_; });
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void LowPriorityThread::loop() {
  step_aside();
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || work_; });
    if (stopping_) return;
    lock.unlock();
    std::exception_ptr error;
    try {
      (*work_)();
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    error_ = std::move(error);
    work_ = nullptr;
    done_.notify_one();
  }
}

}  // namespace server
