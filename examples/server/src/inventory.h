// What the shop says of its products between releases: whether they can be bought, and what they cost.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "config.h"
#include "inventory_table.h"
#include "metrics.h"
#include "serving.h"

namespace server {

// What is absent stays as it is.
struct InventoryChange {
  stamp::Id product;
  std::optional<bool> available = {};
  std::optional<float> price = {};
};

// Thread-safe. A thread takes all calls that wait, stores what they say, which takes one fsync for all of them, and
// sets it in every release that somebody serves; then they are answered: the next request finds it, in this process or
// in the one after it. What is set holds until it is set again, or until a release comes whose products are of a later
// time. In memory are some 100 bytes a product; where there would be more than max_products, those are forgotten that
// every release in memory knows later of.
class Inventory {
 public:
  // Throws std::runtime_error for a file that cannot be opened or is of something else. The metrics outlive this.
  Inventory(const InventoryOptions& options, Metrics& metrics);
  ~Inventory();  // stops, if it has not

  // What is set, in a release that nobody asks yet; from now on also what will be.
  void add(const std::shared_ptr<Serving>& serving);

  // Throws Error 400, with the path of the key, for what no rule of the release could look at.
  void check(const std::vector<InventoryChange>& changes, const Serving& serving) const;
  // `time` is that of the shop's knowledge, ms; absent: now, and later than all that is known. Products of which it is
  // not later than what is set, or than the products of `serving`, stay as they are. done is called once, on any
  // thread, with how many these were, or with an Error: 400 beyond max_products, 503 where it cannot be stored, and
  // then nothing of the call is set.
  using Done = std::function<void(std::size_t outdated, std::exception_ptr)>;
  void set(std::vector<InventoryChange> changes, std::optional<std::int64_t> time, const Serving& serving, Done done);

  // Answers who waits, and nobody from now on.
  void stop();

 private:
  struct Call {
    std::vector<InventoryChange> changes;
    std::optional<std::int64_t> time;
    std::int64_t after;  // when the release was of, by which it was called
    Done done;
    std::size_t outdated = 0;
    std::exception_ptr error = nullptr;
  };
  using Entries = std::vector<std::pair<std::string, InventoryEntry>>;
  using Fresh = std::unordered_map<std::string, InventoryEntry>;
  // A release that somebody serves. What was not put into it yet waits: of one that is being loaded, or for memory.
  struct Served {
    std::weak_ptr<Serving> serving;
    bool is_ready = false;
    Entries missed = {};
  };

  void run();
  void take(std::vector<Call>& calls);
  void merge(Call& call, Fresh& fresh);
  bool has_room(const Call& call, const Fresh& fresh);
  void forget(const Fresh& fresh);
  void set_in_all(const Entries& set);
  void put(Serving& serving, const Entries& entries) const;

  const InventoryOptions options_;
  InventoryTable table_;
  Sum &set_, &failures_;
  std::atomic<std::size_t> products_;
  std::int64_t forgotten_ = 0;  // up to when, ms

  std::mutex entries_mutex_;  // of the two below; held for as long as all of them are copied
  std::unordered_map<std::string, InventoryEntry> entries_;  // by the product's id; only the thread writes
  std::vector<std::shared_ptr<Served>> served_;

  std::mutex mutex_;  // of what follows; held for a moment
  std::condition_variable some_;
  std::vector<Call> waiting_;
  std::size_t changes_waiting_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace server
