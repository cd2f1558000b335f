// Passes over one model's table, which requests of many threads share, and none waits for others to come.
//
// A request is a route, rules, a scan, and a selection from what was scanned. All but the scan is the work of its own
// thread. Scans of one model read one table, so that a pass over it answers many for little more than one:
//
// - Who asks brings requests and a thread. While fewer passes run than may, the thread is a pass, at once: a lone
//   request waits for nobody, and there is no timer.
// - Where as many run as may, it queues. A pass that ends hands its place to the thread that has waited longest, with a
//   share of the queue: of W requests that wait the first ⌈W / passes⌉, at most `most`, and no caller's are parted. So
//   the passes that end next find their shares too, and no core idles while another works through all that there was.
// - A thread runs one pass at most, that with its own requests; then it returns, and those whose requests it answered
//   do. The queue is in order: whoever comes later is in no earlier pass. While anyone waits, as many passes run as
//   may.
// - Where a pass fails, its requests are asked again one by one, so that each has its own list or its own error.
// - After fork the child's queue is empty and no pass runs in it. (A thread of the parent that was just loading a model
//   leaves that lock closed: fork before, or when models are loaded.)
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "stamp/selection.h"

namespace stamp {

// The best n candidates for one history.
struct ScanRequest {
  std::span<const std::int32_t> history;  // rows of the model, 1 or more, the current product last
  std::int64_t n = 0;
  const PlaceSet* excluded = nullptr;      // null: nothing is
  std::span<const float> boosts = {};      // added to the scores, by place; empty: none
  std::vector<Scored>* list = nullptr;     // receives them, best first, ties by lower place
  std::span<const float> preference = {};  // among the model's objectives; empty: all for clicks
  bool alone = false;                      // in no pass of others: at once, on the thread that asks
};

using Pass = std::function<void(std::span<const ScanRequest>)>;

// Asks for all, and where that fails for each alone. errors [requests]: why there is no list, null where there is one.
STAMP_API void scan_each(const Pass& pass, std::span<const ScanRequest> requests, std::span<std::exception_ptr> errors);

// Thread-safe; nobody may be in it when it goes.
class STAMP_API ScanQueue {
 public:
  // pass: one pass, on the thread that calls it. passes: how many may run at once now, 1 or more. most: requests that
  // share one; a caller who brings more has a pass for these alone.
  ScanQueue(Pass pass, std::function<int()> passes, std::size_t most);
  ~ScanQueue();

  // Returns when all are answered; errors as of scan_each.
  void scan(std::span<const ScanRequest> requests, std::span<std::exception_ptr> errors);
  std::size_t waiting() const;  // requests in the queue now

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

}  // namespace stamp
