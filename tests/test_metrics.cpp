// Metrics by hand, on cases where neighbouring definitions differ, and against brute force.
#include "stamp/metrics.h"
#include "stamp/popularity.h"
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

Metrics measure(const MetricsOptions& options, std::vector<std::int64_t> counts, std::int64_t above, std::int64_t tied,
                std::int32_t target, std::vector<std::int32_t> ids) {
  MetricsAccumulator metrics(options, std::move(counts));
  Batch batch;
  batch.add_history(std::vector<std::int32_t>{0});
  batch.targets[0] = target;
  const std::int64_t k = static_cast<std::int64_t>(ids.size());
  metrics.add(batch, {std::move(ids), {above}, {tied}}, k);
  return metrics.result();
}

}  // namespace

TEST_CASE("rank 3 of a list: bases of rank and logarithm, division") {
  const Metrics m = measure({.k = {2, 3, 20}}, {8, 4, 2, 2, 0}, 2, 0, 1, {0, 3, 1});
  CHECK(m.at[0].hr == 0);
  CHECK(m.at[0].mrr == 0);
  CHECK(m.at[1].hr == 1);
  CHECK(m.at[1].mrr == doctest::Approx(1.0 / 3));
  CHECK(m.at[1].ndcg == doctest::Approx(0.5));  // 1 / log2(4)
  CHECK(m.at[2].mrr == doctest::Approx(1.0 / 3));
  CHECK(m.at[0].coverage == doctest::Approx(2.0 / 5));
  CHECK(m.at[1].coverage == doctest::Approx(3.0 / 5));
  CHECK(m.at[0].popularity == doctest::Approx((1 + 0.25) / 2));
  CHECK(m.at[2].popularity == doctest::Approx((1 + 0.25 + 0.5) / 3));  // of what is listed, not of k
}

TEST_CASE("ties, NaN and cold targets") {
  const std::vector<std::int64_t> counts{5, 5, 5, 5, 0};
  for (auto [ties, mrr] : {std::pair{Ties::conservative, 1.0 / 4}, {Ties::mean, 1.0 / 2.5}, {Ties::optimistic, 1.0}}) {
    const Metrics m = measure({.k = {5}, .ties = ties}, counts, 0, 3, 1, {0, 1, 2});
    CHECK(m.at[0].mrr == doctest::Approx(mrr));
    CHECK(m.tied == 1);
  }
  // A NaN score ranks after all, and is no hit of a list as long as there are products, or longer.
  const Metrics nan = measure({.k = {5, 6, 100}}, counts, 5, 0, 1, {0});
  for (const auto& at : nan.at) {
    CHECK(at.hr == 0);
    CHECK(at.mrr == 0);
    CHECK(at.ndcg == 0);
  }
  CHECK(nan.unreachable == 1);
  const Metrics cold = measure({.k = {5}}, counts, 0, 0, 4, {4});  // never trained on, even when ranked first
  CHECK(cold.at[0].hr == 0);
  CHECK(cold.cold_targets == 1);
  CHECK(cold.unreachable == 0);
  CHECK(measure({.k = {5}}, counts, 5, 0, Catalog::kUnknown, {0}).cold_targets == 1);
}

TEST_CASE("popularity over sessions: every target, unknown events skipped, cold ones counted") {
  const std::vector<std::int64_t> counts{4, 4, 2, 1};
  // [0 1 2], [? 3 ?], [? ?], [2]
  const Sessions sessions({0, 1, 2, -1, 3, 9, -1, -1, 2}, {0, 3, 6, 8, 9});
  const auto ranker = baseline_ranker(popularity_of(counts));
  const Metrics m = evaluate(*ranker, sessions, counts, {.k = {1, 2, 3}});
  CHECK(m.examples == 5);      // 1 and 2 of the first session, 3 and 9 of the second, ? of the third
  CHECK(m.unanswered == 0);    // popularity needs no history
  CHECK(m.cold_targets == 2);  // 9, and ? after ?
  CHECK(m.tied == 1);          // 1 shares its count with 0
  CHECK(m.at[0].hr == 0);
  CHECK(m.at[1].hr == doctest::Approx(1.0 / 5));
  CHECK(m.at[2].mrr == doctest::Approx((1.0 / 2 + 1.0 / 3) / 5));
  CHECK(evaluate(*ranker, sessions, counts, {.k = {3}, .last_only = true}).examples == 3);
  CHECK(evaluate(*ranker, sessions, counts, {.k = {3}, .min_history = 2}).examples == 2);
  CHECK(evaluate(*ranker, sessions, counts, {.k = {1, 2, 3}, .batch = 1}).at[2].mrr == m.at[2].mrr);
  Config config;
  config.dim = 3;
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Model model(config, 4, device);
    const Metrics by_model = evaluate(*model_ranker(model, device), sessions, counts, {.k = {3}});
    CHECK(by_model.examples == 5);
    CHECK(by_model.unanswered == 1);    // 3 after ?
    CHECK(by_model.cold_targets == 2);  // ? after ? is cold
    CHECK(by_model.unreachable == 0);
  }
  CHECK_THROWS_AS(evaluate(*ranker, sessions, counts, {.k = {}}), std::invalid_argument);
  CHECK_THROWS_AS(evaluate(*ranker, sessions, counts, {.k = {0}}), std::invalid_argument);
  CHECK_THROWS_AS(evaluate(*ranker, sessions, {1, 2}, {.k = {1}}), std::invalid_argument);
}

TEST_CASE("an event of weight 0 is history and no target") {
  const std::vector<std::int64_t> counts{4, 3, 2, 1};
  const Sessions sessions({0, 1, 2, 3, 0}, {0, 3, 5}, {}, {0, 0, 2, 0.5f, 0});
  const auto ranker = baseline_ranker(popularity_of(counts));
  const Metrics m = evaluate(*ranker, sessions, counts, {.k = {3}});
  CHECK(m.examples == 1);  // 2 of the first session, of whatever weight above 0
  CHECK(m.at[0].mrr == doctest::Approx(1.0 / 3));
  CHECK(evaluate(*ranker, sessions, counts, {.k = {3}, .last_only = true}).examples == 1);
}

TEST_CASE("a model's metrics are those of its scores, sorted") {
  Config config = Config::preset("paper");
  config.dim = 9;
  config.item_std = 0.5f;
  config.repeat_floors = 2;
  constexpr std::int64_t V = 70;
  std::mt19937 random(4);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (int s = 0; s < 40; ++s) {
    for (unsigned i = 1 + random() % 6; i > 0; --i) items.push_back(static_cast<std::int32_t>(random() % V));
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  const Sessions sessions(items, offsets);
  const auto counts = item_counts(sessions, V);
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    Model model(config, V, device);
    std::vector<float> floors;  // for each kind others
    for (std::int64_t i = 0; i < 2 * Repeat::kKinds; ++i)
      floors.push_back(0.01f * static_cast<float>((7 * i + 3) % 20));
    model.set_floors(floors, {});
    const auto table = model.download().at("items");
    double hr = 0, mrr = 0, n = 0;
    for (std::int64_t target : example_targets(sessions)) {
      const std::int64_t start = *(std::upper_bound(offsets.begin(), offsets.end(), target) - 1);
      Batch batch;
      batch.add_history(std::span(items).subspan(start, target - start));
      Activations a(device);
      a.upload(batch, config);
      model.forward(*device, a);
      const auto q = a.q.download();
      const auto score = [&](std::int64_t v) {
        double sum = 0;
        for (std::int64_t d = 0; d < config.dim; ++d) sum += double{q[d]} * table[v * config.dim + d];
        std::int64_t last = target - 1;
        while (last >= start && items[last] != v) --last;
        if (last < start) return sum;
        const auto kind = reference::kind_of(std::span(items).subspan(start, target - start), items[last]);
        return reference::raised(sum, floors[2 * kind + (last < target - 1)]);
      };
      int rank = 1;
      for (std::int64_t v = 0; v < V; ++v) rank += v != items[target] && score(v) >= score(items[target]);
      hr += rank <= 20;
      mrr += rank <= 20 ? 1.0 / rank : 0;
      ++n;
    }
    const auto ranker = model_ranker(model, device);
    const Metrics m = evaluate(*ranker, sessions, counts, {.k = {20}});
    CHECK(m.examples == n);
    CHECK(m.at[0].hr == doctest::Approx(hr / n));
    CHECK(m.at[0].mrr == doctest::Approx(mrr / n));
  }
}
