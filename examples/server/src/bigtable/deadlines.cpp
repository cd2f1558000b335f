#include "deadlines.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace server::bigtable {

Deadlines::Deadlines() : thread_([this] { run(); }) {}

Deadlines::~Deadlines() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Deadlines::add(const std::shared_ptr<Waiting>& waiting) {
  const std::lock_guard lock(mutex_);
  waiting_.emplace(std::pair(waiting->deadline(), waiting.get()), waiting);
  if (waiting->deadline() < looks_) changed_.notify_all();
}

void Deadlines::remove(const Waiting& waiting) {
  const std::lock_guard lock(mutex_);
  waiting_.erase({waiting.deadline(), &waiting});
}

std::size_t Deadlines::size() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

void Deadlines::run() {
  const auto error = std::make_exception_ptr(StoreUnavailable("Bigtable did not answer in time"));
  std::vector<std::shared_ptr<Waiting>> late;
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const Deadline now = std::chrono::steady_clock::now();
    while (!waiting_.empty() && waiting_.begin()->first.first <= now) {
      late.push_back(std::move(waiting_.begin()->second));
      waiting_.erase(waiting_.begin());
    }
    if (!late.empty()) {
      lock.unlock();
      for (const auto& waiting : late) waiting->fail(error);
      late.clear();
      lock.lock();
      continue;
    }
    if (waiting_.empty()) {
      looks_ = Deadline::max();
      changed_.wait(lock);
    } else {
      looks_ = std::max(waiting_.begin()->first.first, now + std::chrono::milliseconds(1));
      changed_.wait_until(lock, looks_);
    }
  }
}

}  // namespace server::bigtable
