#include "stamp/scan_queue.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "stamp/internal/of_process.h"

namespace stamp {

namespace {

// A thread in scan(); stands on its stack.
struct Caller {
  std::span<const ScanRequest> requests;
  std::span<std::exception_ptr> errors;
  Caller* next = nullptr;  // in the queue, then in the pass
  bool leads = false;      // it is to run the pass of itself and those after it
  bool answered = false;
  std::condition_variable wake = {};
};

// The callers that wait, in order.
struct Queue {
  std::mutex mutex;  // of all of it
  Caller *first = nullptr, *last = nullptr;
  std::size_t waiting = 0;  // requests of them
  int running = 0;          // passes, or threads on their way to one

  void add(Caller& caller) {
    (first ? last->next : first) = &caller;
    last = &caller;
    waiting += caller.requests.size();
  }

  // Starts what may run now.
  void start(int passes, std::size_t most) {
    while (first && running < passes) {
      const std::size_t share = std::min(most, (waiting - 1) / static_cast<std::size_t>(passes) + 1);
      Caller& leader = *first;
      Caller* end = &leader;
      std::size_t taken = leader.requests.size();
      while (end->next && taken + end->next->requests.size() <= share) {
        end = end->next;
        taken += end->requests.size();
      }
      first = std::exchange(end->next, nullptr);
      waiting -= taken;
      ++running;
      leader.leads = true;
      leader.wake.notify_one();
    }
  }
};

void run(const Pass& pass, const Caller& leader) {
  if (!leader.next) return scan_each(pass, leader.requests, leader.errors);
  try {
    std::vector<ScanRequest> all;
    for (const Caller* caller = &leader; caller; caller = caller->next)
      all.insert(all.end(), caller->requests.begin(), caller->requests.end());
    pass(all);
  } catch (...) {
    for (const Caller* caller = &leader; caller; caller = caller->next)
      scan_each(pass, caller->requests, caller->errors);
  }
}

}  // namespace

struct ScanQueue::Shared {
  Pass pass;
  std::function<int()> passes;
  std::size_t most;
  OfProcess<Queue> queue{};
};

void scan_each(const Pass& pass, std::span<const ScanRequest> requests, std::span<std::exception_ptr> errors) {
  std::fill(errors.begin(), errors.end(), nullptr);
  try {
    pass(requests);
  } catch (...) {
    if (requests.size() == 1) {
      errors[0] = std::current_exception();
    } else {
      for (std::size_t i = 0; i < requests.size(); ++i) scan_each(pass, requests.subspan(i, 1), errors.subspan(i, 1));
    }
  }
}

ScanQueue::ScanQueue(Pass pass, std::function<int()> passes, std::size_t most)
    : shared_(new Shared{.pass = std::move(pass), .passes = std::move(passes), .most = most}) {
  require(most >= 1, "ScanQueue: most is ", most, ", expected 1 or more");
}

ScanQueue::~ScanQueue() = default;

void ScanQueue::scan(std::span<const ScanRequest> requests, std::span<std::exception_ptr> errors) {
  if (requests.empty()) return;
  const int passes = shared_->passes();
  Queue& queue = shared_->queue.get();
  std::fill(errors.begin(), errors.end(), nullptr);
  Caller own{.requests = requests, .errors = errors};
  std::unique_lock lock(queue.mutex);
  queue.add(own);
  queue.start(passes, shared_->most);
  own.wake.wait(lock, [&] { return own.leads || own.answered; });
  if (own.answered) return;
  lock.unlock();
  run(shared_->pass, own);
  lock.lock();
  for (Caller* caller = own.next; caller;) {
    Caller* next = caller->next;  // it may be gone once the lock is
    caller->answered = true;
    caller->wake.notify_one();
    caller = next;
  }
  --queue.running;
  queue.start(passes, shared_->most);
}

std::size_t ScanQueue::waiting() const {
  Queue& queue = shared_->queue.get();
  std::lock_guard lock(queue.mutex);
  return queue.waiting;
}

}  // namespace stamp
