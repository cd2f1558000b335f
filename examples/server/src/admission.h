// Who is let in, and what for: requests that would wait in vain are refused at the door, and before that answers do
// without what is dear.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace server {

struct AdmissionOptions {
  int max_in_flight = 4096;
  int queue_ms = 10;  // a request that would wait longer is refused
};

// By Little's law a request waits for its list as long as those before it take to leave: their number times the mean
// time between two that leave while others wait, which is measured. What waits for the store of events is in flight,
// and waits for no core.
class Admission {
 public:
  enum class Level {
    full,
    plain,    // without explanations and diversification: beyond half of the wait
    popular,  // popular products alone: beyond three quarters
    refused,
  };

  explicit Admission(const AdmissionOptions& options, int workers) : options_(options), workers_(workers) {}

  // Unless refused, the request is in flight until leave(), and waits for its list, or has it made, from queue() on.
  Level enter();
  void queue() { queued_.fetch_add(1, std::memory_order_relaxed); }
  void leave(bool was_queued);

  // As many requests wait for their lists, or have them made, as there are cores.
  bool is_busy() const { return queued_.load(std::memory_order_relaxed) >= workers_; }
  std::int64_t in_flight() const { return in_flight_.load(std::memory_order_relaxed); }

 private:
  const AdmissionOptions options_;
  const std::int64_t workers_;
  std::atomic<std::int64_t> in_flight_{0}, queued_{0};
  std::atomic<std::int64_t> left_ns_{0};  // when the last one left, while others waited
  std::atomic<double> interval_ns_{0};
};

}  // namespace server
