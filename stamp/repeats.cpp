#include "stamp/repeats.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/cpu/thread_pool.h"
#include "stamp/philox.h"

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
  double target_score;      // z of the target
  std::int32_t place;       // of the target's floor; -1: the history does not hold it
  std::size_t first, last;  // of the floors that its history has
};

struct Examples {
  struct Floor {
    std::int32_t place, products;
  };
  std::vector<Example> examples;
  std::vector<Floor> floors;  // of all examples
};

// Asks the model about all targets.
Examples observe(const Model& model, const Sessions& sessions, std::span<const std::int64_t> targets) {
  constexpr std::size_t kAtOnce = 512;
  const auto R = static_cast<std::int32_t>(model.config().repeat_floors);
  auto device = model.device();
  Activations a(device);
  BatchBuilder builder(sessions, model.config().history);
  Batch batch;
  LastEvents last;
  Examples found;
  for (std::size_t from = 0; from < targets.size(); from += kAtOnce) {
    builder.build(targets.subspan(from, std::min(kAtOnce, targets.size() - from)), batch);
    a.upload(batch, model.config().dim);
    model.forward(*device, a);
    for (auto* array : {&a.losses, &a.log_sums}) array->resize(a.B);
    a.d_q.resize(a.q.size());
    device->catalog_cross_entropy({.B = a.B,
                                   .D = model.config().dim,
                                   .V = model.V(),
                                   .queries = a.q.data(),
                                   .items = model.weights().items.data(),
                                   .normalize_items = model.config().score == Score::cosine,
                                   .targets = a.targets.data(),
                                   .weights = a.weights.data(),
                                   .workspace = nullptr,
                                   .workspace_size = 0},
                                  a.losses.data(), a.log_sums.data(), a.d_q.data());
    const auto losses = a.losses.download(), log_sums = a.log_sums.download();
    for (std::size_t b = 0; b < batch.begin.size(); ++b) {
      Example example{.weight = batch.weights[b] * batch.weight,
                      .log_sum = log_sums[b],
                      .target_score = double{log_sums[b]} - losses[b],
                      .place = -1,
                      .first = found.floors.size(),
                      .last = 0};
      std::vector<std::int32_t> products(static_cast<std::size_t>(R));
      last_events(std::span(batch.items).subspan(batch.begin[b], batch.length[b]), last);
      for (const auto& [row, ago] : last) {
        const std::int32_t place = std::min(ago, R - 1);
        ++products[place];
        if (row == batch.targets[b]) example.place = place;
      }
      for (std::int32_t place = 0; place < R; ++place)
        if (products[place] > 0) found.floors.push_back({place, products[place]});
      example.last = found.floors.size();
      found.examples.push_back(example);
    }
  }
  double mean = 0;
  for (const Example& example : found.examples) mean += example.weight / static_cast<double>(found.examples.size());
  for (Example& example : found.examples) example.weight /= mean;
  return found;
}

// Expectation-maximisation: each step multiplies exp(f) by the targets that the floor was the reason for, over those
// that floors so high expect. The likelihood never falls (the step is that of generalised iterative scaling, Darroch
// and Ratcliff, 1972).
std::vector<float> most_likely(std::size_t R, const Examples& found) {
  constexpr double kFarBelow = 20;  // under the mean log_sum, where a floor makes no difference
  double mean = 0;
  for (const Example& example : found.examples) mean += example.log_sum / static_cast<double>(found.examples.size());
  std::vector<double> floors(R, mean - 3), reasons(R), expected(R);
  double largest = 1;
  for (int step = 0; step < 500 && largest > 1e-4; ++step) {
    for (std::size_t place = 0; place < R; ++place) {
      reasons[place] = 0;
      expected[place] = 1 / (1 + std::exp(mean - floors[place]));
    }
    const double highest = *std::max_element(floors.begin(), floors.end());
    for (const Example& example : found.examples) {
      const double top = std::max(highest, example.log_sum);
      double sum = std::exp(example.log_sum - top);
      for (std::size_t i = example.first; i < example.last; ++i)
        sum += found.floors[i].products * std::exp(floors[found.floors[i].place] - top);
      for (std::size_t i = example.first; i < example.last; ++i)
        expected[found.floors[i].place] +=
            example.weight * found.floors[i].products * std::exp(floors[found.floors[i].place] - top) / sum;
      if (example.place >= 0)
        reasons[example.place] += example.weight / (1 + std::exp(example.target_score - floors[example.place]));
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

// What chooses a session.
std::uint64_t key_of(const Sessions& sessions, std::size_t session) {
  const auto first = static_cast<std::size_t>(sessions.offsets()[session]);
  const auto last = static_cast<std::size_t>(sessions.offsets()[session + 1]);
  if (sessions.timestamps().empty() || first == last) return session;
  const auto words = philox(static_cast<std::uint64_t>(sessions.timestamps()[first]),
                            static_cast<std::uint64_t>(sessions.timestamps()[last - 1]), last - first);
  return std::uint64_t{words[0]} << 32 | words[1];
}

}  // namespace

RepeatFloors::RepeatFloors(const Model& model, const std::shared_ptr<Device>& device, int threads)
    : model_(model), threads_(threads), device_entries_(device, 0) {}

void RepeatFloors::read(std::span<const std::int32_t> history, const std::vector<std::int32_t>* candidates,
                        History& found) const {
  const auto& floors = model_.repeat_floors();
  found.floors.clear();
  last_events(history, found.last);
  for (const auto& [row, ago] : found.last) {
    const float floor = floors[std::min<std::size_t>(ago, floors.size() - 1)];
    if (floor == Model::kNoFloor) continue;
    std::int32_t id = row;
    if (candidates) {
      const auto place = std::lower_bound(candidates->begin(), candidates->end(), row);
      if (place == candidates->end() || *place != row) continue;
      id = static_cast<std::int32_t>(place - candidates->begin());
    }
    found.floors.emplace_back(id, floor);
  }
}

ScoreFloors RepeatFloors::of(const Batch& batch, std::size_t first, std::size_t count,
                             const std::vector<std::int32_t>* candidates) {
  constexpr std::int64_t kHistories = 16;  // of a thread at once
  constexpr std::size_t kRounded = 512;    // so that device memory seldom grows
  const auto& floors = model_.repeat_floors();
  if (std::all_of(floors.begin(), floors.end(), [](float floor) { return floor == Model::kNoFloor; })) return {};
  if (histories_.size() < count) histories_.resize(count);
  cpu::parallel_for_ranges(
      static_cast<std::int64_t>(count), kHistories, threads_, [&](std::int64_t from, std::int64_t to) {
        for (std::int64_t b = from; b < to; ++b) {
          const std::size_t at = first + static_cast<std::size_t>(b);
          read(std::span(batch.items).subspan(batch.begin[at], batch.length[at]), candidates, histories_[b]);
        }
      });
  std::size_t size = 0;
  for (std::size_t b = 0; b < count; ++b) size += histories_[b].floors.size();
  entries_.assign((count + 2 * size) / kRounded * kRounded + kRounded, 0);
  std::int32_t *begin = entries_.data(), *ids = begin + count + 1, *values = ids + size;
  for (std::size_t b = 0; b < count; ++b) {
    begin[b + 1] = begin[b];
    for (const auto& [id, floor] : histories_[b].floors) {
      ids[begin[b + 1]] = id;
      values[begin[b + 1]++] = std::bit_cast<std::int32_t>(floor);
    }
  }
  device_entries_.upload(entries_);
  const std::int32_t* on_device = device_entries_.data();
  return {.begin = on_device,
          .ids = on_device + (ids - begin),
          .values = reinterpret_cast<const float*>(on_device + (values - begin))};
}

std::vector<std::int64_t> hold_out(const Sessions& sessions, std::int64_t count, std::uint64_t seed,
                                   std::vector<std::int64_t>& targets) {
  constexpr std::uint64_t kStream = std::uint64_t{1} << 60;  // apart from dropout, shuffles and weights
  if (targets.empty()) return {};
  const double share = std::min(0.05, static_cast<double>(count) / static_cast<double>(targets.size()));
  const std::size_t most = targets.size() / 20;
  const auto items = sessions.items();
  const auto offsets = sessions.offsets();
  std::vector<std::int64_t> left_of(static_cast<std::size_t>(sessions.max_item() + 1));  // events of each product
  for (const std::int32_t item : items)
    if (item >= 0) ++left_of[item];
  const auto take_events = [&](std::size_t session, std::int64_t sign) {
    bool all = true;
    for (std::int64_t i = offsets[session]; i < offsets[session + 1]; ++i)
      if (items[i] >= 0) all &= (left_of[items[i]] -= sign) > 0;
    return all;
  };

  std::vector<std::int64_t> taken, left;
  std::size_t session = 0;
  for (auto first = targets.begin(); first != targets.end();) {
    while (offsets[session + 1] <= *first) ++session;
    const auto last = std::lower_bound(first, targets.end(), offsets[session + 1]);
    const bool chosen = uniform(philox(seed, kStream, key_of(sessions, session))[0]) < share &&
                        taken.size() + static_cast<std::size_t>(last - first) <= most;
    const bool take = chosen && take_events(session, 1);
    if (chosen && !take) take_events(session, -1);
    auto& to = take ? taken : left;
    to.insert(to.end(), first, last);
    first = last;
  }
  targets = std::move(left);
  return taken;
}

void fit_repeat_floors(Model& model, const Sessions& sessions, std::span<const std::int64_t> targets) {
  if (targets.empty() || model.repeat_floors().empty()) return;
  auto floors = most_likely(model.repeat_floors().size(), observe(model, sessions, targets));
  if (std::all_of(floors.begin(), floors.end(), [](float floor) { return std::isfinite(floor); }))
    model.set_repeat_floors(std::move(floors));
}

}  // namespace stamp
