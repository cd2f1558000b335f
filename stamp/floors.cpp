#include "stamp/floors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cpu/thread_pool.h"
#include "stamp/philox.h"

namespace stamp {

namespace {

// What the likelihood of the examples depends on. Reasons are numbered: repeats by kind and distance, then
// successors by distance, then those of two steps.
struct Example {
  double weight;
  double log_sum;                   // of exp(z) over the catalog
  double target_score;              // z of the target
  std::size_t first, middle, last;  // of its terms: over all products, and from `middle` on of the target alone
};

struct Examples {
  struct Term {
    std::size_t reason;
    double share;  // of exp(floor), summed over products
  };
  std::vector<Example> examples;
  std::vector<Term> terms;
};

// Floors of one objective: of repeats and of successors.
std::pair<std::size_t, std::size_t> floors_of_one(const Model& model) {
  const Config& config = model.config();
  return {static_cast<std::size_t>(Repeat::kKinds * config.repeat_floors),
          static_cast<std::size_t>(config.successor_floors + config.second_floors)};
}

// What floor s of successors is for: so many steps from an event, so many events ago.
struct Way {
  int steps;
  std::size_t ago;
};
Way way_of(const Config& config, std::size_t s) {
  const auto in_one = static_cast<std::size_t>(config.successor_floors);
  return s < in_one ? Way{1, s} : Way{2, s - in_one};
}

// Adds the terms of a history's floors over the products that `counts` takes.
template <class Counts>
void add_terms(const Model& model, std::span<const std::int32_t> history, std::span<const Repeat> repeats,
               std::vector<Examples::Term>& terms, const Counts& counts) {
  const auto distances = static_cast<std::size_t>(model.config().repeat_floors);
  const auto [R, S] = floors_of_one(model);
  std::vector<double> shares(R + S);
  for (const Repeat& repeat : repeats)
    if (R > 0 && counts(repeat.row)) ++shares[repeat.place(distances)];
  for (std::size_t s = 0; s < S; ++s) {
    const auto [steps, ago] = way_of(model.config(), s);
    if (ago >= history.size()) continue;
    const std::int32_t x = history[history.size() - 1 - ago];
    const auto rows = model.successors()->rows(x, steps);
    const auto log_shares = model.successors()->log_shares(x, steps);
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (counts(rows[i])) shares[R + s] += std::exp(log_shares[i]);
  }
  for (std::size_t reason = 0; reason < shares.size(); ++reason)
    if (shares[reason] > 0) terms.push_back({reason, shares[reason]});
}

constexpr double kFarBelow = 20;  // under the mean log_sum, where a floor makes no difference

bool is_none(double floor) { return floor < -kFarBelow; }

double mean_log_sum(const Examples& found) {
  double mean = 0;
  for (const Example& example : found.examples) mean += example.log_sum / static_cast<double>(found.examples.size());
  return mean;
}

// Asks the model about all targets, with all preference for objective k, or for clicks where k is -1.
Examples observe(const Model& model, const Sessions& sessions, std::span<const std::int64_t> targets, std::int64_t k) {
  constexpr std::size_t kAtOnce = 512;
  auto device = model.device();
  Activations a(device);
  BatchBuilder builder(sessions, model.config().history);
  Batch batch;
  std::vector<Repeat> repeats;
  Examples found;
  for (std::size_t from = 0; from < targets.size(); from += kAtOnce) {
    builder.build(targets.subspan(from, std::min(kAtOnce, targets.size() - from)), batch);
    batch.preferences.assign(static_cast<std::size_t>(batch.B() * model.config().K()), 0);
    if (k >= 0)
      for (std::int64_t b = 0; b < batch.B(); ++b) batch.preferences[b * model.config().K() + k] = 1;
    a.upload(batch, model.config());
    model.forward(*device, a);
    for (auto* array : {&a.losses, &a.log_sums}) array->resize(a.B);
    a.d_q.resize(a.q.size());
    device->catalog_cross_entropy({.B = a.B,
                                   .D = model.config().dim,
                                   .V = model.V(),
                                   .queries = a.q.data(),
                                   .items = model.weights().items.data(),
                                   .normalize_items = model.config().score == Score::cosine,
                                   .targets = a.targets(),
                                   .weights = a.weights.data(),
                                   .workspace = nullptr,
                                   .workspace_size = 0},
                                  a.losses.data(), a.log_sums.data(), a.d_q.data());
    const auto losses = a.losses.download(), log_sums = a.log_sums.download();
    for (std::size_t b = 0; b < batch.begin.size(); ++b) {
      const auto history = std::span(batch.items).subspan(batch.begin[b], batch.length[b]);
      Example example{.weight = batch.weights[b] * batch.weight,
                      .log_sum = log_sums[b],
                      .target_score = double{log_sums[b]} - losses[b],
                      .first = found.terms.size(),
                      .middle = 0,
                      .last = 0};
      find_repeats(history, repeats);
      add_terms(model, history, repeats, found.terms, [](std::int32_t) { return true; });
      example.middle = found.terms.size();
      const std::int32_t target = batch.targets[b];
      add_terms(model, history, repeats, found.terms, [target](std::int32_t row) { return row == target; });
      example.last = found.terms.size();
      found.examples.push_back(example);
    }
  }
  double mean = 0;
  for (const Example& example : found.examples) mean += example.weight / static_cast<double>(found.examples.size());
  for (Example& example : found.examples) example.weight /= mean;
  return found;
}

// What is taken for known of a reason before any example: so many examples of the mean log_sum, of which the reason was
// behind this share. As it stands, one in which it was not.
struct Prior {
  double examples = 1, explained = 0;
};

// Floors relative to the mean log_sum. Expectation-maximisation: each step multiplies exp(f) by the targets that the
// floor was the reason for, over those that floors so high expect. The likelihood never falls (the step is that of
// generalised iterative scaling, Darroch and Ratcliff, 1972). Steps are made longer, each floor's to where its last two
// changes would end (Aitken's), unless the likelihood falls by it: floors that explain nothing have far to go. NaN
// where there is no finite likelihood.
std::vector<double> most_likely(const Examples& found, std::span<const Prior> priors) {
  constexpr double kLongest = 30;
  const std::size_t reasons = priors.size();
  const double mean = mean_log_sum(found);
  std::vector<double> floors(reasons, -3), best(reasons, -3), change(reasons), before(reasons), lengths(reasons, 1),
      weights(reasons), explained(reasons), expected(reasons);
  double likelihood_of_best = 0;
  for (int step = 0; step < 500; ++step) {
    double likelihood = 0;
    for (std::size_t reason = 0; reason < reasons; ++reason) {
      const auto& [examples, share] = priors[reason];
      weights[reason] = std::exp(floors[reason]);
      explained[reason] = examples * share;
      expected[reason] = examples * weights[reason] / (1 + weights[reason]);
      likelihood -= examples * std::log1p(weights[reason]);
      if (share > 0) likelihood += examples * share * floors[reason];
    }
    for (const Example& example : found.examples) {
      const auto terms = std::span(found.terms).subspan(example.first, example.middle - example.first);
      const auto of_target = std::span(found.terms).subspan(example.middle, example.last - example.middle);
      double sum = std::exp(example.log_sum - mean), target = std::exp(example.target_score - mean);
      for (const auto& [reason, share] : terms) sum += share * weights[reason];
      for (const auto& [reason, share] : of_target) target += share * weights[reason];
      for (const auto& [reason, share] : terms) expected[reason] += example.weight * share * weights[reason] / sum;
      for (const auto& [reason, share] : of_target)
        explained[reason] += example.weight * share * weights[reason] / target;
      likelihood += example.weight * std::log(target / sum);
    }
    if (step == 0 && !std::isfinite(likelihood)) return std::vector<double>(reasons, NAN);
    if (step > 0 && !(likelihood >= likelihood_of_best)) {  // too far: once more from there, a plain step
      lengths.assign(reasons, 1);
    } else {
      best = floors;
      likelihood_of_best = likelihood;
      double largest = 0;
      for (std::size_t reason = 0; reason < reasons; ++reason) {
        before[reason] = change[reason];
        change[reason] =
            is_none(floors[reason]) ? 0 : std::max(std::log(explained[reason] / expected[reason]), -2 * kFarBelow);
        largest = std::max(largest, std::abs(change[reason]));
        const double gone =
            before[reason] != 0 ? 1 - change[reason] / before[reason] : 1;  // of the way, by that length
        lengths[reason] = gone > lengths[reason] / kLongest ? std::max(1.0, lengths[reason] / gone) : kLongest;
      }
      if (largest < 1e-4) break;
    }
    for (std::size_t reason = 0; reason < reasons; ++reason)
      floors[reason] = best[reason] + lengths[reason] * change[reason];
  }
  return best;
}

// The same examples, whose repeats are told apart by distance alone.
Examples without_kinds(Examples found, std::size_t repeats, std::size_t distances) {
  for (auto& [reason, share] : found.terms)
    reason = reason < repeats ? reason % distances : reason - repeats + distances;
  return found;
}

// Floors of one objective after the other as a preference mixes them: log Σ π exp(floor).
void mix(std::span<const float> floors, std::span<const float> preference, std::vector<float>& mixed) {
  const std::size_t objectives = preference.size() + 1, n = floors.size() / objectives;
  float of_clicks = 1;
  for (const float share : preference) of_clicks -= share;
  if (of_clicks < 1e-6f) of_clicks = 0;  // what rounding leaves of shares that are all there is
  const auto share_of = [&](std::size_t k) { return k == 0 ? of_clicks : preference[k - 1]; };
  for (std::size_t i = 0; i < n; ++i) {
    float top = Model::kNoFloor, sum = 0;
    for (std::size_t k = 0; k < objectives; ++k)
      if (share_of(k) > 0) top = std::max(top, floors[k * n + i]);
    for (std::size_t k = 0; k < objectives; ++k)
      if (share_of(k) > 0) sum += share_of(k) * std::exp(floors[k * n + i] - top);
    mixed.push_back(top == Model::kNoFloor ? top : top + std::log(sum));
  }
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

HistoryFloors::HistoryFloors(const Model& model, const std::shared_ptr<Device>& device, int threads)
    : model_(model), threads_(threads), device_entries_(device, 0) {}

// What a history names, by the reason that names it.
void HistoryFloors::read(std::span<const std::int32_t> history, std::span<const float> preference,
                         History& found) const {
  const auto [R, S] = floors_of_one(model_);
  std::span<const float> repeats(model_.repeat_floors()), successors(model_.successor_floors());
  if (!preference.empty()) {
    found.preferred.clear();
    mix(repeats, preference, found.preferred);
    mix(successors, preference, found.preferred);
    repeats = found.preferred;
    successors = repeats.subspan(R);
  }
  repeats = repeats.first(R);
  successors = successors.first(S);
  const auto distances = static_cast<std::size_t>(model_.config().repeat_floors);
  found.named.clear();
  if (!repeats.empty()) {
    find_repeats(history, found.repeats);
    found.rows.clear();
    found.values.clear();
    for (const Repeat& repeat : found.repeats)
      if (const float floor = repeats[repeat.place(distances)]; floor != Model::kNoFloor) {
        found.rows.push_back(repeat.row);
        found.values.push_back(floor);
      }
    found.named.push_back({found.rows, found.values.data(), 0});
  }
  for (std::size_t s = 0; s < successors.size(); ++s) {
    const auto [steps, ago] = way_of(model_.config(), s);
    if (ago >= history.size() || successors[s] == Model::kNoFloor) continue;
    const std::int32_t x = history[history.size() - 1 - ago];
    found.named.push_back(
        {model_.successors()->rows(x, steps), model_.successors()->log_shares(x, steps).data(), successors[s]});
  }
}

// Each product that is named once, with the logarithm of what its reasons come to, and where it is in the scan.
void HistoryFloors::merge(const std::vector<std::int32_t>* candidates, History& found) const {
  constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();
  found.floors.clear();
  auto place = candidates ? candidates->begin() : std::vector<std::int32_t>::const_iterator();
  while (true) {
    std::int32_t row = kNone;
    for (const Named& named : found.named)
      if (!named.rows.empty()) row = std::min(row, named.rows.front());
    if (row == kNone) return;
    found.terms.clear();
    for (Named& named : found.named)
      if (!named.rows.empty() && named.rows.front() == row) {
        found.terms.push_back(named.floor + *named.values++);
        named.rows = named.rows.subspan(1);
      }
    std::int32_t id = row;
    if (candidates) {
      place = std::lower_bound(place, candidates->end(), row);
      if (place == candidates->end()) return;
      if (*place != row) continue;
      id = static_cast<std::int32_t>(place - candidates->begin());
    }
    float floor = found.terms.front();
    if (found.terms.size() > 1) {
      const float top = *std::max_element(found.terms.begin(), found.terms.end());
      float sum = 0;
      for (const float term : found.terms) sum += std::exp(term - top);
      floor = top + std::log(sum);
    }
    found.floors.emplace_back(id, floor);
  }
}

ScoreFloors HistoryFloors::of(const Batch& batch, std::size_t first, std::size_t count,
                              const std::vector<std::int32_t>* candidates) {
  constexpr std::int64_t kHistories = 16;  // of a thread at once
  constexpr std::size_t kRounded = 512;    // so that device memory seldom grows
  const auto none = [](float floor) { return floor == Model::kNoFloor; };
  const auto &repeats = model_.repeat_floors(), &successors = model_.successor_floors();
  if (std::all_of(repeats.begin(), repeats.end(), none) && std::all_of(successors.begin(), successors.end(), none))
    return {};
  if (histories_.size() < count) histories_.resize(count);
  const auto K = batch.preferences.empty() ? std::size_t{0} : static_cast<std::size_t>(model_.config().K());
  cpu::parallel_for_ranges(static_cast<std::int64_t>(count), kHistories, threads_,
                           [&](std::int64_t from, std::int64_t to) {
                             for (std::int64_t b = from; b < to; ++b) {
                               const std::size_t at = first + static_cast<std::size_t>(b);
                               read(std::span(batch.items).subspan(batch.begin[at], batch.length[at]),
                                    std::span(batch.preferences).subspan(at * K, K), histories_[b]);
                               merge(candidates, histories_[b]);
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
    const bool chosen = uniform(philox(seed, streams::kHeldOut, key_of(sessions, session))[0]) < share &&
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

namespace {

// As floors, what the most likely ones are relative to the mean log_sum; empty where there are no finite ones.
std::vector<float> absolute(std::span<const double> relative, double mean) {
  std::vector<float> floors;
  for (const double floor : relative)
    floors.push_back(is_none(floor) ? Model::kNoFloor : static_cast<float>(mean + floor));
  if (!std::all_of(floors.begin(), floors.end(), [](float floor) { return std::isfinite(floor); })) floors.clear();
  return floors;
}

constexpr double kShared = 10;  // examples that a floor takes over from a fit of more

Prior shared(double floor) {
  const double weight = std::exp(floor);
  return {.examples = kShared, .explained = weight / (1 + weight)};
}

// The examples among `targets` that have the label of objective k.
std::vector<std::int64_t> with_label(const Sessions& sessions, std::span<const std::int64_t> targets, std::int64_t k) {
  std::vector<std::int64_t> labelled;
  if (sessions.labels().empty()) return labelled;
  for (const std::int64_t target : targets)
    if (sessions.labels()[target] >> k & 1) labelled.push_back(target);
  return labelled;
}

}  // namespace

void fit_floors(Model& model, const Sessions& sessions, std::span<const std::int64_t> targets) {
  const auto [repeats, successors] = floors_of_one(model);
  if (targets.empty() || repeats + successors == 0) return;
  std::vector<Prior> priors(repeats + successors);
  const Examples found = observe(model, sessions, targets, -1);
  if (repeats > 0) {
    const auto distances = static_cast<std::size_t>(model.config().repeat_floors);
    const auto of_distances =
        most_likely(without_kinds(found, repeats, distances), std::vector<Prior>(distances + successors));
    for (std::size_t place = 0; place < repeats; ++place) priors[place] = shared(of_distances[place % distances]);
  }
  const auto of_clicks = most_likely(found, priors);
  const std::vector<float> for_clicks = absolute(of_clicks, mean_log_sum(found));
  if (for_clicks.empty()) return;
  std::vector<float> of_repeats, of_successors;
  const auto add = [&, repeats = repeats](const std::vector<float>& floors) {
    const auto middle = floors.begin() + static_cast<std::ptrdiff_t>(repeats);
    of_repeats.insert(of_repeats.end(), floors.begin(), middle);
    of_successors.insert(of_successors.end(), middle, floors.end());
  };
  add(for_clicks);
  for (std::size_t place = 0; place < priors.size(); ++place) priors[place] = shared(of_clicks[place]);
  for (std::int64_t k = 0; k < model.config().K(); ++k) {
    const auto labelled = with_label(sessions, targets, k);
    std::vector<float> floors;
    if (!labelled.empty()) {
      const Examples of_objective = observe(model, sessions, labelled, k);
      floors = absolute(most_likely(of_objective, priors), mean_log_sum(of_objective));
    }
    add(floors.empty() ? for_clicks : floors);
  }
  model.set_floors(std::move(of_repeats), std::move(of_successors));
}

}  // namespace stamp
