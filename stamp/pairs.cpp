#include "stamp/pairs.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/cpu/thread_pool.h"
#include "stamp/pool.h"

namespace stamp {

WeightedLists WeightedLists::in_catalog(std::span<const std::int32_t> rows, std::int64_t V) const {
  require(static_cast<std::int64_t>(rows.size()) == lists.size(), "in_catalog: rows of ", rows.size(),
          " products, expected ", lists.size());
  std::vector<std::int32_t> known;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(known), [](std::int32_t row) { return row >= 0; });
  check_rows(known, V);
  std::vector<std::int64_t> key(static_cast<std::size_t>(V), -1);
  for (std::size_t x = 0; x < rows.size(); ++x)
    if (rows[x] >= 0) key[rows[x]] = static_cast<std::int64_t>(x);
  WeightedLists moved;
  moved.lists.values.reserve(lists.values.size());
  moved.weights.reserve(weights.size());
  for (const std::int64_t x : key) {
    for (std::int64_t i = x < 0 ? 0 : lists.offsets[x], last = x < 0 ? 0 : lists.offsets[x + 1]; i < last; ++i)
      if (const std::int32_t row = rows[lists.values[i]]; row >= 0) {
        moved.lists.values.push_back(row);
        moved.weights.push_back(weights[i]);
      }
    moved.lists.end_list();
  }
  return moved;
}

Occurrences::Occurrences(const Sessions& sessions, std::int64_t V) {
  check_numbers(sessions);
  const auto inside = [V](std::int32_t row) { return row >= 0 && row < V; };
  begins.assign(static_cast<std::size_t>(V + 1), 0);
  for (std::int32_t row : sessions.items())
    if (inside(row)) ++begins[row + 1];
  std::partial_sum(begins.begin(), begins.end(), begins.begin());
  events.resize(static_cast<std::size_t>(begins.back()));
  session.resize(static_cast<std::size_t>(sessions.events()));
  auto next = begins;
  for (std::int64_t s = 0; s < sessions.size(); ++s)
    for (std::int64_t e = sessions.offsets()[s]; e < sessions.offsets()[s + 1]; ++e) {
      session[e] = static_cast<std::int32_t>(s);
      if (inside(sessions.items()[e])) events[next[sessions.items()[e]]++] = e;
    }
}

WeightedLists strongest_pairs(std::int64_t V, std::int64_t most, const std::function<void(std::int32_t, Scores&)>& add,
                              const std::function<double(std::int32_t, std::int32_t, double)>& weigh) {
  struct Room {
    explicit Room(std::int64_t V) : scores(V) {}
    Scores scores;
    std::vector<float> weights;
    std::vector<std::int32_t> best;
  };
  Pool<Room> rooms;
  std::vector<std::vector<std::pair<std::int32_t, float>>> found(static_cast<std::size_t>(V));
  constexpr std::int64_t kGrain = 256;
  cpu::parallel_for_ranges(V, kGrain, 0, [&](std::int64_t first, std::int64_t last) {
    auto room = rooms.take([V] { return std::make_unique<Room>(V); });
    for (auto x = static_cast<std::int32_t>(first); x < last; ++x) {
      add(x, room->scores);
      const auto& rows = room->scores.rows();
      room->weights.clear();
      for (std::int32_t y : rows) {
        const double sum = room->scores[y];
        room->weights.push_back(static_cast<float>(weigh ? weigh(x, y, sum) : sum));
      }
      find_best(room->weights, most > 0 ? most : static_cast<std::int64_t>(rows.size()), room->best);
      found[x].reserve(room->best.size());
      for (std::int32_t i : room->best) found[x].emplace_back(rows[i], room->weights[i]);
      room->scores.clear();
    }
    rooms.give_back(std::move(room));
  });
  WeightedLists pairs;
  std::size_t kept = 0;
  for (const auto& list : found) kept += list.size();
  require(kept <= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()), "fit: ", kept,
          " pairs of products are more than a file holds; keep fewer of each (", most, " now)");
  pairs.lists.values.reserve(kept);
  pairs.weights.reserve(kept);
  for (auto& list : found) {
    for (const auto& [row, weight] : list) {
      pairs.lists.values.push_back(row);
      pairs.weights.push_back(weight);
    }
    pairs.lists.end_list();
    std::vector<std::pair<std::int32_t, float>>().swap(list);
  }
  return pairs;
}

}  // namespace stamp
