// Fails whoever has had no answer by the deadline, whatever a call is doing.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "visits.h"

namespace server::bigtable {

// One who waits for the store: answered once, by whoever is first.
class Waiting {
 public:
  Waiting(Deadline deadline, Deadline now) : deadline_(deadline), half_(now + (deadline - now) / 2) {}
  virtual ~Waiting() = default;

  Deadline deadline() const { return deadline_; }
  bool half_is_left(Deadline now) const { return now <= half_; }
  bool answered() const { return answered_.load(); }
  // Nothing if it is answered.
  void fail(const std::exception_ptr& error) {
    if (claim()) failed(error);
  }

 protected:
  bool claim() { return !answered_.exchange(true); }
  virtual void failed(const std::exception_ptr& error) = 0;

 private:
  const Deadline deadline_;
  const Deadline half_;
  std::atomic<bool> answered_{false};
};

// Thread-safe. A thread looks at most each millisecond.
class Deadlines {
 public:
  Deadlines();
  ~Deadlines();  // whoever waits is left alone

  void add(const std::shared_ptr<Waiting>& waiting);
  void remove(const Waiting& waiting);
  std::size_t size() const;

 private:
  void run();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  std::map<std::pair<Deadline, const Waiting*>, std::shared_ptr<Waiting>> waiting_;
  Deadline looks_ = Deadline::max();  // when the thread looks next
  std::thread thread_;
};

}  // namespace server::bigtable
