// What visitors did lately: appended as it happens, read when they ask. One interface, four stores: in memory, embedded
// (RocksDB), Bigtable, none.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace server {

using Deadline = std::chrono::steady_clock::time_point;

struct Event {
  std::int64_t time = 0;  // ms since 1970, UTC
  std::string type;       // "detail-page-view"; of at most 64 bytes, none of them zero
  std::string item;       // the product's id as the shop writes it; empty: of no product

  bool operator==(const Event&) const = default;
};

// The store cannot be had, or not in time. Whoever asks goes on without it, whoever writes is told to come again.
class StoreUnavailable : public std::runtime_error {
 public:
  using runtime_error::runtime_error;
};

// Thread-safe. Callbacks are called once, on any thread, perhaps before the call returns, with a null pointer or with
// what went wrong: StoreUnavailable, or what else the store says. A visitor is of 1 to 128 bytes of UTF-8 without
// zeros.
class Visits {
 public:
  using Done = std::function<void(std::exception_ptr)>;
  using Found = std::function<void(std::vector<Event>, std::exception_ptr)>;

  virtual ~Visits() = default;

  // All of them or none. Two events of one millisecond are two; in `last` those of one time stand in the order in which
  // they were appended. Once done() has no error, every later last() of any server on the store sees them.
  virtual void append(std::string visitor, std::vector<Event> events, Deadline deadline, Done done) = 0;

  // The latest n events at or after `since` (ms), oldest first.
  virtual void last(std::string visitor, int n, std::int64_t since, Deadline deadline, Found found) = 0;

  // Every event of a visitor, or every event before a time (ms).
  virtual void erase(std::string visitor, Deadline deadline, Done done) = 0;
  virtual void erase_before(std::int64_t time, Deadline deadline, Done done) = 0;

  // For people and metrics: name and value of each figure, as "bytes".
  virtual std::vector<std::pair<std::string, double>> figures() const { return {}; }
};

}  // namespace server
