// Counts of pairs of groups against brute force: every history alone, every product scored.
#include <map>

#include "stamp/cross_recommendations.h"
#include "stamp/popularity.h"
#include "tests/check.h"

using namespace stamp;

namespace {

using Counts = std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t>;

Counts counts_of(const GroupPairs& pairs) {
  REQUIRE(pairs.from.size() == pairs.counts.size());
  REQUIRE(pairs.to.size() == pairs.counts.size());
  Counts counts;
  for (std::size_t i = 0; i < pairs.counts.size(); ++i) {
    const std::pair pair{pairs.from[i], pairs.to[i]};
    if (i > 0) CHECK(std::pair{pairs.from[i - 1], pairs.to[i - 1]} < pair);
    counts[pair] = pairs.counts[i];
  }
  return counts;
}

// Sessions with unknown events of both kinds: -1, and V and above.
Sessions random_sessions(int n, std::int32_t V, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (int s = 0; s < n; ++s) {
    for (unsigned i = random() % 7; i > 0; --i) items.push_back(static_cast<std::int32_t>(random() % (V + 12)) - 1);
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return {items, offsets};
}

// Histories of all examples, in order, unknown events left out, and their targets as they are.
struct Example {
  std::vector<std::int32_t> history;
  std::int32_t target;
};
std::vector<Example> examples_of(const Sessions& sessions, std::int32_t V) {
  std::vector<Example> examples;
  for (std::int64_t s = 0; s < sessions.size(); ++s) {
    std::vector<std::int32_t> history;
    for (std::int32_t item : sessions.items(s)) {
      if (!history.empty()) examples.push_back({history, item});
      if (item >= 0 && item < V) history.push_back(item);
    }
  }
  return examples;
}

std::vector<std::int32_t> top(const Model& model, const std::vector<float>& table, const Example& example,
                              std::size_t k, std::int64_t last) {
  std::span<const std::int32_t> history(example.history);
  if (last > 0 && static_cast<std::int64_t>(history.size()) > last) history = history.last(last);
  Batch batch;
  batch.add_history(history);
  Activations a(model.device());
  a.upload(batch, model.config());
  model.forward(*model.device(), a);
  const auto q = a.q.download();
  std::vector<double> scores(model.V());
  for (std::int64_t v = 0; v < model.V(); ++v)
    for (std::size_t d = 0; d < q.size(); ++d) scores[v] += double{q[d]} * table[v * q.size() + d];
  std::vector<std::int32_t> order(model.V());
  for (std::int32_t v = 0; v < model.V(); ++v) order[v] = v;
  std::stable_sort(order.begin(), order.end(), [&](auto x, auto y) { return scores[x] > scores[y]; });
  order.resize(std::min(k, order.size()));
  return order;
}

}  // namespace

TEST_CASE("recommendations between groups are those of every history alone") {
  constexpr std::int32_t V = 41;
  Config config;
  config.dim = 9;
  config.item_std = 0.5f;
  config.history = 3;
  std::vector<std::int32_t> groups(V);
  for (std::int32_t v = 0; v < V; ++v) groups[v] = v % 6 == 5 ? -1 : (v * 7) % 6 * 1000;
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Sessions sessions = random_sessions(check::slow(*device) ? 12 : 80, V, 5);
    const auto examples = examples_of(sessions, V);
    const std::int64_t n = static_cast<std::int64_t>(examples.size());
    const Model model(config, V, device);
    const auto table = model.download().at("items");
    const auto ranker = model_ranker(model, device);
    for (std::int64_t k : {1, 4, 100})
      for (std::int64_t bound : {std::int64_t{0}, n / 3, n + 5}) {
        CAPTURE(k);
        CAPTURE(bound);
        Counts expected;
        const std::int64_t wanted = bound == 0 ? n : std::min(bound, n);
        for (std::int64_t i = 0; i < n; ++i) {
          if ((i + 1) * wanted / n == i * wanted / n) continue;
          const std::int32_t anchor = groups[examples[i].history.back()];
          for (std::int32_t v : top(model, table, examples[i], k, config.history))
            if (anchor >= 0 && groups[v] >= 0) ++expected[{anchor, groups[v]}];
        }
        for (std::int64_t batch : {1, 7, 512}) {
          const GroupPairs pairs = cross_recommendations(
              *ranker, sessions, groups, {.k = k, .max_examples = bound, .history = config.history, .batch = batch});
          CHECK(pairs.examples == wanted);
          CHECK(counts_of(pairs) == expected);
        }
      }
  }
}

TEST_CASE("more pairs than wait at once are merged") {
  constexpr std::int32_t V = 300;
  std::vector<std::int64_t> clicks(V);
  std::vector<std::int32_t> groups(V);
  for (std::int32_t v = 0; v < V; ++v) clicks[v] = v + 1, groups[v] = v;
  const Sessions sessions = random_sessions(6000, V, 8);
  Counts expected;
  for (const auto& example : examples_of(sessions, V))
    for (std::int32_t v = 0; v < V; ++v) ++expected[{example.history.back(), v}];  // k = V: every product is listed
  const GroupPairs pairs = cross_recommendations(*baseline_ranker(popularity_of(clicks)), sessions, groups, {.k = V});
  CHECK(pairs.examples * V > 3 << 20);
  CHECK(counts_of(pairs) == expected);
}

TEST_CASE("transitions between groups are those of neighbouring known events") {
  constexpr std::int32_t V = 30;
  const Sessions sessions = random_sessions(200, V, 9);
  std::vector<std::int32_t> groups(V);
  for (std::int32_t v = 0; v < V; ++v) groups[v] = v % 7 - 1;
  Counts expected;
  const auto examples = examples_of(sessions, V);
  for (const auto& [history, target] : examples)
    if (target >= 0 && target < V && groups[target] >= 0 && groups[history.back()] >= 0)
      ++expected[{groups[history.back()], groups[target]}];
  const GroupPairs pairs = group_transitions(sessions, groups);
  CHECK(counts_of(pairs) == expected);
  CHECK(pairs.examples == static_cast<std::int64_t>(examples.size()));
  CHECK(group_transitions(sessions, {}).counts.empty());
}

TEST_CASE("counting reports, and stops where it is told to") {
  constexpr std::int32_t V = 20;
  const Sessions sessions = random_sessions(100, V, 3);
  const std::vector<std::int64_t> clicks(V, 1);
  const std::vector<std::int32_t> groups(V, 0);
  const auto ranker = baseline_ranker(popularity_of(clicks));
  std::int64_t last = 0, total = 0;
  const auto all =
      cross_recommendations(*ranker, sessions, groups, {.k = 2, .batch = 10}, [&](std::int64_t done, std::int64_t of) {
        CHECK(done >= last);
        last = done;
        total = of;
        return true;
      });
  CHECK(last == total);
  CHECK(all.examples == total);
  CHECK(all.counts == std::vector<std::int64_t>{2 * total});
  const auto part = cross_recommendations(*ranker, sessions, groups, {.k = 2, .batch = 10},
                                          [](std::int64_t done, std::int64_t) { return done < 30; });
  CHECK(part.examples >= 30);
  CHECK(part.examples < total);
  CHECK(part.counts == std::vector<std::int64_t>{2 * part.examples});
  const auto none = cross_recommendations(*ranker, Sessions({-1, 5, V}, {0, 2, 3}), groups, {});
  CHECK(none.examples == 0);
  CHECK(none.counts.empty());
}

TEST_CASE("counting that cannot be is refused") {
  const auto ranker = baseline_ranker(popularity_of(std::vector<std::int64_t>{1, 2, 3}));
  const Sessions sessions({0, 1, 2}, {0, 3});
  const std::vector<std::int32_t> groups{0, 1, -1};
  CHECK_THROWS_WITH_AS(cross_recommendations(*ranker, sessions, std::vector<std::int32_t>{0, 1}, {}),
                       "cross_recommendations: groups of 2 products, expected 3", std::invalid_argument);
  CHECK_THROWS_AS(cross_recommendations(*ranker, sessions, groups, {.k = 0}), std::invalid_argument);
  CHECK_THROWS_AS(cross_recommendations(*ranker, sessions, groups, {.max_examples = -1}), std::invalid_argument);
  CHECK_THROWS_AS(cross_recommendations(*ranker, sessions, groups, {.history = -1}), std::invalid_argument);
  CHECK_THROWS_AS(cross_recommendations(*ranker, sessions, groups, {.batch = 0}), std::invalid_argument);
  CHECK_THROWS_WITH_AS(group_transitions(sessions, std::vector<std::int32_t>{0, -2, 1}),
                       "group_transitions: product 1 is of group -2, expected 0 or more, or -1 for none",
                       std::invalid_argument);
}
