#include "import.h"

#include <condition_variable>
#include <mutex>

namespace server {

void import_events(Visits& visits, std::vector<std::pair<std::string, std::vector<Event>>> visitors,
                   Deadline deadline) {
  constexpr int kAtOnce = 64;
  std::mutex mutex;
  std::condition_variable done;
  int under_way = 0;
  std::size_t stored = 0, all = 0;
  std::exception_ptr failed;
  for (const auto& [visitor, events] : visitors) all += events.size();

  std::unique_lock lock(mutex);
  for (auto& [visitor, events] : visitors) {
    done.wait(lock, [&] { return under_way < kAtOnce; });
    if (failed) break;
    ++under_way;
    const std::size_t n = events.size();
    lock.unlock();
    visits.append(std::move(visitor), std::move(events), deadline, [&, n](std::exception_ptr error) {
      const std::lock_guard own(mutex);
      if (!error)
        stored += n;
      else if (!failed)
        failed = error;
      --under_way;
      done.notify_one();
    });
    lock.lock();
  }
  done.wait(lock, [&] { return under_way == 0; });
  if (!failed) return;
  try {
    std::rethrow_exception(failed);
  } catch (const StoreUnavailable& error) {
    throw StoreUnavailable(std::to_string(stored) + " of " + std::to_string(all) + " are, then: " + error.what());
  }
}

}  // namespace server
