// Visits in memory: for tests and demonstrations. Gone when the process ends.
#pragma once

#include <array>
#include <deque>
#include <mutex>
#include <unordered_map>

#include "visits.h"

namespace server {

class MemoryVisits : public Visits {
 public:
  // A visitor's latest `max_events`, none older than `max_age_ms` when somebody looks.
  MemoryVisits(int max_events, std::int64_t max_age_ms) : max_events_(max_events), max_age_ms_(max_age_ms) {}

  void append(std::string visitor, std::vector<Event> events, Deadline deadline, Done done) override;
  void last(std::string visitor, int n, std::int64_t since, Deadline deadline, Found found) override;
  void erase(std::string visitor, Deadline deadline, Done done) override;
  void erase_before(std::int64_t time, Deadline deadline, Done done) override;
  std::vector<std::pair<std::string, double>> figures() const override;

 private:
  static constexpr std::size_t kShards = 64;  // locks, so that threads seldom wait for each other
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<std::string, std::deque<Event>> visitors;  // by time
    std::size_t appended = 0;  // since all visitors were last looked through for what is too old
  };

  Shard& shard_of(const std::string& visitor) { return shards_[std::hash<std::string>()(visitor) % kShards]; }
  static void drop_before(Shard& shard, std::int64_t time);

  const std::size_t max_events_;
  const std::int64_t max_age_ms_;
  std::array<Shard, kShards> shards_;
};

}  // namespace server
