#include "visits_memory.h"

#include <algorithm>

#include "clock.h"

namespace server {

void MemoryVisits::append(std::string visitor, std::vector<Event> events, Deadline, Done done) {
  Shard& shard = shard_of(visitor);
  {
    const std::lock_guard lock(shard.mutex);
    std::deque<Event>& kept = shard.visitors[std::move(visitor)];
    for (Event& event : events) {
      const auto place = std::upper_bound(kept.begin(), kept.end(), event.time,
                                          [](std::int64_t time, const Event& other) { return time < other.time; });
      kept.insert(place, std::move(event));
    }
    while (kept.size() > max_events_) kept.pop_front();
    // Every event is looked at as often as there are visitors: a constant number of times while these come and go.
    if (++shard.appended > 1024 + shard.visitors.size()) {
      shard.appended = 0;
      drop_before(shard, now_ms() - max_age_ms_);
    }
  }
  done(nullptr);
}

void MemoryVisits::last(std::string visitor, int n, std::int64_t since, Deadline, Found found) {
  Shard& shard = shard_of(visitor);
  std::vector<Event> events;
  {
    const std::lock_guard lock(shard.mutex);
    if (const auto kept = shard.visitors.find(visitor); kept != shard.visitors.end()) {
      auto first = kept->second.end();
      since = std::max(since, now_ms() - max_age_ms_);
      while (first != kept->second.begin() && n > 0 && std::prev(first)->time >= since) --first, --n;
      events.assign(first, kept->second.end());
    }
  }
  found(std::move(events), nullptr);
}

void MemoryVisits::erase(std::string visitor, Deadline, Done done) {
  Shard& shard = shard_of(visitor);
  {
    const std::lock_guard lock(shard.mutex);
    shard.visitors.erase(visitor);
  }
  done(nullptr);
}

void MemoryVisits::erase_before(std::int64_t time, Deadline, Done done) {
  for (Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    drop_before(shard, time);
  }
  done(nullptr);
}

void MemoryVisits::drop_before(Shard& shard, std::int64_t time) {
  for (auto visitor = shard.visitors.begin(); visitor != shard.visitors.end();) {
    std::deque<Event>& kept = visitor->second;
    while (!kept.empty() && kept.front().time < time) kept.pop_front();
    visitor = kept.empty() ? shard.visitors.erase(visitor) : std::next(visitor);
  }
}

std::vector<std::pair<std::string, double>> MemoryVisits::figures() const {
  double visitors = 0;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    visitors += static_cast<double>(shard.visitors.size());
  }
  return {{"visitors", visitors}};
}

}  // namespace server
