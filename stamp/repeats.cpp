#include "stamp/repeats.h"

#include <algorithm>
#include <cmath>

namespace stamp {

namespace {

using LastEvents = std::vector<std::pair<std::int32_t, std::int32_t>>;

// Distinct products of a history, by ascending row; each with how many events ago it last came.
void last_events(std::span<const std::int32_t> history, LastEvents& last) {
  last.clear();
  for (std::size_t ago = 0; ago < history.size(); ++ago)
    last.emplace_back(history[history.size() - 1 - ago], static_cast<std::int32_t>(ago));
  std::sort(last.begin(), last.end());
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  last.erase(std::unique(last.begin(), last.end(), same), last.end());
}

// What the likelihood of one example depends on.
struct Example {
  double weight;
  double log_sum;           // of exp(z) over the catalog
  std::int32_t target;      // place of its floor; -1: the target is not in the history
  double target_score;      // z of it
  std::size_t first, last;  // places of the history's products
};

struct Examples {
  std::vector<Example> examples;
  std::vector<std::int32_t> places;  // of all examples
};

// Asks the model about all targets.
Examples observe(const Model& model, const Sessions& sessions, std::span<const std::int64_t> targets) {
  constexpr std::size_t kAtOnce = 512;
  const std::int64_t D = model.config().dim;
  const auto R = static_cast<std::int32_t>(model.config().repeat_floors);
  const bool normalize = model.config().score == Score::cosine;
  const float* items = model.weights().items.data();
  auto device = model.device();
  Activations a(device);
  Array<float> losses(device, 0), log_sums(device, 0), d_queries(device, 0);
  BatchBuilder builder(sessions, model.config().history);
  Batch batch;
  LastEvents last;
  Examples found;
  for (std::size_t from = 0; from < targets.size(); from += kAtOnce) {
    builder.build(targets.subspan(from, std::min(kAtOnce, targets.size() - from)), batch);
    a.upload(batch, D);
    model.forward(*device, a);
    for (auto* array : {&losses, &log_sums}) array->resize(a.B);
    d_queries.resize(a.B * D);
    device->catalog_cross_entropy({.B = a.B,
                                   .D = D,
                                   .V = model.V(),
                                   .queries = a.q.data(),
                                   .items = items,
                                   .normalize_items = normalize,
                                   .targets = a.targets.data(),
                                   .weights = a.weights.data(),
                                   .workspace = nullptr,
                                   .workspace_size = 0},
                                  losses.data(), log_sums.data(), d_queries.data());
    const auto loss = losses.download(), log_sum = log_sums.download();
    for (std::size_t b = 0; b < batch.begin.size(); ++b) {
      Example example{.weight = batch.weights[b] * batch.weight,
                      .log_sum = log_sum[b],
                      .target = -1,
                      .target_score = double{log_sum[b]} - loss[b],
                      .first = found.places.size(),
                      .last = 0};
      last_events(std::span(batch.items).subspan(batch.begin[b], batch.length[b]), last);
      for (const auto& [row, ago] : last) {
        found.places.push_back(std::min(ago, R - 1));
        if (row == batch.targets[b]) example.target = found.places.back();
      }
      example.last = found.places.size();
      found.examples.push_back(example);
    }
  }
  return found;
}

// Expectation-maximisation: how often each floor was the reason for the target, against how often it should have been;
// the likelihood never falls (the second step is that of generalised iterative scaling, Darroch and Ratcliff, 1972).
std::vector<float> most_likely(std::size_t R, const Examples& found) {
  constexpr double kFarBelow = 20;  // a floor under the mean log_sum that makes no difference
  double mean = 0;
  for (const Example& example : found.examples) mean += example.log_sum / static_cast<double>(found.examples.size());
  std::vector<double> floors(R, mean - 3), reasons(R), expected(R);
  double largest = 1;
  for (int step = 0; step < 500 && largest > 1e-4; ++step) {
    for (std::size_t place = 0; place < R; ++place) {
      reasons[place] = 0;
      expected[place] = 1 / (1 + std::exp(mean - floors[place]));
    }
    for (const Example& example : found.examples) {
      double sum = 1;
      for (std::size_t i = example.first; i < example.last; ++i)
        sum += std::exp(floors[found.places[i]] - example.log_sum);
      for (std::size_t i = example.first; i < example.last; ++i)
        expected[found.places[i]] += example.weight * std::exp(floors[found.places[i]] - example.log_sum) / sum;
      if (example.target >= 0)
        reasons[example.target] += example.weight / (1 + std::exp(example.target_score - floors[example.target]));
    }
    largest = 0;
    for (std::size_t place = 0; place < R; ++place) {
      if (floors[place] < mean - kFarBelow) continue;
      const double change = std::max(std::log(reasons[place] / expected[place]), -2 * kFarBelow);
      floors[place] += change;
      largest = std::max(largest, std::abs(change));
    }
  }
  std::vector<float> result(R);
  for (std::size_t place = 0; place < R; ++place)
    result[place] = floors[place] < mean - kFarBelow ? Model::kNoFloor : static_cast<float>(floors[place]);
  return result;
}

}  // namespace

RepeatFloors::RepeatFloors(const Model& model, const std::shared_ptr<Device>& device)
    : model_(model), device_begin_(device, 0), device_ids_(device, 0), device_values_(device, 0) {}

ScoreFloors RepeatFloors::of(const Batch& batch, std::size_t first, std::size_t count,
                             const std::vector<std::int32_t>* candidates) {
  const auto& floors = model_.repeat_floors();
  if (floors.empty()) return {};
  begin_.assign(1, 0);
  ids_.clear();
  values_.clear();
  for (std::size_t b = first; b < first + count; ++b) {
    last_events(std::span(batch.items).subspan(batch.begin[b], batch.length[b]), last_);
    for (const auto& [row, ago] : last_) {
      std::int32_t id = row;
      if (candidates) {
        const auto found = std::lower_bound(candidates->begin(), candidates->end(), row);
        if (found == candidates->end() || *found != row) continue;
        id = static_cast<std::int32_t>(found - candidates->begin());
      }
      ids_.push_back(id);
      values_.push_back(floors[std::min<std::size_t>(ago, floors.size() - 1)]);
    }
    begin_.push_back(static_cast<std::int32_t>(ids_.size()));
  }
  device_begin_.upload(begin_);
  device_ids_.upload(ids_);
  device_values_.upload(values_);
  return {.begin = device_begin_.data(), .ids = device_ids_.data(), .values = device_values_.data()};
}

void fit_repeat_floors(Model& model, const Sessions& sessions, std::span<const std::int64_t> targets) {
  if (targets.empty()) return;
  model.set_repeat_floors(most_likely(model.repeat_floors().size(), observe(model, sessions, targets)));
}

}  // namespace stamp
