// The catalog's kernels, cross-entropy and top-k, against plain loops on awkward sizes and values, with guard bands.
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

using Doubles = std::vector<double>;

Doubles scores_of(std::int64_t B, std::int64_t D, std::int64_t V, const std::vector<float>& q, const Doubles& items) {
  Doubles z(B * V, 0.0);
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t v = 0; v < V; ++v)
      for (std::int64_t d = 0; d < D; ++d) z[b * V + v] += q[b * D + d] * items[v * D + d];
  return z;
}

struct Shape {
  std::int64_t B, D, V;
  bool normalize = false;
};

struct Inputs {
  Shape shape;
  std::vector<float> q, items;
  std::vector<std::int32_t> targets;
  std::vector<float> weights;
  std::vector<std::int32_t> row_ids;  // some of them -1, with NaN for a gradient
  std::vector<float> row_gradients;
};

// The last dimension adds `shift` to every score; the others spread them by `spread`.
Inputs make_inputs(const Shape& shape, float shift, double spread) {
  const auto [B, D, V, normalize] = shape;
  Inputs in;
  in.shape = shape;
  in.q = check::random(B * D, 1, 4);
  in.items = check::random(V * D, spread / std::sqrt(static_cast<double>(D)), 5);
  if (shift != 0) {
    for (std::int64_t b = 0; b < B; ++b) in.q[b * D + D - 1] = 1;
    for (std::int64_t v = 0; v < V; ++v) in.items[v * D + D - 1] = shift;
  }
  if (normalize && V > 5) std::fill_n(in.items.begin() + 5 * D, D, 0.0f);
  if (V == 514) std::fill(in.items.begin(), in.items.end(), 0.25f);  // all-equal scores
  for (std::int64_t b = 0; b < B; ++b) {
    in.targets.push_back(static_cast<std::int32_t>(b % 2 ? V - 1 : b * 7 % V));
    in.weights.push_back(b == 3 ? 0 : 1 / static_cast<float>(B));
  }
  in.row_gradients = check::random(150 * D, 0.1 / std::sqrt(static_cast<double>(B)), 6);
  for (std::int64_t l = 0; l < 150; ++l) {  // half of them of one popular product
    in.row_ids.push_back(static_cast<std::int32_t>(l % 5 == 0 ? -1 : l % 2 ? V / 2 : l * 7 % V));
    if (in.row_ids.back() < 0) std::fill_n(in.row_gradients.begin() + l * D, D, NAN);
  }
  return in;
}

struct Expected {
  Doubles losses, d_queries, d_items;
};

Expected cross_entropy(const Inputs& in) {
  const auto [B, D, V, normalize] = in.shape;
  Doubles items(in.items.begin(), in.items.end()), norms(V, 1.0);
  for (std::int64_t v = 0; v < V && normalize; ++v) {
    double squared = 0;
    for (std::int64_t d = 0; d < D; ++d) squared += items[v * D + d] * items[v * D + d];
    norms[v] = std::sqrt(squared);
    for (std::int64_t d = 0; d < D && squared > 0; ++d) items[v * D + d] /= norms[v];
  }
  Expected result{{}, Doubles(B * D, 0.0), Doubles(V * D, 0.0)};
  const auto z = scores_of(B, D, V, in.q, items);
  for (std::int64_t b = 0; b < B; ++b) {
    const double top = *std::max_element(z.begin() + b * V, z.begin() + (b + 1) * V);
    double sum = 0;
    for (std::int64_t v = 0; v < V; ++v) sum += std::exp(z[b * V + v] - top);
    result.losses.push_back(top + std::log(sum) - z[b * V + in.targets[b]]);
    for (std::int64_t v = 0; v < V; ++v) {
      const double g = in.weights[b] * (std::exp(z[b * V + v] - top) / sum - (v == in.targets[b]));
      for (std::int64_t d = 0; d < D; ++d) {
        result.d_queries[b * D + d] += g * items[v * D + d];
        result.d_items[v * D + d] += g * in.q[b * D + d];
      }
    }
  }
  for (std::int64_t v = 0; v < V && normalize; ++v) {
    double along = 0;
    for (std::int64_t d = 0; d < D; ++d) along += result.d_items[v * D + d] * items[v * D + d];
    for (std::int64_t d = 0; d < D; ++d) {
      auto& g = result.d_items[v * D + d];
      g = norms[v] == 0 ? 0 : (g - along * items[v * D + d]) / norms[v];
    }
  }
  for (std::size_t l = 0; l < in.row_ids.size(); ++l)
    for (std::int64_t d = 0; d < D && in.row_ids[l] >= 0; ++d)
      result.d_items[in.row_ids[l] * D + d] += in.row_gradients[l * D + d];
  return result;
}

// Inputs on a device.
struct Uploaded {
  Uploaded(const check::DevicePtr& device, const Inputs& in)
      : shape(in.shape),
        q(check::on(device, in.q)),
        items(check::on(device, in.items)),
        weights(check::on(device, in.weights)),
        row_gradients(check::on(device, in.row_gradients)),
        targets(check::on(device, in.targets)),
        row_ids(check::on(device, in.row_ids)) {}

  CatalogCrossEntropy problem(float* workspace = nullptr, std::int64_t size = 0) const {
    return {.B = shape.B,
            .D = shape.D,
            .V = shape.V,
            .queries = q.data(),
            .items = items.data(),
            .normalize_items = shape.normalize,
            .targets = targets.data(),
            .weights = weights.data(),
            .workspace = workspace,
            .workspace_size = size};
  }

  Shape shape;
  Array<float> q, items, weights, row_gradients;
  Array<std::int32_t> targets, row_ids;
};

// Of rows that are no target and were not looked up: theirs are small, and would hide behind the others.
template <class T>
Doubles quiet_rows(const Inputs& in, const std::vector<T>& d_items) {
  std::vector<bool> loud(in.shape.V);
  for (auto target : in.targets) loud[target] = true;
  for (auto row : in.row_ids)
    if (row >= 0) loud[row] = true;
  Doubles rows;
  for (std::size_t i = 0; i < d_items.size(); ++i)
    if (!loud[i / in.shape.D]) rows.push_back(static_cast<double>(d_items[i]));
  return rows;
}

void check_cross_entropy(const check::DevicePtr& device, const Shape& shape, float shift, double spread) {
  const auto [B, D, V, normalize] = shape;
  CAPTURE(device->name());
  CAPTURE(to_string(device->precision()));
  CAPTURE(B);
  CAPTURE(D);
  CAPTURE(V);
  CAPTURE(normalize);
  CAPTURE(shift);
  const bool single = device->precision() == Precision::fp32;
  const double loss_tolerance = check::tolerance(*device).loss;
  double tolerance = check::tolerance(*device).gradient;
  if (shift != 0) tolerance = std::max(tolerance, 2e-4);  // a score of 500 has an ulp of 3e-5
  const Inputs in = make_inputs(shape, shift, spread);
  const Expected expected = cross_entropy(in);
  const Uploaded uploaded(device, in);
  const std::int64_t all = B * (V + V / 256 + 1024);  // as Optimizer asks for
  for (std::int64_t size : {std::int64_t{0}, all / 2, all}) {
    if (check::slow(*device) && shift != 0 && size == all / 2) continue;
    CAPTURE(size);
    check::Guarded workspace(device, size), losses(device, B), log_sums(device, B), d_queries(device, B * D),
        d_items(device, V * D);
    const auto problem = uploaded.problem(size ? workspace.data() : nullptr, size);
    device->catalog_cross_entropy(problem, losses.data(), log_sums.data(), d_queries.data());
    device->catalog_cross_entropy_backward(problem, log_sums.data(), uploaded.row_ids.size(), uploaded.row_ids.data(),
                                           uploaded.row_gradients.data(), {.d_items = d_items.data()});
    workspace.values();  // its bands
    const auto actual = losses.values();
    for (std::int64_t b = 0; b < B; ++b) {
      const double magnitude = single ? 1 + std::abs(shift) / 10 + std::abs(expected.losses[b]) : 1;
      CHECK(std::abs(actual[b] - expected.losses[b]) < loss_tolerance * magnitude);
    }
    // The shifted dimension's gradient, Σ p shift − shift, is the rounding of Σ p times the shift.
    auto d_q = d_queries.values();
    auto expected_d_q = expected.d_queries;
    for (std::int64_t b = 0; b < B && shift != 0; ++b) {
      CHECK(std::abs(d_q[b * D + D - 1]) < (single ? 2e-6 : tolerance) * std::abs(shift));
      d_q[b * D + D - 1] = 0;
      expected_d_q[b * D + D - 1] = 0;
    }
    if (V > 1 && V != 514)  // else a sum of equals less itself: rounding
      CHECK(check::error(d_q, expected_d_q) < tolerance);
    else
      for (float g : d_q) CHECK(std::abs(g) < tolerance);
    CHECK(check::error(d_items.values(), expected.d_items) < tolerance);
    CHECK(check::error(quiet_rows(in, d_items.values()), quiet_rows(in, expected.d_items)) < tolerance);
  }
}

// From one product to more than any tile is wide, all-equal scores (514), one query to more than any block takes.
const Shape kShapes[] = {{9, 7, 1},         {9, 33, 31},           {9, 100, 514},        {1, 7, 1023},
                         {9, 33, 1090},     {130, 33, 577},        {9, 300, 1090},       {1, 100, 1090},
                         {9, 33, 31, true}, {130, 100, 577, true}, {9, 130, 1090, true}, {9, 1, 65}};

}  // namespace

TEST_CASE("catalog cross-entropy: losses and gradients, for any size, shift and workspace") {
  for (const auto& device : check::devices())
    for (const Shape& shape : kShapes)
      for (float shift : {0.0f, 500.0f, -500.0f})
        if (shift == 0 || (!shape.normalize && shape.D > 1))
          check_cross_entropy(device, shape, shift, 0.5 * std::sqrt(static_cast<double>(shape.D)));
}

TEST_CASE("catalog cross-entropy in reduced precision") {
  for (const auto& device : check::fast_devices())
    for (const Shape& shape : kShapes)
      for (float shift : {0.0f, 500.0f})  // 500 is a bf16 number
        if (shift == 0 || (!shape.normalize && shape.D > 1)) check_cross_entropy(device, shape, shift, 1);
}

TEST_CASE("catalog cross-entropy gives the same bits each time, on a CPU for any number of threads") {
  auto all = check::devices();
  for (const auto& device : check::fast_devices()) all.push_back(device);
  const Inputs in = make_inputs({33, 33, 1090, true}, 0, 3);
  std::vector<std::vector<float>> of_cpu;
  for (const auto& device : all) {
    CAPTURE(device->name());
    const Uploaded uploaded(device, in);
    const auto [B, D, V, normalize] = in.shape;
    const auto once = [&](std::int64_t size) {
      check::Guarded workspace(device, size), losses(device, B), log_sums(device, B), d_queries(device, B * D),
          d_items(device, V * D);
      const auto problem = uploaded.problem(size ? workspace.data() : nullptr, size);
      device->catalog_cross_entropy(problem, losses.data(), log_sums.data(), d_queries.data());
      device->catalog_cross_entropy_backward(problem, log_sums.data(), uploaded.row_ids.size(), uploaded.row_ids.data(),
                                             uploaded.row_gradients.data(), {.d_items = d_items.data()});
      return std::vector{losses.values(), log_sums.values(), d_queries.values(), d_items.values()};
    };
    for (std::int64_t size : {std::int64_t{0}, B * (V + 1028)}) CHECK(once(size) == once(size));
    if (device->name() != "cpu") continue;
    if (of_cpu.empty()) of_cpu = once(0);
    CHECK(once(0) == of_cpu);
  }
}

TEST_CASE("Adam applied by the owner of a tile is Adam applied to the whole gradient") {
  for (const auto& device : check::devices())
    for (const Shape& shape : {Shape{5, 33, 1090}, Shape{5, 100, 577, true}}) {
      CAPTURE(device->name());
      const auto [B, D, V, normalize] = shape;
      const Inputs in = make_inputs(shape, 0, 3);
      const std::vector<float> zeros(V * D);
      struct Trained {
        check::Guarded<float> items, moment1, moment2;
        bool operator==(const Trained& other) const {
          return items.values() == other.items.values() && moment1.values() == other.moment1.values() &&
                 moment2.values() == other.moment2.values();
        }
      };
      const auto fresh = [&] { return Trained{{device, in.items}, {device, zeros}, {device, zeros}}; };
      Trained fused = fresh(), separate = fresh();
      const Uploaded uploaded(device, in);
      check::Guarded losses(device, B), log_sums(device, B), d_queries(device, B * D), d_items(device, V * D);
      const auto train = [&](Trained& trained, bool owner, const TrainingStep& step) {
        const auto on_step = check::on(device, std::vector{step});
        auto problem = uploaded.problem();
        problem.items = trained.items.data();
        device->catalog_cross_entropy(problem, losses.data(), log_sums.data(), d_queries.data());
        const Parameter items{V * D, trained.items.data(), d_items.data(), trained.moment1.data(),
                              trained.moment2.data()};
        device->catalog_cross_entropy_backward(problem, log_sums.data(), uploaded.row_ids.size(),
                                               uploaded.row_ids.data(), uploaded.row_gradients.data(),
                                               {.d_items = owner ? nullptr : items.gradient,
                                                .items = items.value,
                                                .moment1 = items.moment1,
                                                .moment2 = items.moment2,
                                                .step = on_step.data()});
        if (!owner) device->adam(std::span(&items, 1), on_step.data());
        d_items.values();  // waits, and checks its bands
      };
      TrainingStep step{.learning_rate = 0.01f, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f, .weight_decay = 0.1f};
      for (step.number = 1; step.number <= 3; ++step.number) {
        train(fused, true, step);
        train(separate, false, step);
      }
      CHECK(fused == separate);
      CHECK(fused.items.values() != in.items);
      step.stopped = 1;
      train(fused, true, step);
      CHECK(fused == separate);
    }
}

namespace {

// A problem of top-k on a device: floors, sets of exclusions and lines of boosts that several queries share, targets.
struct TopK {
  TopK(const check::DevicePtr& device, std::int64_t B, std::int64_t D, std::int64_t V, std::vector<float> items,
       bool rules = true, bool floors = true)
      : device(device), B(B), D(D), V(V), q(check::random(B * D, 1, 7)), items(std::move(items)) {
    const std::int64_t words = (V + 63) / 64;
    excluded.resize(2 * words);
    for (std::int64_t v = 0; v < V; ++v) {
      excluded[v / 64] |= std::uint64_t{v % 3 == 0} << (v % 64);
      excluded[words + v / 64] |= std::uint64_t{v % 7 < 5} << (v % 64);
    }
    boosts = check::random(2 * V, 1, 9);
    for (std::int64_t v = 0; v < V; v += 5) boosts[v] = v % 2 ? -INFINITY : 1e4f;
    for (std::int64_t b = 0; b < B; ++b) {
      exclusion.push_back(static_cast<std::int32_t>(rules ? b % 3 - 1 : -1));
      boost.push_back(static_cast<std::int32_t>(rules ? b / 3 % 3 - 1 : -1));
      targets.push_back(static_cast<std::int32_t>(b % 5 == 2 ? -1 : b * 11 % V));
    }
    const float heights[] = {-3, 2, 40, std::numeric_limits<float>::lowest()};
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t v = b % 7; floors && b % 4 != 3 && v < V; v += 1 + (v * 31 + b) % (V / 4 + 1)) {
        floor_ids.push_back(static_cast<std::int32_t>(v));
        floor_values.push_back(heights[(b + v) % 4]);
      }
      floor_begin.push_back(static_cast<std::int32_t>(floor_ids.size()));
    }
    on_floor_begin = check::on(device, floor_begin);
    on_floor_ids = check::on(device, floor_ids);
    on_floor_values = check::on(device, floor_values);
    on_q = check::on(device, q);
    on_excluded = check::on(device, excluded);
    on_exclusion = check::on(device, exclusion);
    on_boosts = check::on(device, boosts);
    on_boost = check::on(device, boost);
    on_targets = check::on(device, targets);
    const auto on_items = check::on(device, this->items);
    check::Guarded panels(device, device->packed_size(V, D));
    device->pack_items(V, D, on_items.data(), false, panels.data());
    packed = check::on(device, panels.values());
  }

  struct Lists {
    std::vector<std::int32_t> ids;
    std::vector<float> scores;
    std::vector<std::int64_t> above, tied;
    bool operator==(const Lists&) const = default;
  };

  // Of `count` queries from `first` on.
  Lists run(std::int64_t k, std::int64_t first, std::int64_t count, bool with_targets = true,
            bool with_boosts = true) const {
    check::Guarded<std::int32_t> ids(device, count * k);
    check::Guarded scores(device, count * k);
    check::Guarded<std::int64_t> above(device, count), tied(device, count);
    device->catalog_top_k({.B = count,
                           .D = D,
                           .V = V,
                           .k = k,
                           .queries = on_q.data() + first * D,
                           .packed_items = packed.data(),
                           .floors = {on_floor_begin.data() + first, on_floor_ids.data(), on_floor_values.data()},
                           .excluded = on_excluded.data(),
                           .exclusion = on_exclusion.data() + first,
                           .boosts = on_boosts.data(),
                           .boost = with_boosts ? on_boost.data() + first : nullptr,
                           .targets = with_targets ? on_targets.data() + first : nullptr,
                           .ids = ids.data(),
                           .scores = scores.data(),
                           .above = with_targets ? above.data() : nullptr,
                           .tied = with_targets ? tied.data() : nullptr});
    return {ids.values(), scores.values(), above.values(), tied.values()};
  }
  Lists run(std::int64_t k) const { return run(k, 0, B); }

  bool is_excluded(std::int64_t b, std::int64_t v) const {
    return exclusion[b] >= 0 && (excluded[exclusion[b] * ((V + 63) / 64) + v / 64] >> (v % 64) & 1);
  }
  const float* floor_of(std::int64_t b, std::int64_t v) const {
    const auto first = floor_ids.begin() + floor_begin[b], last = floor_ids.begin() + floor_begin[b + 1];
    const auto found = std::find(first, last, v);
    return found == last ? nullptr : &floor_values[found - floor_ids.begin()];
  }
  // All scores [B,V], without boosts.
  Doubles scores() const {
    auto z = scores_of(B, D, V, q, Doubles(items.begin(), items.end()));
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t i = floor_begin[b]; i < floor_begin[b + 1]; ++i) {
        double& score = z[b * V + floor_ids[i]];
        score = reference::raised(score, floor_values[i]);
      }
    return z;
  }
  double boost_of(std::int64_t b, std::int64_t v) const { return boost[b] < 0 ? 0 : boosts[boost[b] * V + v]; }

  check::DevicePtr device;
  std::int64_t B, D, V;
  std::vector<float> q, items, boosts;
  std::vector<std::uint64_t> excluded;
  std::vector<std::int32_t> exclusion, boost, targets, floor_begin{0}, floor_ids;
  std::vector<float> floor_values;
  Array<float> on_q, packed, on_boosts, on_floor_values;
  Array<std::uint64_t> on_excluded;
  Array<std::int32_t> on_exclusion, on_boost, on_targets, on_floor_begin, on_floor_ids;
};

// Random items, every tenth equal to the first, one with a NaN, one whose scores overflow.
std::vector<float> awkward_items(std::int64_t D, std::int64_t V) {
  auto items = check::random(V * D, 1, 8);
  for (std::int64_t v = 10; v < V; v += 10) std::copy_n(items.begin(), D, items.begin() + v * D);
  if (V > 40) items[33 * D] = NAN;
  return items;
}

// The list of all products is sorted, complete and has the right scores; that of k is its beginning.
void check_lists(const TopK& problem, std::initializer_list<std::int64_t> ks) {
  const std::int64_t B = problem.B, D = problem.D, V = problem.V, most = V + 7;
  const auto z = problem.scores();
  const auto full = problem.run(most);
  for (std::int64_t b = 0; b < B; ++b) {
    CAPTURE(b);
    std::vector<bool> expected(V), listed(V);
    for (std::int64_t v = 0; v < V; ++v) expected[v] = !std::isnan(z[b * V + v]) && !problem.is_excluded(b, v);
    const auto* ids = full.ids.data() + b * most;
    const auto* scores = full.scores.data() + b * most;
    const std::int64_t found = std::find(ids, ids + most, -1) - ids;
    for (std::int64_t i = 0; i < found; ++i) {
      REQUIRE((ids[i] >= 0 && ids[i] < V));
      CHECK(!listed[ids[i]]);
      listed[ids[i]] = true;
      const double score = z[b * V + ids[i]] + problem.boost_of(b, ids[i]);
      if (std::isinf(score))
        CHECK(scores[i] == static_cast<float>(score));
      else
        CHECK(std::abs(scores[i] - score) < 1e-5 * (10 + std::abs(score)));
      const bool sorted = i == 0 || scores[i - 1] > scores[i] || (scores[i - 1] == scores[i] && ids[i - 1] < ids[i]);
      CHECK(sorted);
    }
    CHECK(listed == expected);
    CHECK(std::all_of(ids + found, ids + most, [](auto id) { return id == -1; }));

    const std::int64_t target = problem.targets[b];
    if (target < 0 || std::isnan(z[b * V + target])) {
      CHECK(full.above[b] == V);
      CHECK(full.tied[b] == 0);
      continue;
    }
    std::int64_t surely_above = 0, surely_not_below = -1, equal = -1;  // whatever is excluded or boosted
    for (std::int64_t v = 0; v < V; ++v) {
      surely_above += z[b * V + v] > z[b * V + target] + 1e-4;
      surely_not_below += z[b * V + v] >= z[b * V + target] - 1e-4;
      const auto row = problem.items.begin() + v * D;
      const bool raised = problem.floor_of(b, v) || problem.floor_of(b, target);
      equal += std::equal(row, row + D, problem.items.begin() + target * D) && (v == target || !raised);
    }
    CHECK(full.above[b] >= surely_above);
    CHECK(full.above[b] + full.tied[b] <= surely_not_below);
    CHECK(full.tied[b] >= equal);
  }
  for (std::int64_t k : ks) {
    CAPTURE(k);
    const auto lists = problem.run(k);
    for (std::int64_t b = 0; b < B; ++b) {
      const std::int64_t n = std::min(k, most);
      CHECK(std::equal(lists.ids.begin() + b * k, lists.ids.begin() + b * k + n, full.ids.begin() + b * most));
      for (std::int64_t i = 0; i < n && lists.ids[b * k + i] >= 0; ++i)
        CHECK(lists.scores[b * k + i] == full.scores[b * most + i]);
    }
    CHECK(lists.above == full.above);
    CHECK(lists.tied == full.tied);
  }
}

}  // namespace

TEST_CASE("top-k is what sorting all scores gives: ties, floors, exclusions, boosts, NaN, k beyond the catalog") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const auto check_shape = [&](std::int64_t B, std::int64_t D, std::int64_t V) {
      CAPTURE(B);
      CAPTURE(D);
      CAPTURE(V);
      check_lists(TopK(device, B, D, V, awkward_items(D, V)), {1, 20});
    };
    check_shape(1, 1, 1);
    check_shape(9, 7, 31);
    check_shape(9, 100, 65);
    check_shape(1, 300, 1090);
    check_shape(9, 300, 1023);
    check_shape(130, 33, 577);
    if (check::slow(*device)) continue;
    for (std::int64_t B : {1, 9, 130})
      for (std::int64_t D : {1, 7, 100})
        for (std::int64_t V : {1, 31, 65, 1023, 1090}) check_shape(B, D, V);
    check_shape(3, 33, 20'000);
  }
}

TEST_CASE("a search without targets finds what one with targets does, to the bit, whatever the items") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    for (std::int64_t V : {1, 65, 1090, 5000})
      for (std::int64_t D : {7, 33, 100, 128}) {
        if (check::slow(*device) && V * D > 200'000) continue;
        const auto normal = check::random(V * D, 1, 8);
        auto equal = normal, huge = normal, tiny = normal, uneven = normal;
        for (std::int64_t i = 0; i < V * D; ++i) {
          equal[i] = 0.5f + 1e-4f * normal[i];  // nearly: no bound tells them apart
          tiny[i] *= i / D % 3 ? 1e-25f : 1;
          uneven[i] *= i / D % 50 ? 0.1f : 10;
        }
        for (std::int64_t v = 0; v < V; v += 7) huge[v * D] = v % 2 ? 1e25f : INFINITY;
        for (const auto& items : {awkward_items(D, V), normal, equal, huge, tiny, uneven, std::vector<float>(V * D)}) {
          const TopK problem(device, 20, D, V, items);
          for (std::int64_t k : {1, 20, 40})
            for (std::int64_t B : {1, 20}) {
              CAPTURE(V);
              CAPTURE(D);
              CAPTURE(k);
              CAPTURE(B);
              const auto expected = problem.run(k, 0, B, true, false), found = problem.run(k, 0, B, false, false);
              CHECK(found.ids == expected.ids);
              bool same = true;
              for (std::size_t i = 0; i < found.ids.size(); ++i)
                same &= found.ids[i] < 0 || found.scores[i] == expected.scores[i];
              CHECK(same);
            }
        }
      }
  }
}

TEST_CASE("lists of every length, for few and many queries") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const TopK problem(device, 40, 33, 1500, check::random(1500 * 33, 1, 8));
    const auto longest = problem.run(1500, 0, 33);
    for (std::int64_t k : {64, 65, 128, 129, 256, 257, 513, 1024, 1025})
      for (std::int64_t B : {1, 9, 32, 33}) {
        if (check::slow(*device) && B * k > 9000) continue;
        CAPTURE(k);
        CAPTURE(B);
        const auto lists = problem.run(k, 0, B);
        for (std::int64_t b = 0; b < B; ++b)
          CHECK(std::equal(lists.ids.begin() + b * k, lists.ids.begin() + (b + 1) * k, longest.ids.begin() + b * 1500));
      }
  }
}

TEST_CASE("of equal scores the lowest rows are listed, and all others tie with the target") {
  for (const auto& device : check::devices())
    for (std::int64_t V : {1, 65, 1090}) {
      CAPTURE(device->name());
      CAPTURE(V);
      constexpr std::int64_t B = 9, k = 20;
      const TopK problem(device, B, 7, V, std::vector<float>(V * 7, 0.5f), false, false);
      const auto lists = problem.run(k);
      for (std::int64_t b = 0; b < B; ++b) {
        for (std::int64_t i = 0; i < k; ++i) CHECK(lists.ids[b * k + i] == (i < V ? i : -1));
        CHECK(lists.above[b] == (problem.targets[b] < 0 ? V : 0));
        CHECK(lists.tied[b] == (problem.targets[b] < 0 ? 0 : V - 1));
      }
    }
}

TEST_CASE("exclusions and boosts touch no target's rank") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const TopK ruled(device, 70, 33, 577, awkward_items(33, 577)), free(device, 70, 33, 577, ruled.items, false);
    const auto with = ruled.run(20), without = free.run(20);
    CHECK(with.above == without.above);
    CHECK(with.tied == without.tied);
    CHECK(with.ids != without.ids);
  }
}

TEST_CASE("every list is the same for any batch, to the bit") {
  for (const auto& device : check::devices())
    for (std::int64_t D : {33, 100}) {  // of 33, queries begin anywhere
      CAPTURE(device->name());
      constexpr std::int64_t B = 130, k = 50;
      const TopK problem(device, B, D, 1090, awkward_items(D, 1090));
      const auto together = problem.run(k);
      const auto part = [&](std::int64_t first, std::int64_t count) {
        const auto of = [&](const auto& values, std::int64_t width) {
          return std::vector(values.begin() + first * width, values.begin() + (first + count) * width);
        };
        return TopK::Lists{of(together.ids, k), of(together.scores, k), of(together.above, 1), of(together.tied, 1)};
      };
      for (std::int64_t b = 0; b < B; b += check::slow(*device) ? 19 : 1) CHECK(problem.run(k, b, 1) == part(b, 1));
      for (std::int64_t count : {2, 9, 70}) CHECK(problem.run(k, 5, count) == part(5, count));
    }
}

TEST_CASE("normalized panels score by cosine; a zero row scores zero") {
  constexpr std::int64_t B = 3, D = 33, V = 100;
  const auto q = check::random(B * D, 1, 1);
  auto items = check::random(V * D, 1, 2);
  std::fill_n(items.begin() + 7 * D, D, 0.0f);
  Doubles unit(items.begin(), items.end());
  for (std::int64_t v = 0; v < V; ++v) {
    double squared = 0;
    for (std::int64_t d = 0; d < D; ++d) squared += unit[v * D + d] * unit[v * D + d];
    for (std::int64_t d = 0; d < D && squared > 0; ++d) unit[v * D + d] /= std::sqrt(squared);
  }
  const auto z = scores_of(B, D, V, q, unit);
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const auto on_q = check::on(device, q), on_items = check::on(device, items);
    check::Guarded packed(device, device->packed_size(V, D)), scores(device, B * V);
    check::Guarded<std::int32_t> ids(device, B * V);
    device->pack_items(V, D, on_items.data(), true, packed.data());
    device->catalog_top_k({.B = B,
                           .D = D,
                           .V = V,
                           .k = V,
                           .queries = on_q.data(),
                           .packed_items = packed.data(),
                           .ids = ids.data(),
                           .scores = scores.data()});
    const auto listed = ids.values();
    const auto actual = scores.values();
    Doubles expected;
    for (std::int64_t i = 0; i < B * V; ++i) {
      REQUIRE(listed[i] >= 0);
      expected.push_back(z[i / V * V + listed[i]]);
    }
    CHECK(check::error(actual, expected) < 1e-5);
  }
}
