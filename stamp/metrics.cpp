#include "stamp/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "stamp/floors.h"
#include "stamp/scan_table.h"

namespace stamp {

namespace {

class ModelRanker final : public Ranker {
 public:
  ModelRanker(const Model& model, std::shared_ptr<Device> device)
      : model_(model),
        device_(std::move(device)),
        activations_(device_),
        floors_(model, device_, device_->reads_host_memory() ? 1 : 0),
        table_(model, device_, all_rows(model.V())),
        ids_(device_, 0),
        scores_(device_, 0),
        above_(device_, 0),
        tied_(device_, 0) {}

  std::int64_t V() const override { return model_.V(); }

  void rank(const Batch& batch, std::int64_t k, Ranking& ranking) override {
    activations_.upload(batch, model_.config());
    model_.forward(*device_, activations_);
    ids_.resize(batch.B() * k);
    scores_.resize(batch.B() * k);
    above_.resize(batch.B());
    tied_.resize(batch.B());
    device_->catalog_top_k({.B = batch.B(),
                            .D = model_.config().dim,
                            .V = model_.V(),
                            .k = k,
                            .queries = activations_.q.data(),
                            .items = table_.items(),
                            .packed = table_.packed().data(),
                            .floors = floors_.of(batch, 0, batch.begin.size()),
                            .targets = activations_.targets(),
                            .ids = ids_.data(),
                            .scores = scores_.data(),
                            .above = above_.data(),
                            .tied = tied_.data()});
    ranking.ids = ids_.download();
    ranking.above = above_.download();
    ranking.tied = tied_.download();
  }

 private:
  static std::vector<std::int32_t> all_rows(std::int64_t V) {
    std::vector<std::int32_t> rows(static_cast<std::size_t>(V));
    std::iota(rows.begin(), rows.end(), 0);
    return rows;
  }

  const Model& model_;
  std::shared_ptr<Device> device_;
  Activations activations_;
  HistoryFloors floors_;
  ScanTable table_;
  Array<std::int32_t> ids_;
  Array<float> scores_;
  Array<std::int64_t> above_, tied_;
};

}  // namespace

std::unique_ptr<Ranker> model_ranker(const Model& model, std::shared_ptr<Device> device) {
  return std::make_unique<ModelRanker>(model, std::move(device));
}

std::vector<std::int64_t> item_counts(const Sessions& sessions, std::int64_t V) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(V));
  for (std::int32_t item : sessions.items())
    if (item >= 0 && item < V) ++counts[item];
  return counts;
}

MetricsAccumulator::MetricsAccumulator(MetricsOptions options, std::vector<std::int64_t> counts)
    : options_(std::move(options)), counts_(std::move(counts)) {
  require(!options_.k.empty(), "evaluate: no k is given, expected one or more list lengths");
  for (std::int64_t k : options_.k) require(k >= 1, "evaluate: k is ", k, ", expected 1 or more");
  require(options_.min_history >= 1, "evaluate: min_history is ", options_.min_history, ", expected 1 or more");
  require(options_.history >= 0, "evaluate: history is ", options_.history, ", expected 0 (all events) or more");
  require(options_.batch >= 1, "evaluate: batch is ", options_.batch, ", expected 1 or more");
  const std::size_t n = options_.k.size();
  for (auto* sums : {&hr_, &mrr_, &ndcg_, &popularity_}) sums->assign(n, 0);
  listed_.assign(n, 0);
  covered_.assign(n, std::vector<bool>(counts_.size()));
  most_clicked_ = counts_.empty() ? 1 : std::max<std::int64_t>(1, *std::max_element(counts_.begin(), counts_.end()));
}

void MetricsAccumulator::add(const Batch& batch, const Ranking& ranking, std::int64_t k) {
  for (std::int64_t b = 0; b < batch.B(); ++b) {
    const bool cold = is_cold(batch.targets[b]);
    totals_.cold_targets += cold;
    const bool reachable = ranking.above[b] < static_cast<std::int64_t>(counts_.size());
    totals_.unreachable += !cold && !reachable;
    totals_.tied += ranking.tied[b] > 0;
    ++totals_.examples;
    double rank = static_cast<double>(ranking.above[b]) + 1;
    if (options_.ties == Ties::conservative) rank += static_cast<double>(ranking.tied[b]);
    if (options_.ties == Ties::mean) rank += static_cast<double>(ranking.tied[b]) / 2;
    for (std::size_t i = 0; i < options_.k.size(); ++i) {
      if (rank <= static_cast<double>(options_.k[i]) && reachable && !cold) {
        hr_[i] += 1;
        mrr_[i] += 1 / rank;
        ndcg_[i] += 1 / std::log2(rank + 1);
      }
      for (std::int64_t j = 0; j < std::min(options_.k[i], k); ++j) {
        const std::int32_t id = ranking.ids[b * k + j];
        if (id < 0) break;
        covered_[i][id] = true;
        popularity_[i] += static_cast<double>(counts_[id]) / static_cast<double>(most_clicked_);
        ++listed_[i];
      }
    }
  }
}

Metrics MetricsAccumulator::result() const {
  Metrics metrics = totals_;
  const double n = static_cast<double>(std::max<std::int64_t>(1, totals_.examples));
  for (std::size_t i = 0; i < options_.k.size(); ++i) {
    const auto distinct = std::count(covered_[i].begin(), covered_[i].end(), true);
    metrics.at.push_back({.k = options_.k[i],
                          .hr = hr_[i] / n,
                          .mrr = mrr_[i] / n,
                          .ndcg = ndcg_[i] / n,
                          .coverage = static_cast<double>(distinct) / static_cast<double>(counts_.size()),
                          .popularity = listed_[i] ? popularity_[i] / static_cast<double>(listed_[i]) : 0});
  }
  return metrics;
}

void MetricsAccumulator::add_unanswered(std::int32_t target) {
  ++totals_.examples;
  ++(is_cold(target) ? totals_.cold_targets : totals_.unanswered);
}

bool MetricsAccumulator::is_cold(std::int32_t target) const {
  return target < 0 || target >= static_cast<std::int64_t>(counts_.size()) || counts_[target] == 0;
}

Metrics evaluate(Ranker& ranker, const Sessions& sessions, const std::vector<std::int64_t>& counts,
                 const MetricsOptions& options, const std::function<bool(std::int64_t, std::int64_t)>& progress) {
  MetricsAccumulator metrics(options, counts);
  const std::int64_t V = ranker.V();
  require(static_cast<std::int64_t>(counts.size()) == V, "evaluate: counts of ", counts.size(), " products, expected ",
          V);
  const std::int64_t k = std::min(V, *std::max_element(options.k.begin(), options.k.end()));
  Ranking ranking;
  walk_examples(
      sessions,
      {.V = V,
       .min_history = options.min_history,
       .last_only = options.last_only,
       .history = options.history,
       .batch = options.batch,
       .preference = options.preference},
      [&](std::int32_t target, std::int64_t known) {
        const bool answerable = known > 0 || !ranker.needs_history();
        if (!answerable) metrics.add_unanswered(target);
        return answerable;
      },
      [&](const Batch& batch, std::int64_t done) {
        if (batch.B() > 0) {
          ranker.rank(batch, k, ranking);
          metrics.add(batch, ranking, k);
        }
        return !progress || progress(done, sessions.size());
      });
  return metrics.result();
}

}  // namespace stamp
