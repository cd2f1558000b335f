#include "stamp/calibration.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "stamp/floors.h"
#include "stamp/scan_table.h"

namespace stamp {

namespace {

constexpr std::int64_t kAtOnce = 128;  // histories

// The queries of a batch, and the scores of the products that floors raise.
struct Asked {
  struct Raised {
    std::int32_t row;
    double z, s;  // without the floor, and with it
  };
  std::vector<float> queries;         // [B,D]
  std::vector<std::int32_t> targets;  // [B]
  std::vector<double> weights;        // [B]
  std::vector<std::size_t> begin;     // [B+1]
  std::vector<Raised> raised;         // begin[b] … begin[b+1]-1 are query b's, by row

  std::size_t B() const { return targets.size(); }
};

// Of one query, with β = 1/T.
struct Sums {
  double log_sum;  // log Σ exp(β s)
  double mean;     // of s, by exp(β s)
  double target;   // s of the target
};

class Asking {
 public:
  Asking(const Model& model, std::shared_ptr<Device> device)
      : model_(model),
        device_(std::move(device)),
        a_(device_),
        floors_(model, device_),
        scaled_(device_, 0),
        ids_(device_, 0),
        rows_(device_, 0) {}

  // Leaves the queries on the device, too, in activations().q, and the floors, which are returned.
  ScoreFloors ask(const Batch& batch, Asked& asked) {
    const std::int64_t B = batch.B(), D = model_.config().dim;
    a_.upload(batch, model_.config());
    model_.forward(*device_, a_);
    asked.queries = a_.q.download();
    asked.targets = batch.targets;
    asked.weights.clear();
    for (const float weight : batch.weights) asked.weights.push_back(weight * batch.weight);
    asked.begin.assign(static_cast<std::size_t>(B) + 1, 0);
    asked.raised.clear();
    const ScoreFloors floors = floors_.of(batch, 0, batch.begin.size());
    if (!floors.begin) return floors;
    std::vector<std::int32_t> begin(static_cast<std::size_t>(B) + 1);
    device_->copy_out(begin.data(), floors.begin, begin.size() * sizeof(std::int32_t));
    const std::int64_t n = begin.back();
    if (n == 0) return floors;
    std::vector<std::int32_t> ids(static_cast<std::size_t>(n));
    std::vector<float> values(ids.size());
    device_->copy_out(ids.data(), floors.ids, ids.size() * sizeof(std::int32_t));
    device_->copy_out(values.data(), floors.values, values.size() * sizeof(float));
    ids_.upload(ids);
    rows_.resize(n * D);
    device_->gather_rows(n, D, model_.weights().items.data(), ids_.data(), rows_.data());
    const auto rows = rows_.download();
    for (std::int64_t b = 0; b < B; ++b) {
      asked.begin[b + 1] = static_cast<std::size_t>(begin[b + 1]);
      for (std::int64_t i = begin[b]; i < begin[b + 1]; ++i) {
        const double z = score(asked.queries.data() + b * D, rows.data() + i * D);
        const double top = std::max<double>(z, values[i]), low = std::min<double>(z, values[i]);
        asked.raised.push_back({.row = ids[i], .z = z, .s = top + std::log1p(std::exp(low - top))});
      }
    }
    return floors;
  }

  Activations& activations() { return a_; }

  // [B] of the queries of `asked`; those whose target is unknown say nothing of it.
  void sum(const Asked& asked, double beta, std::vector<Sums>& sums) {
    const std::int64_t B = static_cast<std::int64_t>(asked.B()), D = model_.config().dim;
    std::vector<float> scaled(asked.queries.size());
    for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] = static_cast<float>(beta * asked.queries[i]);
    scaled_.upload(scaled);
    std::vector<std::int32_t> targets = asked.targets;
    for (std::int32_t& target : targets) target = std::max(target, 0);
    ids_.upload(targets);
    a_.weights.upload(std::vector<float>(asked.B(), 1));
    for (auto* array : {&a_.losses, &a_.log_sums}) array->resize(B);
    a_.d_q.resize(B * D);
    device_->catalog_cross_entropy({.B = B,
                                    .D = D,
                                    .V = model_.V(),
                                    .queries = scaled_.data(),
                                    .items = model_.weights().items.data(),
                                    .normalize_items = model_.config().score == Score::cosine,
                                    .targets = ids_.data(),
                                    .weights = a_.weights.data(),
                                    .workspace = nullptr,
                                    .workspace_size = 0},
                                   a_.losses.data(), a_.log_sums.data(), a_.d_q.data());
    const auto losses = a_.losses.download(), log_sums = a_.log_sums.download(), d_q = a_.d_q.download();
    sums.clear();
    for (std::int64_t b = 0; b < B; ++b) {
      double target = (double{log_sums[b]} - losses[b]) / beta, mean = target;
      for (std::int64_t d = 0; d < D; ++d) mean += double{asked.queries[b * D + d]} * d_q[b * D + d];
      // Relative to exp(log_sums[b]): each raised product adds what its score has more.
      double sum = 1, moment = mean;
      for (std::size_t i = asked.begin[b]; i < asked.begin[b + 1]; ++i) {
        const auto& [row, z, s] = asked.raised[i];
        const double before = std::exp(beta * z - log_sums[b]), after = std::exp(beta * s - log_sums[b]);
        sum += after - before;
        moment += s * after - z * before;
        if (row == asked.targets[b]) target = s;
      }
      sums.push_back({.log_sum = log_sums[b] + std::log(sum), .mean = moment / sum, .target = target});
    }
  }

 private:
  double score(const float* query, const float* row) const {
    double dot = 0, length = 0;
    for (std::int64_t d = 0; d < model_.config().dim; ++d) {
      dot += double{query[d]} * row[d];
      length += double{row[d]} * row[d];
    }
    return model_.config().score == Score::cosine && length > 0 ? dot / std::sqrt(length) : dot;
  }

  const Model& model_;
  std::shared_ptr<Device> device_;
  Activations a_;
  HistoryFloors floors_;
  Array<float> scaled_;
  Array<std::int32_t> ids_;
  Array<float> rows_;
};

// Where a rising function is 0, or the end beyond which that lies; NaN where it is not finite. From `start` on it walks
// until the sign changes, then by regula falsi (the Illinois variant: Dowell and Jarratt, BIT 11, 1971).
template <class F>
double root(const F& f, double low, double high, double start, double step) {
  double a = start, fa = f(a);
  if (fa == 0 || !std::isfinite(fa)) return fa == 0 ? a : std::numeric_limits<double>::quiet_NaN();
  if (fa > 0) step = -step;
  double b = a, fb = fa;
  while ((fb > 0) == (fa > 0)) {
    if (b == low || b == high) return b;
    a = b, fa = fb;
    b = std::clamp(b + step, low, high);
    fb = f(b);
    if (fb == 0 || !std::isfinite(fb)) return fb == 0 ? b : std::numeric_limits<double>::quiet_NaN();
    step *= 2;
  }
  constexpr double kNear = 1e-4;
  while (std::abs(b - a) > kNear * (std::abs(a) + std::abs(b))) {
    const double c = (a * fb - b * fa) / (fb - fa), fc = f(c);
    if (fc == 0 || !std::isfinite(fc)) return fc == 0 ? c : std::numeric_limits<double>::quiet_NaN();
    if (std::abs(c - b) < kNear * std::abs(c)) return c;
    if ((fc > 0) == (fb > 0))
      fa /= 2;  // the end that stays is pulled nearer
    else
      a = b, fa = fb;
    b = c, fb = fc;
  }
  return b;
}

double fitted_temperature(const Model& model, const Sessions& sessions, std::span<const std::int64_t> targets) {
  constexpr std::size_t kMost = 2048;
  constexpr double kLargest = 8;
  std::vector<std::int64_t> some;
  const std::size_t n = std::min(targets.size(), kMost);
  for (std::size_t i = 0; i < n; ++i) some.push_back(targets[i * targets.size() / n]);
  Asking asking(model, model.device());
  BatchBuilder builder(sessions, model.config().history);
  std::vector<Asked> batches;
  Batch batch;
  for (std::size_t first = 0; first < n; first += kAtOnce) {
    builder.build(std::span(some).subspan(first, std::min<std::size_t>(kAtOnce, n - first)), batch);
    asking.ask(batch, batches.emplace_back());
  }
  std::vector<Sums> sums;
  const double beta = root(
      [&](double at) {
        double slope = 0, weights = 0;
        for (const Asked& asked : batches) {
          asking.sum(asked, at, sums);
          for (std::size_t b = 0; b < asked.B(); ++b) {
            slope += asked.weights[b] * (sums[b].mean - sums[b].target);
            weights += asked.weights[b];
          }
        }
        return slope / weights;
      },
      1 / kLargest, kLargest, 1, 0.2);
  return 1 / beta;
}

// Clicks of V products in the sessions that hold none of `targets`, and an example: what else a cluster sees of a visit
// depends on whether misses were kept for an evaluation.
std::vector<std::int64_t> other_clicks(const Sessions& sessions, std::int64_t V,
                                       std::span<const std::int64_t> targets) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(V));
  const auto offsets = sessions.offsets();
  const auto items = sessions.items();
  auto target = targets.begin();
  for (std::int64_t s = 0; s < sessions.size(); ++s) {
    const std::int64_t first = offsets[s], last = offsets[s + 1];
    bool is_held_out = false;
    for (; target != targets.end() && *target < last; ++target) is_held_out = true;
    if (is_held_out || !sessions.has_example(s)) continue;
    for (std::int64_t event = first; event < last; ++event)
      if (items[event] >= 0 && items[event] < V) ++counts[items[event]];
  }
  return counts;
}

double fitted_tail_power(const Model& model, const Sessions& sessions, std::span<const std::int64_t> targets) {
  constexpr double kLargest = 4;
  std::vector<double> logs;
  for (const std::int64_t clicks : other_clicks(sessions, model.V(), targets))
    logs.push_back(std::log1p(static_cast<double>(clicks)));
  const double top = *std::max_element(logs.begin(), logs.end());
  double of_targets = 0, weights = 0;
  for (const std::int64_t target : targets) {
    const double weight = sessions.weights().empty() ? 1 : sessions.weights()[target];
    of_targets += weight * logs[sessions.items()[target]];
    weights += weight;
  }
  of_targets /= weights;
  return root(
      [&](double power) {
        double sum = 0, moment = 0;
        for (const double log : logs) {
          const double p = std::exp(power * (log - top));
          sum += p;
          moment += p * log;
        }
        const double slope = moment / sum - of_targets;
        return std::abs(slope) < 1e-12 * top ? 0 : slope;
      },
      0, kLargest, 1, 0.2);
}

}  // namespace

void calibrate(Model& model, const Sessions& sessions, std::span<const std::int64_t> targets) {
  if (targets.empty()) return;
  const auto temperature = static_cast<float>(fitted_temperature(model, sessions, targets));
  const auto tail_power = static_cast<float>(fitted_tail_power(model, sessions, targets));
  model.set_calibration(std::isfinite(temperature) ? temperature : model.temperature(),
                        std::isfinite(tail_power) ? tail_power : model.tail_power());
}

ListedProbabilities listed_probabilities(const Model& model, const Sessions& sessions, std::int64_t k,
                                         std::int64_t min_history) {
  require(k >= 1, "listed_probabilities: k is ", k, ", expected 1 or more");
  require(min_history >= 1, "listed_probabilities: min_history is ", min_history, ", expected 1 or more");
  const std::int64_t n = std::min(k, model.V()), D = model.config().dim;
  // A handle of its own: others may be using the model's. What they asked for is done by then.
  model.device()->synchronize();
  const auto device = open_device(model.device()->name(), {.precision = model.device()->precision()});
  Asking asking(model, device);
  std::vector<std::int32_t> all(static_cast<std::size_t>(model.V()));
  std::iota(all.begin(), all.end(), 0);
  const ScanTable table(model, device, all);
  Array<std::int32_t> ids(device, 0);
  Array<float> scores(device, 0);
  const double beta = 1 / double{model.temperature()};
  ListedProbabilities found;
  Asked asked;
  std::vector<Sums> sums;
  walk_examples(
      sessions, {.V = model.V(), .min_history = min_history, .history = model.config().history, .batch = kAtOnce},
      [](std::int32_t, std::int64_t known) { return known > 0; },
      [&](const Batch& batch, std::int64_t) {
        const std::int64_t B = batch.B();
        if (B == 0) return true;
        const ScoreFloors floors = asking.ask(batch, asked);
        ids.resize(B * n);
        scores.resize(B * n);
        device->catalog_top_k({.B = B,
                               .D = D,
                               .V = model.V(),
                               .k = n,
                               .queries = asking.activations().q.data(),
                               .items = table.items(),
                               .packed = table.packed().data(),
                               .floors = floors,
                               .ids = ids.data(),
                               .scores = scores.data()});
        const auto rows = ids.download();
        const auto listed = scores.download();
        asking.sum(asked, beta, sums);
        for (std::int64_t b = 0; b < B; ++b)
          for (std::int64_t i = 0; i < k; ++i) {
            const bool is_there = i < n && rows[b * n + i] >= 0;
            const double p = is_there ? std::exp(beta * listed[b * n + i] - sums[b].log_sum) : NAN;
            found.probabilities.push_back(static_cast<float>(p));
            found.is_target.push_back(is_there && rows[b * n + i] == batch.targets[b]);
          }
        return true;
      });
  return found;
}

}  // namespace stamp
