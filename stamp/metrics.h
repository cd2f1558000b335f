// Ranking metrics over the full catalog, and the rankers they measure.
// Protocol: every event of a weight above 0 with enough history is a target (or the last of each session), nothing is
// excluded, ties are conservative by default, NaN is a miss, and targets that cannot be hit are misses that are also
// reported, each as one of cold, unanswered or unreachable.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "stamp/model.h"

namespace stamp {

enum class Ties { conservative, mean, optimistic };

// What a ranker says of one batch.
struct Ranking {
  std::vector<std::int32_t> ids;    // [B,k], -1 where nothing is left
  std::vector<std::int64_t> above;  // [B] products scoring above the target
  std::vector<std::int64_t> tied;   // [B] other products scoring the same
};

class STAMP_API Ranker {
 public:
  virtual ~Ranker() = default;
  virtual std::int64_t V() const = 0;
  // Without a known product in the history (length 0) a ranker that needs one is not asked: a miss.
  virtual bool needs_history() const { return true; }
  // Targets outside 0 … V-1 are cold: above = V, tied = 0. So are targets that this ranker never lists.
  virtual void rank(const Batch& batch, std::int64_t k, Ranking& ranking) = 0;
};

STAMP_API std::unique_ptr<Ranker> model_ranker(const Model& model, std::shared_ptr<Device> device);

// Clicks of each of V products.
STAMP_API std::vector<std::int64_t> item_counts(const Sessions& sessions, std::int64_t V);

struct MetricsOptions {
  std::vector<std::int64_t> k = {5, 10, 20};
  std::int64_t min_history = 1;
  bool last_only = false;  // only the last event of each session is a target
  Ties ties = Ties::conservative;
  std::int64_t history = 0;
  std::int64_t batch = 512;
  std::vector<float> preference = {};  // [K] among a model's objectives; empty: all for clicks
};

struct MetricsAtK {
  std::int64_t k;
  double hr;          // share of targets among the first k; equals recall for one target
  double mrr;         // mean of 1/rank, 0 beyond k
  double ndcg;        // mean of 1/log2(rank+1), 0 beyond k
  double coverage;    // distinct products recommended / V
  double popularity;  // mean over listed products of training clicks / clicks of the most clicked product
};

struct Metrics {
  std::vector<MetricsAtK> at;
  std::int64_t examples = 0;      // targets, all that follow included
  std::int64_t cold_targets = 0;  // that training never saw: misses
  std::int64_t unanswered = 0;    // others whose whole history training never saw, where the ranker needs one: misses
  // Others that no list of their ranker can hold (another cluster, a NaN score, none of a baseline's): misses.
  std::int64_t unreachable = 0;
  std::int64_t tied = 0;  // that share their score with another product
};

// From ranks and lists to metrics; one pass, constant memory but for V flags.
class STAMP_API MetricsAccumulator {
 public:
  MetricsAccumulator(MetricsOptions options, std::vector<std::int64_t> counts);
  // ranking.ids has k columns.
  void add(const Batch& batch, const Ranking& ranking, std::int64_t k);
  void add_unanswered(std::int32_t target);
  Metrics result() const;

 private:
  bool is_cold(std::int32_t target) const;

  MetricsOptions options_;
  std::vector<std::int64_t> counts_;
  std::int64_t most_clicked_;
  std::vector<double> hr_, mrr_, ndcg_, popularity_;
  std::vector<std::int64_t> listed_;
  std::vector<std::vector<bool>> covered_;
  Metrics totals_;
};

// Events of `sessions` outside the catalog (Catalog::kUnknown, say) are skipped in histories, and cold as targets.
// counts: item_counts of training. progress(done, all) may be empty.
STAMP_API Metrics evaluate(Ranker& ranker, const Sessions& sessions, const std::vector<std::int64_t>& counts,
                           const MetricsOptions& options,
                           const std::function<bool(std::int64_t, std::int64_t)>& progress = {});

}  // namespace stamp
