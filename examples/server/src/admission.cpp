#include "admission.h"

#include <algorithm>

namespace server {

namespace {

constexpr double kWeight = 1.0 / 256;  // of one interval in the mean

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Admission::Level Admission::enter() {
  const std::int64_t before = in_flight_.fetch_add(1, std::memory_order_relaxed);
  const std::int64_t queued = queued_.load(std::memory_order_relaxed);
  const double part =
      1e-6 * static_cast<double>(queued) * interval_ns_.load(std::memory_order_relaxed) / options_.queue_ms;
  // Some always wait where all are busy, so that the mean goes on being measured, whatever it is.
  const bool is_long = queued >= 2 * workers_ && part > 1;
  if (before >= options_.max_in_flight || is_long) {
    in_flight_.fetch_sub(1, std::memory_order_relaxed);
    return Level::refused;
  }
  if (queued < 2 * workers_) return Level::full;
  return part > 0.75 ? Level::popular : part > 0.5 ? Level::plain : Level::full;
}

// Two that leave at once may take one interval for each other's: the mean does not mind. A pause of the whole machine
// is one interval, and says nothing of the next ones.
void Admission::leave(bool was_queued) {
  in_flight_.fetch_sub(1, std::memory_order_relaxed);
  if (!was_queued) return;
  if (queued_.fetch_sub(1, std::memory_order_relaxed) - 1 < workers_) {
    left_ns_.store(0, std::memory_order_relaxed);
    return;
  }
  const std::int64_t now = now_ns(), before = left_ns_.exchange(now, std::memory_order_relaxed);
  if (before == 0 || now < before) return;
  const double interval = std::min(static_cast<double>(now - before), 1e6 * options_.queue_ms);
  const double mean = interval_ns_.load(std::memory_order_relaxed);
  interval_ns_.store(mean + kWeight * (interval - mean), std::memory_order_relaxed);
}

}  // namespace server
