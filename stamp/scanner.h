// One model's scan: from histories to the best of its candidates.
#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "stamp/pool.h"
#include "stamp/scan_queue.h"
#include "stamp/scan_table.h"

namespace stamp {

struct ScanOptions {
  // Requests that share one pass over the table, at most, while all cores are busy (scan_queue.h). 1: nothing is
  // shared, and each scans at once on its own thread, however many there are.
  std::size_t most = 64;
};

// Thread-safe. Holds the candidates as the device scans them, and what requests need while they run.
class STAMP_API Scanner {
 public:
  // candidates: rows of the model that can be listed, ascending; a place is an index into them. packed: as of
  // ScanTable.
  Scanner(std::shared_ptr<const Model> model, std::vector<std::int32_t> candidates, const ScanOptions& options = {},
          std::shared_ptr<std::byte> packed = nullptr);
  ~Scanner();

  // Copies boosts of many requests to the device, before the first of them, while such copies take no more than a tenth
  // of its free memory; others travel with each request. They must stay as they are.
  void keep(std::span<const float> boosts);

  const Model& model() const { return *model_; }
  std::int64_t size() const { return static_cast<std::int64_t>(candidates_.size()); }

  // On the thread that calls.
  void scan(const ScanRequest& request) const;
  // The same, in passes that are shared with other threads. errors [requests]: why there is no list, null where there
  // is one.
  void scan_shared(std::span<const ScanRequest> requests, std::span<std::exception_ptr> errors) const;
  // All at once, on all cores; errors likewise.
  void scan(std::span<const ScanRequest> requests, std::span<std::exception_ptr> errors) const;

  // Rows of the item table [places,D], in host memory.
  void embeddings(std::span<const std::int32_t> places, std::vector<float>& rows) const;

 private:
  template <class T>
  class PerQuery;
  struct Context;

  std::unique_ptr<Context> borrow(int threads) const;
  Pool<Context>& pool(int threads) const { return threads == 1 ? single_ : parallel_; }
  void pass(int threads, std::span<const ScanRequest> requests) const;
  void answer(Context& c, std::span<const ScanRequest> requests) const;
  std::int64_t entries(const ScanRequest& request) const;  // of the list that is made for it
  // Of the batch in c: `count` requests from `first` on over all candidates; request `row` over those that it leaves.
  void scan_all(Context& c, std::size_t first, std::size_t count) const;
  void scan_few(Context& c, std::size_t row) const;
  void top_k(Context& c, std::size_t first, std::size_t count, const std::vector<std::int32_t>* candidates,
             std::int64_t V, std::int64_t n, const ItemRows& items, const std::byte* packed) const;
  void take(const Context& c, std::size_t b, std::int64_t n, const std::int32_t* few, const ScanRequest& request) const;

  std::shared_ptr<const Model> model_;
  std::vector<std::int32_t> candidates_;
  ScanOptions options_;
  ScanTable table_;
  std::unordered_map<const float*, Array<float>> kept_;  // by where boosts stand: their copies
  std::int64_t kept_bytes_ = 0;
  mutable Pool<Context> single_, parallel_;  // by the threads that they work with
  std::unique_ptr<ScanQueue> queue_;         // null where nothing is shared
};

}  // namespace stamp
