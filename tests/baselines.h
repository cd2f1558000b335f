// Made-up sessions, and what a baseline says of them, for tests that set it beside something else.
#pragma once

#include <map>

#include "stamp/item_rules.h"
#include "stamp/popularity.h"
#include "stamp/session_knn.h"
#include "tests/check.h"

namespace baselines {

using namespace stamp;

using Rows = std::vector<std::int32_t>;
using Table = std::map<std::int32_t, double>;  // score of each product that has one

constexpr std::int64_t kProducts = 60;

// Sessions of 1 to 9 events over products of falling popularity, some of them repeated or unknown.
inline Sessions random_sessions(int count, std::int64_t V, unsigned seed, bool times = false) {
  std::mt19937 random(seed);
  Rows items;
  std::vector<std::int64_t> offsets{0}, timestamps;
  for (int s = 0; s < count; ++s) {
    for (unsigned n = 1 + random() % 9; n > 0; --n) {
      const auto range = static_cast<std::uint32_t>(1 + random() % V);
      items.push_back(random() % 20 == 0 ? -1 : static_cast<std::int32_t>(random() % range));
      timestamps.push_back(1'000'000LL * (s * 100 + static_cast<std::int64_t>(items.size()) % 50));
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return times ? Sessions(items, offsets, timestamps) : Sessions(items, offsets);
}

inline std::vector<Rows> histories(int count, std::int64_t V, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Rows> result;
  for (int i = 0; i < count; ++i) {
    Rows history;
    for (unsigned n = 1 + random() % 12; n > 0; --n) history.push_back(static_cast<std::int32_t>(random() % V));
    result.push_back(history);
  }
  return result;
}

inline Table scored(const Baseline& baseline, const Rows& history) {
  const auto scratch = baseline.scratch();
  const ScoredProducts products = baseline.score(history, *scratch);
  REQUIRE(products.rows.size() == products.scores.size());
  Table table;
  for (std::size_t i = 0; i < products.rows.size(); ++i) {
    CHECK(table.emplace(products.rows[i], products.scores[i]).second);
    if (products.sorted && i > 0) CHECK(products.scores[i] <= products.scores[i - 1]);
  }
  return table;
}

// Best first, as a list would have them.
inline Rows ranked(const Baseline& baseline, const Rows& history) {
  const auto scratch = baseline.scratch();
  const ScoredProducts products = baseline.score(history, *scratch);
  std::vector<std::int32_t> best;
  find_best(products.scores, kProducts, best);
  Rows rows;
  for (std::int32_t i : best) rows.push_back(products.rows[i]);
  return rows;
}

inline std::vector<Rows> sessions_of(const Sessions& sessions) {
  std::vector<Rows> result;
  for (std::int64_t s = 0; s < sessions.size(); ++s)
    result.emplace_back(sessions.items(s).begin(), sessions.items(s).end());
  return result;
}

// Everything of one kind, fitted to the same sessions.
inline std::vector<std::shared_ptr<const Baseline>> all_baselines(const Sessions& sessions, std::int64_t V) {
  std::vector<std::int32_t> groups(static_cast<std::size_t>(V));
  for (std::int64_t v = 0; v < V; ++v) groups[v] = static_cast<std::int32_t>(v % 4) - 1;
  AssociationRuleOptions deep;
  deep.history = 3;
  return {fit_popularity(sessions, V),
          fit_popularity(sessions, V, {}, groups),
          fit_session_popularity(sessions, V),
          fit_association_rules(sessions, V),
          fit_association_rules(sessions, V, deep),
          fit_sequential_rules(sessions, V),
          fit_item_knn(sessions, V),
          fit_session_knn(sessions, V),
          fit_session_knn(sessions, V, SessionKnnOptions::preset("vmis-knn"))};
}

}  // namespace baselines
