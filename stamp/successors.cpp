#include "stamp/successors.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <tuple>
#include <utility>

namespace stamp {

namespace {

constexpr std::int64_t kSteps = 10;
constexpr double kEarlier = 0.5, kSupport = 20;

}  // namespace

Successors::Successors(std::int64_t V) { pairs_.lists.offsets.assign(static_cast<std::size_t>(V + 1), 0); }

Successors::Successors(const Sessions& sessions, std::int64_t V, std::int64_t most,
                       std::span<const std::int64_t> left_out) {
  const Occurrences occurrences(sessions, V);
  const auto items = sessions.items();
  const auto offsets = sessions.offsets();
  std::vector<bool> counts(static_cast<std::size_t>(sessions.size()));
  for (std::int64_t session = 0; session < sessions.size(); ++session) counts[session] = sessions.has_example(session);
  for (const std::int64_t event : left_out) counts[occurrences.session[event]] = false;
  std::vector<double> of_all(static_cast<std::size_t>(V));
  pairs_ = strongest_pairs(
      V, most,
      [&](std::int32_t x, Scores& near) {
        for (const std::int64_t event : occurrences[x]) {
          const std::int32_t session = occurrences.session[event];
          if (!counts[session]) continue;
          const std::int64_t first = std::max(offsets[session], event - kSteps);
          const std::int64_t last = std::min(offsets[session + 1] - 1, event + kSteps);
          for (std::int64_t other = first; other <= last; ++other) {
            const std::int32_t y = items[other];
            if (y == x || y < 0 || y >= V || !sessions.is_target(other)) continue;
            const double weight = sessions.weights().empty() ? 1 : sessions.weights()[other];
            const double share = other > event ? weight / static_cast<double>(other - event)
                                               : kEarlier * weight / static_cast<double>(event - other);
            near.add(y, share);
            of_all[x] += share;
          }
        }
      },
      [&](std::int32_t x, std::int32_t, double sum) { return std::log(sum / (of_all[x] + kSupport)); });
  sort();
}

// Each list by row.
void Successors::sort() {
  std::vector<std::pair<std::int32_t, float>> list;
  for (std::int64_t x = 0; x < V(); ++x) {
    const auto first = pairs_.lists.offsets[x], last = pairs_.lists.offsets[x + 1];
    list.clear();
    for (std::int64_t i = first; i < last; ++i) list.emplace_back(pairs_.lists.values[i], pairs_.weights[i]);
    std::sort(list.begin(), list.end());
    for (std::int64_t i = first; i < last; ++i) std::tie(pairs_.lists.values[i], pairs_.weights[i]) = list[i - first];
  }
}

Successors Successors::in_catalog(std::span<const std::int32_t> rows, std::int64_t products) const {
  Successors moved;
  moved.pairs_ = pairs_.in_catalog(rows, products);
  moved.sort();
  return moved;
}

void Successors::save(std::map<std::string, TensorSource>& tensors, const std::string& prefix) const {
  pairs_.lists.save(tensors, prefix + "successors");
  const auto& weights = pairs_.weights;
  tensors.insert_or_assign(prefix + "successors.log_shares",
                           TensorSource({DType::f32, {static_cast<std::int64_t>(weights.size())}}, weights.data()));
}

Successors::Successors(const Safetensors& file, const std::string& prefix, std::int64_t V) {
  const std::string name = prefix + "successors";
  try {
    pairs_.lists = Lists::from(file, name, V, V);
    const auto shares = file.f32(name + ".log_shares", {static_cast<std::int64_t>(pairs_.lists.values.size())});
    pairs_.weights.assign(shares.begin(), shares.end());
    for (const float share : shares)
      require(std::isfinite(share) && share <= 0, name, ".log_shares hold ", share, ", expected 0 or less");
    for (std::int64_t x = 0; x < V; ++x) {
      const auto rows = pairs_.lists[x];
      require(std::adjacent_find(rows.begin(), rows.end(), std::greater_equal<std::int32_t>()) == rows.end(), name,
              ".values of product ", x, " do not ascend");
    }
  } catch (const std::invalid_argument& error) {
    fail(file.name(), ": ", error.what());
  }
}

}  // namespace stamp
