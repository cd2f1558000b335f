#include "stamp/popularity.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

namespace stamp {

namespace {

// [V] codes 0 … groups-1, or -1.
std::int64_t count_groups(std::span<const std::int32_t> groups) {
  return groups.empty() ? 0 : 1 + std::int64_t{*std::max_element(groups.begin(), groups.end())};
}

class Popularity final : public Baseline {
 public:
  // rows: best first, with their weights; groups: [V] or empty.
  Popularity(std::int64_t V, std::string options, std::vector<std::int32_t> rows, std::vector<float> weights,
             std::vector<std::int32_t> groups)
      : Baseline(V, "popularity", std::move(options)),
        rows_(std::move(rows)),
        weights_(std::move(weights)),
        groups_(std::move(groups)) {
    // The products of each group, in the order of all.
    begins_.assign(static_cast<std::size_t>(count_groups(groups_) + 1), 0);
    if (groups_.empty()) return;
    for (std::int32_t row : rows_)
      if (groups_[row] >= 0) ++begins_[groups_[row] + 1];
    std::partial_sum(begins_.begin(), begins_.end(), begins_.begin());
    group_rows_.resize(static_cast<std::size_t>(begins_.back()));
    group_weights_.resize(group_rows_.size());
    auto next = begins_;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const std::int32_t group = groups_[rows_[i]];
      if (group < 0) continue;
      group_rows_[next[group]] = rows_[i];
      group_weights_[next[group]++] = weights_[i];
    }
  }

  bool needs_history() const override { return false; }

  ScoredProducts score(std::span<const std::int32_t> history, Scratch&) const override {
    const std::int32_t group = groups_.empty() || history.empty() ? -1 : groups_[history.back()];
    if (group < 0 || begins_[group] == begins_[group + 1]) return {.rows = rows_, .scores = weights_, .sorted = true};
    const auto first = static_cast<std::size_t>(begins_[group]);
    const auto size = static_cast<std::size_t>(begins_[group + 1]) - first;
    return {.rows = std::span(group_rows_).subspan(first, size),
            .scores = std::span(group_weights_).subspan(first, size),
            .sorted = true};
  }

  std::map<std::string, TensorSource> tensors() const override {
    const auto n = static_cast<std::int64_t>(rows_.size());
    std::map<std::string, TensorSource> tensors;
    tensors.insert_or_assign("rows", TensorSource({DType::i32, {n}}, rows_.data()));
    tensors.insert_or_assign("weights", TensorSource({DType::f32, {n}}, weights_.data()));
    if (!groups_.empty()) tensors.insert_or_assign("groups", TensorSource({DType::i32, {V()}}, groups_.data()));
    return tensors;
  }

  std::shared_ptr<const Baseline> in_catalog(std::span<const std::int32_t> rows, std::int64_t products) const override {
    check_moved(rows, V(), products);
    auto moved = rows_;
    for (std::int32_t& row : moved) row = rows[row];
    std::vector<std::int32_t> groups(groups_.empty() ? 0 : static_cast<std::size_t>(products), -1);
    for (std::size_t v = 0; v < groups_.size(); ++v) groups[rows[v]] = groups_[v];
    return std::make_shared<Popularity>(products, options(), std::move(moved), weights_, std::move(groups));
  }

 private:
  std::vector<std::int32_t> rows_;
  std::vector<float> weights_;
  std::vector<std::int32_t> groups_;
  std::vector<std::int64_t> begins_;
  std::vector<std::int32_t> group_rows_;
  std::vector<float> group_weights_;
};

class SessionPopularity final : public Baseline {
 public:
  SessionPopularity(std::int64_t V, std::string options, std::vector<float> clicks)
      : Baseline(V, "session_popularity", std::move(options)), clicks_(std::move(clicks)) {
    if (!clicks_.empty()) scale_ = 1 / (1 + *std::max_element(clicks_.begin(), clicks_.end()));
  }

  ScoredProducts score(std::span<const std::int32_t> history, Scratch& scratch) const override {
    auto& room = static_cast<Room&>(scratch);
    auto& found = room.found;
    found.clear();
    for (std::size_t i = 0; i < history.size(); ++i) found.push_back({history[i], static_cast<std::int32_t>(i), 1});
    std::sort(found.begin(), found.end(),
              [](const Found& a, const Found& b) { return a.row < b.row || (a.row == b.row && a.first < b.first); });
    std::size_t distinct = 0;
    for (const Found& event : found)
      if (distinct > 0 && found[distinct - 1].row == event.row)
        ++found[distinct - 1].count;
      else
        found[distinct++] = event;
    found.resize(distinct);
    std::sort(found.begin(), found.end(), [&](const Found& a, const Found& b) {
      return clicks_[a.row] > clicks_[b.row] || (clicks_[a.row] == clicks_[b.row] && a.first < b.first);
    });
    room.rows.clear();
    room.scores.clear();
    for (const Found& product : found) {
      room.rows.push_back(product.row);
      room.scores.push_back(static_cast<float>(product.count) + clicks_[product.row] * scale_);
    }
    return {.rows = room.rows, .scores = room.scores};
  }

  std::unique_ptr<Scratch> scratch() const override { return std::make_unique<Room>(); }

  std::map<std::string, TensorSource> tensors() const override {
    std::map<std::string, TensorSource> tensors;
    tensors.insert_or_assign("clicks", TensorSource({DType::f32, {V()}}, clicks_.data()));
    return tensors;
  }

  std::shared_ptr<const Baseline> in_catalog(std::span<const std::int32_t> rows, std::int64_t products) const override {
    check_moved(rows, V(), products);
    std::vector<float> clicks(static_cast<std::size_t>(products));
    for (std::size_t v = 0; v < rows.size(); ++v) clicks[rows[v]] = clicks_[v];
    return std::make_shared<SessionPopularity>(products, options(), std::move(clicks));
  }

 private:
  struct Found {
    std::int32_t row, first, count;  // first: event of the session
  };
  struct Room final : Scratch {
    std::vector<Found> found;
    std::vector<std::int32_t> rows;
    std::vector<float> scores;
  };

  std::vector<float> clicks_;
  float scale_ = 1;
};

// Codes 0, 1, … in the order of the first product of each; -1 stays. A table of products has more values than are here.
std::vector<std::int32_t> renumbered(std::span<const std::int32_t> groups) {
  std::unordered_map<std::int32_t, std::int32_t> codes;
  std::vector<std::int32_t> result(groups.begin(), groups.end());
  for (std::int32_t& group : result)
    if (group >= 0) group = codes.try_emplace(group, static_cast<std::int32_t>(codes.size())).first->second;
  return result;
}

std::shared_ptr<const Baseline> popularity_by(std::string options, const std::vector<double>& weights,
                                              const std::vector<std::int64_t>& clicks,
                                              std::vector<std::int32_t> groups) {
  std::vector<std::int32_t> rows;
  for (std::size_t row = 0; row < weights.size(); ++row)
    if (static_cast<float>(weights[row]) > 0) rows.push_back(static_cast<std::int32_t>(row));
  std::sort(rows.begin(), rows.end(), [&](std::int32_t a, std::int32_t b) {
    const auto x = static_cast<float>(weights[a]), y = static_cast<float>(weights[b]);
    if (x != y) return x > y;
    return clicks[a] > clicks[b] || (clicks[a] == clicks[b] && a < b);
  });
  std::vector<float> listed;
  for (std::int32_t row : rows) listed.push_back(static_cast<float>(weights[row]));
  return std::make_shared<Popularity>(static_cast<std::int64_t>(weights.size()), std::move(options), std::move(rows),
                                      std::move(listed), std::move(groups));
}

}  // namespace

void PopularityOptions::validate() const {
  require(recent >= 0 && std::isfinite(recent), "recent is ", recent, " seconds, expected more, or 0 for all");
  require(half_life >= 0 && std::isfinite(half_life), "half_life is ", half_life,
          " seconds, expected more, or 0 for none");
}

std::shared_ptr<const Baseline> fit_popularity(const Sessions& sessions, std::int64_t V,
                                               const PopularityOptions& options, std::span<const std::int32_t> groups) {
  options.validate();
  require(groups.empty() || static_cast<std::int64_t>(groups.size()) == V, "fit: groups of ", groups.size(),
          " products, expected ", V);
  for (std::int32_t group : groups) require(group >= -1, "fit: a group is ", group, ", expected 0 or more, or -1");
  const auto clicks = item_counts(sessions, V);
  std::vector<double> weights(clicks.begin(), clicks.end());
  if (options.recent > 0 || options.half_life > 0) {
    const auto times = sessions.timestamps();
    require(!times.empty() || sessions.events() == 0, "fit: ", options.recent > 0 ? "recent" : "half_life",
            " needs timestamps, which these sessions have not");
    const std::int64_t last = times.empty() ? 0 : *std::max_element(times.begin(), times.end());
    std::fill(weights.begin(), weights.end(), 0.0);
    for (std::int64_t e = 0; e < sessions.events(); ++e) {
      const std::int32_t row = sessions.items()[e];
      const double age = static_cast<double>(last - times[e]) * 1e-6;
      if (row < 0 || row >= V || (options.recent > 0 && age >= options.recent)) continue;
      weights[row] += options.half_life > 0 ? std::exp2(-age / options.half_life) : 1;
    }
  }
  return popularity_by(to_json(options), weights, clicks, renumbered(groups));
}

std::shared_ptr<const Baseline> popularity_of(std::span<const std::int64_t> clicks) {
  return popularity_by(to_json(PopularityOptions()), {clicks.begin(), clicks.end()}, {clicks.begin(), clicks.end()},
                       {});
}

std::shared_ptr<const Baseline> fit_session_popularity(const Sessions& sessions, std::int64_t V) {
  const auto clicks = item_counts(sessions, V);
  return std::make_shared<SessionPopularity>(V, "{}", std::vector<float>(clicks.begin(), clicks.end()));
}

std::shared_ptr<const Baseline> read_popularity(const Safetensors& file, std::int64_t V, const std::string& options) {
  popularity_options_from_json(options);
  const auto found = file.tensors().find("rows");
  const std::int64_t n = found == file.tensors().end() ? 0 : found->second.elements();
  const auto rows = file.i32("rows", {n});
  const auto weights = file.f32("weights", {n});
  require(n <= V, n, " rows of ", V, " products");
  check_rows(rows, V);
  for (std::size_t i = 0; i < weights.size(); ++i)
    require(std::isfinite(weights[i]) && (i == 0 || weights[i] <= weights[i - 1]), "weights do not fall");
  std::vector<std::int32_t> groups;
  if (file.contains("groups")) {
    const auto stored = file.i32("groups", {V});
    groups.assign(stored.begin(), stored.end());
    for (std::int32_t group : groups)
      require(group >= -1 && group < V, "a group is ", group, ", expected -1 to ", V - 1);
  }
  return std::make_shared<Popularity>(V, options, std::vector<std::int32_t>(rows.begin(), rows.end()),
                                      std::vector<float>(weights.begin(), weights.end()), std::move(groups));
}

std::shared_ptr<const Baseline> read_session_popularity(const Safetensors& file, std::int64_t V,
                                                        const std::string& options) {
  const auto clicks = file.f32("clicks", {V});
  for (float click : clicks) require(click >= 0 && std::isfinite(click), "clicks hold ", click);
  return std::make_shared<SessionPopularity>(V, options, std::vector<float>(clicks.begin(), clicks.end()));
}

}  // namespace stamp
