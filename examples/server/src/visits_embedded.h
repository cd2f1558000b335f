// Visits on this machine's disk, in RocksDB. One process holds the directory.
//
// What is acknowledged outlives the process (kill -9): it is in the write-ahead log, and the system has it, before
// done(). A power failure costs the last sync_ms at most; nothing where that is 0, and then writers that come together
// share one fsync. Erasures are flushed to disk before done(), always.
//
// Bounds. Events beyond max_events, older than max_age_s or erased are never read. They leave the disk later: old ones
// when compaction, which nothing outruns by more than a tenth of max_age_s a level, meets them, at low priority; those
// beyond the count when a visitor is looked through, which one append in max_events asks for at random, so that a
// visitor has 2 max_events on disk at most, on average. An event takes some 40 bytes. Memory is
// cache_mb for blocks, indexes and filters, three write buffers of 16 MiB, and some 30 MiB, whatever the number of
// events.
//
// Reads and appends work on the thread that calls, some 10 µs each, and their callbacks are called before they return.
// What waits for the disk does so on threads of the store: appends with sync_ms 0, or while compaction is behind, and
// erasures. What the disk does not take is StoreUnavailable, at the deadline at the latest; reads go on, and writes
// within seconds when there is room again, 64 MiB: then the store is opened anew, and for part of a second not even
// read.
#pragma once

#include <memory>

#include "config.h"
#include "visits.h"
#include "work_queue.h"

namespace server {

class EmbeddedVisits : public Visits {
 public:
  // Makes the directory where it is missing. Throws std::runtime_error for one that is not empty and no store (nothing
  // in it is touched), that another process holds, that is of a newer version, or that cannot be opened.
  explicit EmbeddedVisits(const VisitsOptions& options);
  ~EmbeddedVisits() override;

  // std::invalid_argument for a visitor that is empty or has zeros.
  void append(std::string visitor, std::vector<Event> events, Deadline deadline, Done done) override;
  void last(std::string visitor, int n, std::int64_t since, Deadline deadline, Found found) override;
  void erase(std::string visitor, Deadline deadline, Done done) override;
  void erase_before(std::int64_t time, Deadline deadline, Done done) override;

  // disk_bytes, write_buffer_bytes, cache_bytes, events (an estimate), appends_failed, fsyncs (since it was opened).
  std::vector<std::pair<std::string, double>> figures() const override;

 private:
  class Store;
  void later(std::function<void()> call, const Done& done);

  std::unique_ptr<Store> store_;
  WorkQueue waiting_;  // ends first: it works on the store
};

}  // namespace server
