#include "admission.h"

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
  if (before < workers_) return Level::full;  // nobody waits
  const double part = wait_ms() / options_.queue_ms;
  if (before >= options_.max_in_flight || part > 1) {
    in_flight_.fetch_sub(1, std::memory_order_relaxed);
    return Level::refused;
  }
  return part > 0.75 ? Level::popular : part > 0.5 ? Level::plain : Level::full;
}

// Two that leave at once may take one interval for each other's: the mean does not mind.
void Admission::leave() {
  const std::int64_t left = in_flight_.fetch_sub(1, std::memory_order_relaxed) - 1;
  if (left < workers_) {
    left_ns_.store(0, std::memory_order_relaxed);
    return;
  }
  const std::int64_t now = now_ns(), before = left_ns_.exchange(now, std::memory_order_relaxed);
  if (before == 0 || now < before) return;
  const double mean = interval_ns_.load(std::memory_order_relaxed);
  interval_ns_.store(mean + kWeight * (static_cast<double>(now - before) - mean), std::memory_order_relaxed);
}

}  // namespace server
