#include "inventory.h"

#include <algorithm>
#include <limits>
#include <unordered_set>

#include "clock.h"
#include "error.h"
#include "priority.h"

namespace server {

namespace {

constexpr std::size_t kMostWaiting = 1'000'000;  // changes

// Whether the change is later than what is known.
template <class T>
bool replace(SetValue<T>& known, const std::optional<T>& value, std::int64_t time) {
  if (!value || time < known.time) return false;
  known = {*value, time};
  return true;
}

}  // namespace

Inventory::Inventory(const InventoryOptions& options, Metrics& metrics)
    : options_(options),
      table_(options.path),
      set_(metrics.counter("stamp_inventory_set_total", "Products whose availability or price was set.")),
      failures_(metrics.counter("stamp_inventory_failures_total", "Calls to set some that could not be stored.")),
      entries_(table_.read()) {
  products_ = entries_.size();
  metrics.gauge("stamp_inventory_products", "Products of which something is set.",
                [this] { return static_cast<double>(products_); });
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
    const std::lock_guard lock(entries_mutex_);
    entries.assign(entries_.begin(), entries_.end());
    served_.push_back(served);
  }
  while (true) {
    put(*serving, entries);
    const std::lock_guard lock(entries_mutex_);
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

void Inventory::set(std::vector<InventoryChange> changes, std::optional<std::int64_t> time, const Serving& serving,
                    Done done) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) throw Error(503, "the server is ending");
    if (changes_waiting_ + changes.size() > kMostWaiting)
      throw Error(
          503, "inventory of " + std::to_string(changes_waiting_) + " products waits to be stored; come again later");
    changes_waiting_ += changes.size();
    waiting_.push_back(
        {.changes = std::move(changes), .time = time, .after = serving.products_time, .done = std::move(done)});
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
    for (const Call& call : calls) {
      if (call.error) failures_.add();
      call.done(call.outdated, call.error);
    }
    calls.clear();
    lock.lock();
  }
}

// What cannot be stored is not set. What is stored is set, in the next round where memory runs out in this one.
void Inventory::take(std::vector<Call>& calls) {
  const auto fail = [&](const std::exception_ptr& error) {
    for (Call& call : calls)
      if (!call.error) call.error = error;
  };
  Entries set;
  try {
    Fresh fresh;
    for (Call& call : calls) {
      if (!has_room(call, fresh)) forget(fresh);
      if (has_room(call, fresh))
        merge(call, fresh);
      else
        call.error = std::make_exception_ptr(
            Error(400, "products: something would be set of more than inventory.max_products products, " +
                           std::to_string(options_.max_products)));
    }
    set.assign(fresh.begin(), fresh.end());
    table_.write(set);
  } catch (...) {
    return fail(std::current_exception());
  }
  try {
    set_in_all(set);
    set_.add(set.size());
  } catch (const std::exception& error) {
    fail(std::make_exception_ptr(Error(503, std::string("it is stored, and not in force yet: ") + error.what())));
  }
}

void Inventory::merge(Call& call, Fresh& fresh) {
  const std::int64_t now = now_ms();
  for (const InventoryChange& change : call.changes) {
    const std::string product = stamp::to_string(change.product);
    InventoryEntry entry;
    if (const auto found = fresh.find(product); found != fresh.end())
      entry = found->second;
    else if (const auto known = entries_.find(product); known != entries_.end())
      entry = known->second;
    const std::int64_t time =
        call.time.value_or(std::max({now, call.after + 1, entry.available.time, entry.price.time}));
    bool is_later = time > call.after;
    if (is_later) {
      is_later = replace(entry.available, change.available, time);
      is_later |= replace(entry.price, change.price, time);
    }
    if (is_later)
      fresh.insert_or_assign(product, entry);
    else
      ++call.outdated;
  }
}

bool Inventory::has_room(const Call& call, const Fresh& fresh) {
  const auto most = static_cast<std::size_t>(options_.max_products);
  if (entries_.size() + fresh.size() + call.changes.size() <= most) return true;
  std::unordered_set<std::string> more;
  for (const auto& [product, entry] : fresh)
    if (!entries_.contains(product)) more.insert(product);
  for (const InventoryChange& change : call.changes)
    if (std::string product = stamp::to_string(change.product); !entries_.contains(product))
      more.insert(std::move(product));
  return entries_.size() + more.size() <= most;
}

// What every release in memory knows later of.
void Inventory::forget(const Fresh& fresh) {
  std::int64_t before = std::numeric_limits<std::int64_t>::max();
  const std::lock_guard lock(entries_mutex_);
  for (const auto& served : served_)
    if (const auto serving = served->serving.lock()) before = std::min(before, serving->products_time);
  // What is of such a time is not set any more: once is enough.
  if (before == std::numeric_limits<std::int64_t>::max() || before <= forgotten_) return;
  table_.forget(before);
  forgotten_ = before;
  std::erase_if(entries_, [&](const auto& known) {
    const auto& [product, entry] = known;
    return std::max(entry.available.time, entry.price.time) <= before && !fresh.contains(product);
  });
  products_ = entries_.size();
}

void Inventory::set_in_all(const Entries& set) {
  std::vector<std::shared_ptr<Served>> ready;
  {
    const std::lock_guard lock(entries_mutex_);
    for (const auto& [product, entry] : set) entries_.insert_or_assign(product, entry);
    products_ = entries_.size();
    std::erase_if(served_, [](const auto& served) { return served->serving.expired(); });
    for (const auto& served : served_) {
      served->missed.insert(served->missed.end(), set.begin(), set.end());
      if (served->is_ready) ready.push_back(served);
    }
  }
  for (const auto& served : ready) {
    if (const auto serving = served->serving.lock()) put(*serving, served->missed);
    served->missed.clear();  // which, once it is ready, is the thread's
  }
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
