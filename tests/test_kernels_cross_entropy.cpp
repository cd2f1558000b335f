// The catalog's cross-entropy, against plain loops on awkward sizes and values, with guard bands.
#include <map>

#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

using Doubles = std::vector<double>;

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
  std::vector<std::uint64_t> excluded = {};  // or none

  bool is_excluded(std::int64_t v) const { return !excluded.empty() && excluded[v / 64] >> (v % 64) & 1; }
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
  auto z = reference::scores_of(B, D, V, in.q, items);
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t v = 0; v < V; ++v)
      if (in.is_excluded(v)) z[b * V + v] = -INFINITY;
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
        excluded(check::on(device, in.excluded)),
        targets(check::on(device, [&] {
          auto rows = in.targets;
          rows.insert(rows.end(), in.row_ids.begin(), in.row_ids.end());
          return rows;
        }())) {}

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
            .workspace_size = size,
            .excluded = excluded.empty() ? nullptr : excluded.data()};
  }

  Shape shape;
  Array<float> q, items, weights, row_gradients;
  Array<std::uint64_t> excluded;
  Array<std::int32_t> targets;  // with row_ids behind them
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
    if (!loud[i / in.shape.D] && !in.is_excluded(static_cast<std::int64_t>(i) / in.shape.D))
      rows.push_back(static_cast<double>(d_items[i]));
  return rows;
}

// Every product but targets of the batch and each 11th is left out in whole tiles and parts of them, all but 60 of 577.
void exclude(Inputs& in) {
  const std::int64_t V = in.shape.V;
  in.excluded.assign(static_cast<std::size_t>((V + 63) / 64), 0);
  for (std::int64_t v = 0; v < V; ++v)
    if (v % 11 != 0 || v > 2 * V / 3) in.excluded[v / 64] |= std::uint64_t{1} << (v % 64);
  for (std::int32_t target : in.targets) in.excluded[target / 64] &= ~(std::uint64_t{1} << (target % 64));
}

void check_cross_entropy(const check::DevicePtr& device, const Shape& shape, float shift, double spread,
                         bool with_excluded = false) {
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
  Inputs in = make_inputs(shape, shift, spread);
  if (with_excluded) exclude(in);
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
    device->sort_rows(problem, in.row_ids.size());
    device->catalog_cross_entropy_backward(problem, log_sums.data(), in.row_ids.size(), uploaded.row_gradients.data(),
                                           {.d_items = d_items.data()});
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
    if (!with_excluded) continue;
    const auto rows = d_items.values();
    for (std::int64_t v = 0; v < V; ++v)
      if (in.is_excluded(v) && std::find(in.row_ids.begin(), in.row_ids.end(), v) == in.row_ids.end())
        CHECK(std::abs(rows[v * D]) < 1e-30f);
  }
}

// From one product to more than any tile is wide, all-equal scores (514), one query to more than any block takes.
const Shape kShapes[] = {{9, 7, 1},         {9, 33, 31},           {9, 100, 514},        {1, 7, 1023},
                         {9, 33, 1090},     {130, 33, 577},        {9, 300, 1090},       {1, 100, 1090},
                         {9, 33, 31, true}, {130, 100, 577, true}, {9, 130, 1090, true}, {9, 1, 65},
                         {387, 18, 1090},   {70, 120, 300}};

}  // namespace

TEST_CASE("catalog cross-entropy leaves products out, whole tiles too") {
  auto devices = check::devices();
  for (const auto& device : check::fast_devices()) devices.push_back(device);
  for (const auto& device : devices)
    for (const Shape& shape : {Shape{9, 33, 577}, {130, 100, 577, true}, {9, 130, 1090, true}, {9, 100, 2100}})
      if (!check::slow(*device) || shape.B * shape.V < 100'000) check_cross_entropy(device, shape, 0, 1, true);
}

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
  std::map<Precision, std::vector<std::vector<float>>> of_cpu;
  for (const auto& device : all) {
    CAPTURE(device->name());
    CAPTURE(to_string(device->precision()));
    const Uploaded uploaded(device, in);
    const auto [B, D, V, normalize] = in.shape;
    const auto once = [&](std::int64_t size) {
      check::Guarded workspace(device, size), losses(device, B), log_sums(device, B), d_queries(device, B * D),
          d_items(device, V * D);
      const auto problem = uploaded.problem(size ? workspace.data() : nullptr, size);
      device->catalog_cross_entropy(problem, losses.data(), log_sums.data(), d_queries.data());
      device->sort_rows(problem, in.row_ids.size());
      device->catalog_cross_entropy_backward(problem, log_sums.data(), in.row_ids.size(), uploaded.row_gradients.data(),
                                             {.d_items = d_items.data()});
      return std::vector{losses.values(), log_sums.values(), d_queries.values(), d_items.values()};
    };
    for (std::int64_t size : {std::int64_t{0}, B * (V + 1028)}) CHECK(once(size) == once(size));
    if (device->name() != "cpu") continue;
    auto& expected = of_cpu[device->precision()];
    if (expected.empty()) expected = once(0);
    CHECK(once(0) == expected);
  }
  CHECK(of_cpu.at(Precision::bf16) != of_cpu.at(Precision::fp32));
}

TEST_CASE("catalog cross-entropy on a CPU: neither the batch nor its order changes a bit of an example") {
  std::vector<check::DevicePtr> devices = check::cpu_in_bf16();
  devices.push_back(open_device("cpu"));
  const Inputs in = make_inputs({401, 33, 1090}, 0, 3);  // more queries than are worked on at once
  const auto [B, D, V, normalize] = in.shape;
  for (const auto& device : devices) {
    CAPTURE(to_string(device->precision()));
    // Losses and d_queries of the queries at these places, each of weight 1.
    const auto of = [&](const std::vector<std::int64_t>& places) {
      Inputs some = in;
      some.shape.B = static_cast<std::int64_t>(places.size());
      some.q.clear();
      some.targets.clear();
      for (std::int64_t b : places) {
        some.q.insert(some.q.end(), in.q.begin() + b * D, in.q.begin() + (b + 1) * D);
        some.targets.push_back(in.targets[b]);
      }
      some.weights.assign(places.size(), 1);
      const Uploaded uploaded(device, some);
      check::Guarded losses(device, some.shape.B), log_sums(device, some.shape.B), d_queries(device, some.shape.B * D);
      device->catalog_cross_entropy(uploaded.problem(), losses.data(), log_sums.data(), d_queries.data());
      return std::pair{losses.values(), d_queries.values()};
    };
    std::vector<std::int64_t> reversed(B);
    for (std::int64_t b = 0; b < B; ++b) reversed[b] = B - 1 - b;
    const auto [losses, gradients] = of(reversed);
    for (std::int64_t b : {0, 1, 7, 191, 192, 200, 400}) {
      CAPTURE(b);
      const auto [loss, gradient] = of({b});
      CHECK(loss[0] == losses[B - 1 - b]);
      CHECK(std::equal(gradient.begin(), gradient.end(), gradients.begin() + (B - 1 - b) * D));
    }
  }
}

TEST_CASE("the loss of a step skips what has no weight, and stops what is not below the limit") {
  auto devices = check::devices();
  for (const auto& device : check::fast_devices()) devices.push_back(device);
  for (const auto& device : devices)
    for (std::int64_t B : {1, 33, 300}) {
      CAPTURE(device->name());
      CAPTURE(to_string(device->precision()));
      CAPTURE(B);
      constexpr std::int64_t D = 6, V = 40;
      Inputs in = make_inputs({B, D, V}, 0, 1);
      in.items[in.targets[0] * D] = -1e30f;
      for (std::int64_t b = 0; b < B; ++b) {
        in.q[b * D] = 0;
        in.weights[b] = b % 3 == 1 ? 0 : 0.5f;
        if (in.weights[b] == 0) in.q[b * D + 1] = b % 2 ? NAN : INFINITY;
      }
      const auto run = [&](float query, double limit) {
        Inputs changed = in;
        changed.q[0] = query;
        const Uploaded uploaded(device, changed);
        const TrainingStep before{.number = 5, .weight = 3, .limit = limit, .done = 4, .loss = 77, .loss_sum = 10};
        auto step = check::on(device, std::vector{before});
        check::Guarded losses(device, B), log_sums(device, B), d_queries(device, B * D);
        auto problem = uploaded.problem();
        problem.step = step.data();
        device->catalog_cross_entropy(problem, losses.data(), log_sums.data(), d_queries.data());
        const auto actual = losses.values();
        double expected = 0;
        for (std::int64_t b = 0; b < B; ++b)
          if (in.weights[b] != 0) expected += double{in.weights[b]} * actual[b];
        const TrainingStep after = step.download().front();
        CHECK(after.number == 5);
        CHECK(after.stopped == !(after.loss < limit));
        CHECK(after.done == (after.stopped ? 4 : 5));
        CHECK(after.loss_sum == (after.stopped ? 10 : 10 + 3 * after.loss));
        if (std::isfinite(expected)) CHECK(after.loss == doctest::Approx(expected).epsilon(1e-12));
        if (std::isnan(expected)) CHECK(std::isnan(after.loss));
        return after;
      };
      const TrainingStep fine = run(0, INFINITY);
      CHECK(fine.stopped == 0);
      CHECK(run(0, std::nextafter(fine.loss, INFINITY)).stopped == 0);
      CHECK(run(0, fine.loss).stopped == 1);  // not below
      const TrainingStep infinite = run(1e30f, INFINITY);
      CHECK((infinite.stopped == 1 && infinite.loss == INFINITY));
      const TrainingStep none = run(NAN, INFINITY);
      CHECK((none.stopped == 1 && std::isnan(none.loss)));
    }
}

TEST_CASE("catalog cross-entropy of a batch whose targets and histories are all one product") {
  auto devices = check::devices();
  for (const auto& device : check::fast_devices()) devices.push_back(device);
  for (const auto& device : devices)
    for (const Shape& shape : {Shape{70, 33, 577}, Shape{70, 33, 577, true}, Shape{1, 18, 40}}) {
      CAPTURE(device->name());
      CAPTURE(to_string(device->precision()));
      const auto [B, D, V, normalize] = shape;
      Inputs in = make_inputs(shape, 0, 1);
      std::fill(in.targets.begin(), in.targets.end(), 33);
      in.row_ids.assign(4000, 33);
      in.row_gradients = check::random(4000 * D, 0.001, 6);
      const Expected expected = cross_entropy(in);
      const Uploaded uploaded(device, in);
      check::Guarded losses(device, B), log_sums(device, B), d_queries(device, B * D), d_items(device, V * D);
      device->catalog_cross_entropy(uploaded.problem(), losses.data(), log_sums.data(), d_queries.data());
      device->sort_rows(uploaded.problem(), 4000);
      device->catalog_cross_entropy_backward(uploaded.problem(), log_sums.data(), 4000, uploaded.row_gradients.data(),
                                             {.d_items = d_items.data()});
      CHECK(check::error(d_items.values(), expected.d_items) < check::tolerance(*device).gradient);
      CHECK(check::error(d_queries.values(), expected.d_queries) < check::tolerance(*device).gradient);
    }
}

// With the owner go its copy of the items, which has to be that of the new ones, and whose use shows in no bit.
TEST_CASE("Adam applied by the owner of a tile is Adam applied to the whole gradient") {
  auto devices = check::devices();
  for (const auto& device : check::fast_devices()) devices.push_back(device);
  for (const auto& device : devices)
    for (const Shape& shape : {Shape{5, 33, 1090}, Shape{5, 100, 577, true}, Shape{130, 18, 1500}, Shape{1, 30, 5}}) {
      CAPTURE(device->name());
      CAPTURE(to_string(device->precision()));
      const auto [B, D, V, normalize] = shape;
      CAPTURE(B);
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
      const auto size = device->rounded_size(V, D);
      const auto rounded_of = [&](const Trained& trained, check::Guarded<std::byte>& rounded) {
        device->round_items(V, D, {.items = const_cast<Trained&>(trained).items.data(), .normalize = normalize},
                            rounded.data());
      };
      check::Guarded<std::byte> kept(device, size), expected(device, size);
      if (size) rounded_of(fused, kept);
      const auto train = [&](Trained& trained, bool owner, const TrainingStep& step) {
        const auto on_step = check::on(device, std::vector{step});
        auto problem = uploaded.problem();
        problem.items = trained.items.data();
        problem.rounded = owner && size ? kept.data() : nullptr;
        device->catalog_cross_entropy(problem, losses.data(), log_sums.data(), d_queries.data());
        const Parameter items{V * D, trained.items.data(), d_items.data(), trained.moment1.data(),
                              trained.moment2.data()};
        device->sort_rows(problem, in.row_ids.size());
        device->catalog_cross_entropy_backward(problem, log_sums.data(), in.row_ids.size(),
                                               uploaded.row_gradients.data(),
                                               {.d_items = owner ? nullptr : items.gradient,
                                                .items = items.value,
                                                .moment1 = items.moment1,
                                                .moment2 = items.moment2,
                                                .step = on_step.data(),
                                                .rounded = owner && size ? kept.data() : nullptr});
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
      if (size) rounded_of(fused, expected);
      CHECK(kept.values() == expected.values());
    }
}
