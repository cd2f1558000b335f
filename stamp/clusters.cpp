#include "stamp/clusters.h"

#include <algorithm>

namespace stamp {

namespace {

// What a table says of a product; the same as of Catalog::kUnknown where it does not reach so far.
std::int32_t look_up(std::span<const std::int32_t> table, std::int32_t item) {
  return item >= 0 && static_cast<std::size_t>(item) < table.size() ? table[item] : Catalog::kUnknown;
}

}  // namespace

ClusterSessions cluster_sessions(const Sessions& sessions, std::span<const std::int32_t> rows, bool keep_misses) {
  ClusterSessions result;
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0}, timestamps;
  std::vector<float> weights;
  std::vector<std::uint8_t> labels;
  bool weighted = !sessions.weights().empty();
  const auto keep = [&](std::int64_t event, std::int32_t row, float weight) {
    items.push_back(row);
    weights.push_back(weight);
    weighted |= weight != 1;
    if (!sessions.timestamps().empty()) timestamps.push_back(sessions.timestamps()[event]);
    if (!sessions.labels().empty()) labels.push_back(sessions.labels()[event]);
  };
  for (std::int64_t s = 0; s < sessions.size(); ++s) {
    const std::int64_t first = sessions.offsets()[s];
    bool after_inside = false, has_example = false;
    for (std::int64_t event = first; event < sessions.offsets()[s + 1]; ++event) {
      const std::int32_t row = look_up(rows, sessions.items()[event]);
      const bool inside = row >= 0, example = after_inside && sessions.is_target(event);
      const float weight = sessions.weights().empty() ? 1 : sessions.weights()[event];
      result.examples += example;
      result.inside += example && inside;
      if (inside)
        keep(event, row, after_inside || event == first ? weight : 0);
      else if (example && keep_misses)
        keep(event, Catalog::kUnknown, weight);
      has_example |= example && (inside || keep_misses);
      after_inside = inside;
    }
    const std::size_t begin = static_cast<std::size_t>(offsets.back());
    if (has_example) {
      offsets.push_back(static_cast<std::int64_t>(items.size()));
    } else {
      items.resize(begin);
      weights.resize(begin);
      timestamps.resize(std::min(begin, timestamps.size()));
      labels.resize(std::min(begin, labels.size()));
    }
  }
  if (!weighted) weights.clear();
  result.sessions =
      Sessions(std::move(items), std::move(offsets), std::move(timestamps), std::move(weights), std::move(labels));
  return result;
}

std::vector<ClusterExamples> count_cluster_examples(const Sessions& sessions, std::span<const std::int32_t> labels,
                                                    std::int64_t clusters) {
  for (std::size_t v = 0; v < labels.size(); ++v)
    require(labels[v] >= -1 && labels[v] < clusters, "count_cluster_examples: product ", v, " has label ", labels[v],
            ", expected -1 to ", clusters - 1);
  std::vector<ClusterExamples> counts(static_cast<std::size_t>(clusters));
  for (const std::int64_t target : example_targets(sessions)) {
    const std::int32_t anchor = look_up(labels, sessions.items()[target - 1]);
    if (anchor < 0) continue;
    ++counts[anchor].examples;
    counts[anchor].inside += look_up(labels, sessions.items()[target]) == anchor;
  }
  return counts;
}

namespace {

class ClusterRanker final : public Ranker {
 public:
  ClusterRanker(std::int64_t V, std::vector<ClusterModel> models, const std::shared_ptr<Device>& device)
      : owner_(static_cast<std::size_t>(V), -1), local_(static_cast<std::size_t>(V), Catalog::kUnknown) {
    for (auto& [rows, model] : models) {
      const std::int32_t number = static_cast<std::int32_t>(parts_.size());
      require(static_cast<std::int64_t>(rows.size()) == model->V(), "cluster_ranker: ", rows.size(),
              " rows for a model of ", model->V(), " products");
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::int32_t row = rows[i];
        require(row >= 0 && row < V, "cluster_ranker: row ", row, ", expected 0 to ", V - 1);
        require(owner_[row] < 0, "cluster_ranker: product ", row, " is in two clusters");
        owner_[row] = number;
        local_[row] = static_cast<std::int32_t>(i);
      }
      parts_.push_back({.model = model, .rows = std::move(rows), .ranker = model_ranker(*model, device)});
    }
  }

  std::int64_t V() const override { return static_cast<std::int64_t>(owner_.size()); }

  void rank(const Batch& batch, std::int64_t k, Ranking& ranking) override {
    ranking.ids.assign(static_cast<std::size_t>(batch.B() * k), -1);
    ranking.above.assign(static_cast<std::size_t>(batch.B()), V());
    ranking.tied.assign(static_cast<std::size_t>(batch.B()), 0);
    for (Part& part : parts_) part.clear();
    for (std::int64_t b = 0; b < batch.B(); ++b) {
      const std::int32_t anchor = batch.length[b] > 0 ? batch.items[batch.begin[b] + batch.length[b] - 1] : -1;
      if (look_up(owner_, anchor) >= 0) route(batch, b, owner_[anchor]);
    }
    for (Part& part : parts_)
      if (part.batch.B() > 0) answer(part, k, ranking);
  }

 private:
  struct Part {
    std::shared_ptr<const Model> model;
    std::vector<std::int32_t> rows;
    std::unique_ptr<Ranker> ranker;  // of the model
    // Of the batch at hand:
    Batch batch = {};
    std::vector<std::int64_t> examples = {};  // which of the whole batch they are
    std::int64_t from = 0, to = 0;            // events of the whole batch that were read last
    std::vector<std::int32_t> known = {};     // what is kept of them
    SharedHistories histories = {};

    void clear() {
      batch.clear();
      examples.clear();
      from = to = -1;
    }
  };

  // Appends example b to the batch of its cluster. Prefixes of one session share their events there too.
  void route(const Batch& whole, std::int64_t b, std::int32_t number) {
    Part& part = parts_[number];
    const std::int64_t from = whole.begin[b], to = from + whole.length[b];
    if (part.from != from || part.to > to) {
      part.from = part.to = from;
      part.known.clear();
      part.histories.restart();
    }
    for (; part.to < to; ++part.to)
      if (look_up(owner_, whole.items[part.to]) == number) part.known.push_back(local_[whole.items[part.to]]);
    const auto known = static_cast<std::int64_t>(part.known.size()), history = part.model->config().history;
    const std::int32_t target = whole.targets[b];
    part.histories.add(part.known, history > 0 ? std::max<std::int64_t>(0, known - history) : 0, known, part.batch);
    part.batch.targets.push_back(look_up(owner_, target) == number ? local_[target] : Catalog::kUnknown);
    part.batch.weights.push_back(whole.weights[b]);
    const std::int64_t K = static_cast<std::int64_t>(whole.preferences.size()) / whole.B();
    const auto preference = whole.preferences.begin() + b * K;
    part.batch.preferences.insert(part.batch.preferences.end(), preference, preference + K);
    part.examples.push_back(b);
  }

  void answer(Part& part, std::int64_t k, Ranking& ranking) {
    const std::int64_t listed = std::min(k, part.model->V());
    part.ranker->rank(part.batch, listed, found_);
    for (std::int64_t i = 0; i < part.batch.B(); ++i) {
      const std::int64_t b = part.examples[i];
      for (std::int64_t j = 0; j < listed; ++j)
        if (const std::int32_t id = found_.ids[i * listed + j]; id >= 0) ranking.ids[b * k + j] = part.rows[id];
      if (part.batch.targets[i] < 0 || found_.above[i] == part.model->V()) continue;  // outside, or a NaN score
      ranking.above[b] = found_.above[i];
      ranking.tied[b] = found_.tied[i];
    }
  }

  std::vector<std::int32_t> owner_;  // [V] the part that each product belongs to, or -1
  std::vector<std::int32_t> local_;  // [V] its row there
  std::vector<Part> parts_;
  Ranking found_;
};

}  // namespace

std::unique_ptr<Ranker> cluster_ranker(std::int64_t V, std::vector<ClusterModel> models,
                                       std::shared_ptr<Device> device) {
  return std::make_unique<ClusterRanker>(V, std::move(models), device);
}

}  // namespace stamp
