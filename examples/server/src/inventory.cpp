#include "inventory.h"

#include <limits>

#include "error.h"
#include "log.h"
#include "priority.h"

namespace server {

namespace {

constexpr std::size_t kMostWaiting = 1'000'000;  // changes

// False where all of it is older than what is known.
bool merge(InventoryEntry& entry, const InventoryChange& change, std::int64_t time) {
  bool is_new = false;
  const auto set = [&]<class T>(const std::optional<T>& value, auto& known) {
    if (!value || time < known.time) return;
    known = {*value, time};
    is_new = true;
  };
  set(change.available, entry.available);
  set(change.price, entry.price);
  return is_new;
}

}  // namespace

Inventory::Inventory(const InventoryOptions& options, Metrics& metrics)
    : options_(options),
      table_(options.path),
      set_(metrics.counter("stamp_inventory_set_total", "Products whose availability or price was set.")),
      failures_(metrics.counter("stamp_inventory_failures_total", "Calls to set some that could not be stored.")),
      entries_(table_.read()) {
  metrics.gauge("stamp_inventory_products", "Products of which something is set.", [this] {
    const std::lock_guard lock(mutex_);
    return static_cast<double>(entries_.size());
  });
  thread_ = std::thread([this] { run(); });
}

Inventory::~Inventory() { stop(); }

void Inventory::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  some_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Inventory::add(const std::shared_ptr<Serving>& serving) {
  const auto served = std::make_shared<Served>(Served{.serving = serving});
  Entries entries;
  {
    const std::lock_guard lock(mutex_);
    entries.assign(entries_.begin(), entries_.end());
    served_.push_back(served);
  }
  while (true) {
    put(*serving, entries);
    const std::lock_guard lock(mutex_);
    if (served->missed.empty()) {
      served->is_ready = true;
      return;
    }
    entries = std::exchange(served->missed, {});
  }
}

void Inventory::check(const std::vector<InventoryChange>& changes, const Serving& serving) const {
  const stamp::Attributes& attributes = serving.recommender.release()->bundle().attributes;
  const auto require = [&](std::size_t i, const char* key, const std::string& attribute) {
    if (attributes.find_number(attribute) < 0)
      throw Error(400, "products[" + std::to_string(i) + "]." + key + ": products of release \"" + serving.name +
                           "\" have no number \"" + attribute + "\" that rules could look at; they have " +
                           attributes.names());
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    if (changes[i].available) require(i, "availability", options_.available);
    if (changes[i].price) require(i, "priceInfo.price", options_.price);
  }
}

void Inventory::set(std::vector<InventoryChange> changes, std::int64_t time, Done done) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) throw Error(503, "the server is ending");
    if (changes_waiting_ + changes.size() > kMostWaiting)
      throw Error(503, "inventory of " + std::to_string(changes_waiting_) + " products waits to be stored; come again later");
    changes_waiting_ += changes.size();
    waiting_.push_back({std::move(changes), time, std::move(done)});
  }
  some_.notify_one();
}

void Inventory::run() {
  step_back();
  std::unique_lock lock(mutex_);
  while (true) {
    some_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    std::vector<Call> calls = std::exchange(waiting_, {});
    changes_waiting_ = 0;
    lock.unlock();
    take(calls);
    lock.lock();
  }
}

// What cannot be stored is not set.
void Inventory::take(std::vector<Call>& calls) {
  std::exception_ptr error;
  try {
    std::unordered_map<std::string, InventoryEntry> fresh;
    for (Call& call : calls)
      for (const InventoryChange& change : call.changes) {
        const std::string product = stamp::to_string(change.product);
        const auto known = entries_.find(product);
        const auto [entry, is_first] = fresh.try_emplace(product, known == entries_.end() ? InventoryEntry() : known->second);
        call.outdated += !merge(entry->second, change, call.time);
      }
    if (entries_.size() + fresh.size() > static_cast<std::size_t>(options_.max_products)) {
      std::size_t more = 0;
      for (const auto& [product, entry] : fresh) more += !entries_.contains(product);
      if (entries_.size() + more > static_cast<std::size_t>(options_.max_products))
        throw Error(503, "there would be more than inventory.max_products products of which something is set");
    }
    const Entries set(fresh.begin(), fresh.end());
    table_.write(set);
    std::vector<std::shared_ptr<Serving>> ready;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [product, entry] : set) entries_.insert_or_assign(product, entry);
      std::erase_if(served_, [](const auto& served) { return served->serving.expired(); });
      for (const auto& served : served_) {
        if (!served->is_ready)
          served->missed.insert(served->missed.end(), set.begin(), set.end());
        else if (auto serving = served->serving.lock())
          ready.push_back(std::move(serving));
      }
    }
    for (const auto& serving : ready) put(*serving, set);
    set_.add(set.size());
  } catch (...) {
    error = std::current_exception();
    failures_.add(calls.size());
  }
  for (const Call& call : calls) call.done(call.outdated, error);
}

// A release that lacks the attribute has no rule that looks at it.
void Inventory::put(Serving& serving, const Entries& entries) const {
  const stamp::Attributes& attributes = serving.recommender.release()->bundle().attributes;
  const bool has_available = attributes.find_number(options_.available) >= 0;
  const bool has_price = attributes.find_number(options_.price) >= 0;
  std::vector<stamp::ProductNumber> numbers;
  for (const auto& [product, entry] : entries) {
    const std::optional<stamp::Id> id = serving.id_of(product);
    if (!id) continue;
    if (has_available && entry.available.time > serving.products_time)
      numbers.push_back({*id, options_.available, entry.available.value ? 1.0f : 0.0f});
    if (has_price && entry.price.time > serving.products_time)
      numbers.push_back({*id, options_.price, entry.price.value});
  }
  serving.recommender.set_numbers(numbers);
}

}  // namespace server
