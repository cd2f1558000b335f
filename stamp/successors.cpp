#include "stamp/successors.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <tuple>
#include <utility>

namespace stamp {

namespace {

constexpr std::int64_t kApart = 10;  // events, at most
constexpr double kEarlier = 0.5, kSupport = 20;
constexpr const char* kNames[] = {"successors", "second_successors"};

// Each list by row.
void sort(WeightedLists& table) {
  std::vector<std::pair<std::int32_t, float>> list;
  for (std::int64_t x = 0; x < table.lists.size(); ++x) {
    const auto first = table.lists.offsets[x], last = table.lists.offsets[x + 1];
    list.clear();
    for (std::int64_t i = first; i < last; ++i) list.emplace_back(table.lists.values[i], table.weights[i]);
    std::sort(list.begin(), list.end());
    for (std::int64_t i = first; i < last; ++i) std::tie(table.lists.values[i], table.weights[i]) = list[i - first];
  }
}

// t of all pairs that are near each other in sessions that count.
WeightedLists near(const Sessions& sessions, const Occurrences& occurrences, const std::vector<bool>& counts,
                   std::int64_t V, std::int64_t most) {
  const auto items = sessions.items();
  const auto offsets = sessions.offsets();
  std::vector<double> of_all(static_cast<std::size_t>(V));
  return strongest_pairs(
      V, most,
      [&](std::int32_t x, Scores& sums) {
        for (const std::int64_t event : occurrences[x]) {
          const std::int32_t session = occurrences.session[event];
          if (!counts[session]) continue;
          const std::int64_t first = std::max(offsets[session], event - kApart);
          const std::int64_t last = std::min(offsets[session + 1] - 1, event + kApart);
          for (std::int64_t other = first; other <= last; ++other) {
            const std::int32_t y = items[other];
            if (y == x || y < 0 || y >= V || !sessions.is_target(other)) continue;
            const double weight = sessions.weights().empty() ? 1 : sessions.weights()[other];
            const double share = other > event ? weight / static_cast<double>(other - event)
                                               : kEarlier * weight / static_cast<double>(event - other);
            sums.add(y, share);
            of_all[x] += share;
          }
        }
      },
      [&](std::int32_t x, std::int32_t, double sum) { return std::log(sum / (of_all[x] + kSupport)); });
}

// t₂ by way of `table`, which has log t.
WeightedLists beyond(const WeightedLists& table, const Occurrences& occurrences, const std::vector<bool>& counts,
                     std::int64_t most) {
  const std::int64_t V = table.lists.size();
  std::vector<double> shares;  // old events may weigh next to nothing
  shares.reserve(table.weights.size());
  for (const float log_share : table.weights) shares.push_back(std::exp(double{log_share}));
  const auto shares_of = [&](std::int32_t x) { return shares.data() + table.lists.offsets[x]; };
  std::vector<double> clicks(static_cast<std::size_t>(V));
  for (std::int32_t v = 0; v < V; ++v)
    for (const std::int64_t event : occurrences[v]) clicks[v] += counts[occurrences.session[event]];
  return strongest_pairs(
      V, most,
      [&](std::int32_t x, Scores& sums) {
        const auto rows = table.lists[x];
        for (std::size_t i = 0; i < rows.size(); ++i) {
          const auto on = table.lists[rows[i]];
          for (std::size_t j = 0; j < on.size(); ++j)
            if (on[j] != x) sums.add(on[j], shares_of(x)[i] * shares_of(rows[i])[j]);
        }
      },
      [&](std::int32_t, std::int32_t v, double sum) { return std::log(sum / std::sqrt(clicks[v])); });
}

void check(int steps) { require(steps == 1 || steps == 2, "Successors: ", steps, " steps, expected 1 or 2"); }

}  // namespace

Successors::Successors(std::int64_t V, int steps) {
  check(steps);
  tables_.resize(static_cast<std::size_t>(steps));
  for (auto& table : tables_) table.lists.offsets.assign(static_cast<std::size_t>(V + 1), 0);
}

Successors::Successors(const Sessions& sessions, std::int64_t V, std::int64_t most, int steps,
                       std::span<const std::int64_t> left_out) {
  check(steps);
  const Occurrences occurrences(sessions, V);
  std::vector<bool> counts(static_cast<std::size_t>(sessions.size()));
  for (std::int64_t session = 0; session < sessions.size(); ++session) counts[session] = sessions.has_example(session);
  for (const std::int64_t event : left_out) counts[occurrences.session[event]] = false;
  tables_.push_back(near(sessions, occurrences, counts, V, most));
  if (steps > 1) tables_.push_back(beyond(tables_[0], occurrences, counts, most));
  for (auto& table : tables_) sort(table);
}

Successors Successors::in_catalog(std::span<const std::int32_t> rows, std::int64_t products) const {
  Successors moved;
  moved.tables_.clear();
  for (const auto& table : tables_) sort(moved.tables_.emplace_back(table.in_catalog(rows, products)));
  return moved;
}

void Successors::save(std::map<std::string, TensorSource>& tensors, const std::string& prefix) const {
  for (std::size_t step = 0; step < tables_.size(); ++step) {
    const auto& [lists, weights] = tables_[step];
    lists.save(tensors, prefix + kNames[step]);
    tensors.insert_or_assign(prefix + kNames[step] + ".log_shares",
                             TensorSource({DType::f32, {static_cast<std::int64_t>(weights.size())}}, weights.data()));
  }
}

Successors::Successors(const Safetensors& file, const std::string& prefix, std::int64_t V, int steps) {
  check(steps);
  try {
    for (int step = 0; step < steps; ++step) {
      const std::string name = prefix + kNames[step];
      auto& [lists, weights] = tables_.emplace_back();
      lists = Lists::from(file, name, V, V);
      const auto shares = file.f32(name + ".log_shares", {static_cast<std::int64_t>(lists.values.size())});
      weights.assign(shares.begin(), shares.end());
      for (const float share : weights)
        require(std::isfinite(share) && share <= 0, name, ".log_shares hold ", share, ", expected 0 or less");
      for (std::int64_t x = 0; x < V; ++x) {
        const auto rows = lists[x];
        require(std::adjacent_find(rows.begin(), rows.end(), std::greater_equal<std::int32_t>()) == rows.end(), name,
                ".values of product ", x, " do not ascend");
      }
    }
  } catch (const std::invalid_argument& error) {
    fail(file.name(), ": ", error.what());
  }
}

}  // namespace stamp
