#include "stamp/cross_recommendations.h"

#include <algorithm>

namespace stamp {

namespace {

// Counts pairs: new ones wait, and are sorted and merged when they are as many as the pairs known, so that memory stays
// in proportion to these. 16 bytes a pair, as much again for what is merged from it twice over, 8 for each that waits.
class PairCounter {
 public:
  void add(std::int32_t from, std::int32_t to) {
    if (from < 0 || to < 0) return;
    waiting_.push_back(std::uint64_t(from) << 32 | std::uint64_t(to));
    if (waiting_.size() >= std::max(kWaiting, keys_.size())) merge();
  }

  GroupPairs result(std::int64_t examples) {
    merge();
    GroupPairs pairs{.from = {}, .to = {}, .counts = std::move(counts_), .examples = examples};
    pairs.from.reserve(keys_.size());
    pairs.to.reserve(keys_.size());
    for (std::uint64_t key : keys_) {
      pairs.from.push_back(static_cast<std::int32_t>(key >> 32));
      pairs.to.push_back(static_cast<std::int32_t>(key & 0xffffffff));
    }
    return pairs;
  }

 private:
  static constexpr std::size_t kWaiting = std::size_t{1} << 20;

  void merge() {
    std::sort(waiting_.begin(), waiting_.end());
    std::vector<std::uint64_t> keys;
    std::vector<std::int64_t> counts;
    auto next = waiting_.begin();
    const auto take_waiting = [&](std::uint64_t key) {
      const auto first = next;
      while (next != waiting_.end() && *next == key) ++next;
      return next - first;
    };
    for (std::size_t i = 0; i <= keys_.size(); ++i) {
      while (next != waiting_.end() && (i == keys_.size() || *next < keys_[i])) {
        keys.push_back(*next);
        counts.push_back(take_waiting(*next));
      }
      if (i == keys_.size()) break;
      keys.push_back(keys_[i]);
      counts.push_back(counts_[i] + take_waiting(keys_[i]));
    }
    keys_ = std::move(keys);
    counts_ = std::move(counts);
    waiting_.clear();
  }

  std::vector<std::uint64_t> waiting_, keys_;
  std::vector<std::int64_t> counts_;
};

void check_groups(const char* call, std::span<const std::int32_t> groups) {
  for (std::size_t v = 0; v < groups.size(); ++v)
    require(groups[v] >= -1, call, ": product ", v, " is of group ", groups[v], ", expected 0 or more, or -1 for none");
}

// Events that have a known event before them.
std::int64_t count_examples(const Sessions& sessions, std::int64_t V) {
  std::int64_t examples = 0;
  for (std::int64_t s = 0; s < sessions.size(); ++s) {
    const auto events = sessions.items(s);
    const auto known = std::find_if(events.begin(), events.end(), [&](auto item) { return item >= 0 && item < V; });
    if (known != events.end()) examples += events.end() - known - 1;
  }
  return examples;
}

}  // namespace

GroupPairs cross_recommendations(Ranker& ranker, const Sessions& sessions, std::span<const std::int32_t> groups,
                                 const CrossOptions& options,
                                 const std::function<bool(std::int64_t, std::int64_t)>& progress) {
  constexpr const char* call = "cross_recommendations";
  const std::int64_t V = ranker.V();
  require(static_cast<std::int64_t>(groups.size()) == V, call, ": groups of ", groups.size(), " products, expected ",
          V);
  require(options.k >= 1, call, ": k is ", options.k, ", expected 1 or more");
  require(options.max_examples >= 0, call, ": max_examples is ", options.max_examples, ", expected 0 (all) or more");
  require(options.history >= 0, call, ": history is ", options.history, ", expected 0 (all events) or more");
  require(options.batch >= 1, call, ": batch is ", options.batch, ", expected 1 or more");
  check_groups(call, groups);

  const std::int64_t all = count_examples(sessions, V), k = std::min(options.k, V);
  const std::int64_t wanted = options.max_examples > 0 ? std::min(options.max_examples, all) : all;
  PairCounter pairs;
  Ranking ranking;
  std::int64_t seen = 0, counted = 0;
  walk_examples(
      sessions, {.V = V, .history = options.history, .batch = options.batch},
      [&](std::int32_t, std::int64_t known) {
        if (known == 0) return false;
        const std::int64_t before = seen * wanted / all;
        return ++seen * wanted / all > before;
      },
      [&](const Batch& batch, std::int64_t) {
        if (batch.B() > 0) ranker.rank(batch, k, ranking);
        for (std::int64_t b = 0; b < batch.B(); ++b) {
          const std::int32_t anchor = groups[batch.items[batch.begin[b] + batch.length[b] - 1]];
          for (std::int64_t j = 0; j < k && ranking.ids[b * k + j] >= 0; ++j)
            pairs.add(anchor, groups[ranking.ids[b * k + j]]);
        }
        counted += batch.B();
        return !progress || progress(counted, wanted);
      });
  return pairs.result(counted);
}

GroupPairs group_transitions(const Sessions& sessions, std::span<const std::int32_t> groups) {
  check_groups("group_transitions", groups);
  const std::int64_t V = static_cast<std::int64_t>(groups.size());
  PairCounter pairs;
  for (std::int64_t s = 0; s < sessions.size(); ++s) {
    std::int32_t anchor = Catalog::kUnknown;
    for (const std::int32_t item : sessions.items(s)) {
      const bool inside = item >= 0 && item < V;
      if (inside && anchor != Catalog::kUnknown) pairs.add(groups[anchor], groups[item]);
      if (inside) anchor = item;
    }
  }
  return pairs.result(count_examples(sessions, V));
}

}  // namespace stamp
