// The temperature and the tail power of a model, and the probabilities of what it lists, against brute force over the
// oracle's scores.
#include "stamp/calibration.h"

#include <algorithm>
#include <functional>
#include <random>

#include "stamp/floors.h"
#include "stamp/trainer.h"
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

constexpr std::int64_t kProducts = 50;

// Sessions of up to eight events: of a popular product more often than of others, and in one of four the one before
// last.
Sessions visits(int count, unsigned seed, bool weighted = false) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  std::vector<float> weights;
  for (int s = 0; s < count; ++s) {
    const auto first = items.size();
    for (unsigned n = 2 + random() % 7; n > 0; --n) {
      const unsigned most = random() % kProducts;
      items.push_back(items.size() >= first + 2 && random() % 4 == 0
                          ? items[items.size() - 2]
                          : static_cast<std::int32_t>(random() % (most + 1)));
      if (weighted) weights.push_back(0.25f + static_cast<float>(s % 3));
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return Sessions(items, offsets, {}, weights);
}

std::shared_ptr<Model> model_of(Score score, const std::shared_ptr<Device>& device) {
  Config config;
  config.dim = 9;
  config.score = score;
  config.scale = 3;
  config.item_std = 0.4f;
  config.weight_std = 0.5f;
  config.repeat_floors = 3;
  config.successor_floors = 2;
  config.second_floors = 1;
  config.successors = kProducts;
  auto model = std::make_shared<Model>(config, kProducts, device);
  model->set_successors(std::make_shared<Successors>(visits(200, 4), kProducts, kProducts, 2));
  return model;
}

// An example's scores, floors included, and its target and weight, from the oracle.
struct Example {
  reference::Vector scores;
  std::int32_t target;
  double weight;
};

std::vector<Example> examples_of(const Model& model, const Sessions& sessions) {
  reference::Case c{model.config(), model.V(), {}, {}, {}, {}, reference::successor_shares(visits(200, 4), model.V())};
  for (auto& [name, values] : model.download()) c.weights[name].assign(values.begin(), values.end());
  BatchBuilder(sessions, model.config().history).build(example_targets(sessions), c.batch);
  std::vector<Example> examples;
  for (std::int64_t b = 0; b < c.batch.B(); ++b)
    examples.push_back({reference::listed_scores(c, b), c.batch.targets[b], c.batch.weights[b] * c.batch.weight});
  return examples;
}

double log_sum(const reference::Vector& scores, double factor) {
  double sum = 0;
  for (const double score : scores) sum += std::exp(factor * score);
  return std::log(sum);
}

double likelihood(const std::vector<Example>& examples, double temperature) {
  double sum = 0;
  for (const auto& [scores, target, weight] : examples)
    sum += weight * (scores[target] / temperature - log_sum(scores, 1 / temperature));
  return sum;
}

// Where a function of one number is largest between the ends, by trying.
double best(double low, double high, const std::function<double(double)>& f) {
  for (int round = 0; round < 6; ++round) {
    double most = -INFINITY, at = low;
    const double step = (high - low) / 20;
    for (int i = 0; i <= 20; ++i)
      if (const double value = f(low + i * step); value > most) most = value, at = low + i * step;
    low = std::max(low, at - step);
    high = std::min(high, at + step);
  }
  return (low + high) / 2;
}

}  // namespace

TEST_CASE("the temperature is where the likelihood of the targets is largest, floors and weights included") {
  auto devices = check::devices();
  for (const auto& device : check::cpu_in_bf16()) devices.push_back(device);
  for (const auto& device : devices)
    for (Score score : {Score::dot, Score::cosine})
      for (bool weighted : {false, true}) {
        CAPTURE(device->name());
        CAPTURE(weighted);
        if (check::slow(*device) && weighted) continue;
        const auto model = model_of(score, device);
        const Sessions sessions = visits(check::slow(*device) ? 15 : 80, 7, weighted);
        const auto targets = example_targets(sessions);
        fit_floors(*model, sessions, targets);
        calibrate(*model, sessions, targets);
        const auto examples = examples_of(*model, sessions);
        const double expected = best(0.125, 8, [&](double t) { return likelihood(examples, t); });
        CHECK(expected > 0.5);
        CHECK(expected < 4);
        CHECK(model->temperature() ==
              doctest::Approx(expected).epsilon(device->precision() == Precision::bf16 ? 2e-2 : 2e-3));
      }
}

TEST_CASE("the tail power makes clicks of other sessions the likeliest guess") {
  for (bool weighted : {false, true}) {
    const auto model = model_of(Score::dot, open_device("cpu"));
    const Sessions sessions = visits(400, 9, weighted);
    std::vector<std::int64_t> targets;
    for (const std::int64_t target : example_targets(sessions))
      if (target % 1000 < 200) targets.push_back(target);  // not always whole sessions
    calibrate(*model, sessions, targets);
    std::vector<double> clicks(kProducts);
    for (std::int64_t s = 0; s < sessions.size(); ++s) {
      const auto first = sessions.offsets()[s], last = sessions.offsets()[s + 1];
      if (std::any_of(targets.begin(), targets.end(), [&](auto target) { return first <= target && target < last; }))
        continue;
      for (std::int64_t event = first; event < last; ++event) ++clicks[sessions.items()[event]];
    }
    reference::Vector logs;
    for (const double n : clicks) logs.push_back(std::log(1 + n));
    const double expected = best(0, 4, [&](double power) {
      double sum = 0;
      for (const std::int64_t target : targets) {
        const double weight = weighted ? sessions.weights()[target] : 1;
        sum += weight * (power * logs[sessions.items()[target]] - log_sum(logs, power));
      }
      return sum;
    });
    CHECK(expected > 0.3);
    CHECK(expected < 3);
    CHECK(model->tail_power() == doctest::Approx(expected).epsilon(1e-3));
  }
}

TEST_CASE("listed products have the probabilities of the softmax over all, at the model's temperature") {
  for (const auto& device : check::devices())
    for (Score score : {Score::dot, Score::cosine}) {
      CAPTURE(device->name());
      const auto model = model_of(score, device);
      model->set_floors(for_every_kind(std::vector{2.0f, 1.0f, Model::kNoFloor}), {3.0f, 2.0f, 4.0f});
      model->set_calibration(1.7f, 1);
      const Sessions sessions = visits(check::slow(*device) ? 15 : 60, 5);
      constexpr std::int64_t k = 7;
      const auto found = listed_probabilities(*model, sessions, k);
      const auto examples = examples_of(*model, sessions);
      REQUIRE(found.probabilities.size() == examples.size() * k);
      REQUIRE(found.is_target.size() == examples.size() * k);
      for (std::size_t e = 0; e < examples.size(); ++e) {
        auto sorted = examples[e].scores;
        std::sort(sorted.rbegin(), sorted.rend());
        const double of_target = examples[e].scores[examples[e].target], all = log_sum(sorted, 1 / 1.7);
        for (std::size_t i = 0; i < k; ++i) {
          CHECK(found.probabilities[e * k + i] == doctest::Approx(std::exp(sorted[i] / 1.7 - all)).epsilon(1e-3));
          if (std::abs(of_target - sorted[i]) > 1e-3) CHECK(found.is_target[e * k + i] == 0);
        }
        CHECK(std::count(found.is_target.begin() + e * k, found.is_target.begin() + (e + 1) * k, 1) <= 1);
        if (of_target > sorted[k] + 1e-3)
          CHECK(std::count(found.is_target.begin() + e * k, found.is_target.begin() + (e + 1) * k, 1) == 1);
      }
    }
}

TEST_CASE("lists longer than the catalog end in NaN; events that the model does not know are no history") {
  const auto model = model_of(Score::cosine, open_device("cpu"));
  const Sessions sessions({1, Catalog::kUnknown, 2, Catalog::kUnknown, 3}, {0, 3, 5});
  const auto found = listed_probabilities(*model, sessions, kProducts + 2);
  REQUIRE(found.probabilities.size() == 2 * (kProducts + 2));  // 1 → unknown, 1 → 2; 3 follows nothing that is known
  for (std::size_t e : {0, 1}) {
    const auto list = std::span(found.probabilities).subspan(e * (kProducts + 2), kProducts + 2);
    CHECK(std::isnan(list[kProducts]));
    CHECK(std::isnan(list[kProducts + 1]));
    double sum = 0;
    for (std::size_t i = 0; i < kProducts; ++i) sum += list[i];
    CHECK(sum == doctest::Approx(1).epsilon(1e-4));
  }
  CHECK(std::count(found.is_target.begin(), found.is_target.begin() + kProducts + 2, 1) == 0);
  CHECK(std::count(found.is_target.begin() + kProducts + 2, found.is_target.end(), 1) == 1);
  CHECK_THROWS_WITH_AS(listed_probabilities(*model, sessions, 0), "listed_probabilities: k is 0, expected 1 or more",
                       std::invalid_argument);
}

TEST_CASE("what cannot be fitted stays, and what is fitted has ends") {
  const auto model = model_of(Score::dot, open_device("cpu"));
  model->set_calibration(2, 0.5f);
  const Sessions sessions = visits(60, 3);
  calibrate(*model, sessions, {});
  CHECK(model->temperature() == 2);
  CHECK(model->tail_power() == 0.5f);
  // One session of one target, whose score is above all others' or below: surer is likelier, or less sure.
  auto values = model->download();
  const Sessions one({5, 6}, {0, 2});
  calibrate(*model, one, std::vector<std::int64_t>{1});
  CHECK(model->temperature() >= 0.125f);
  CHECK(model->temperature() <= 8);
  CHECK(model->tail_power() == 1);  // nobody else clicked anything
  for (float& value : values["items"]) value = NAN;
  model->upload(values);
  calibrate(*model, sessions, example_targets(sessions));
  CHECK(model->temperature() == 2);
  for (const auto& [temperature, power] : {std::pair(0.0f, 1.0f), {-1.0f, 1.0f}, {NAN, 1.0f}, {INFINITY, 1.0f}})
    CHECK_THROWS_AS(model->set_calibration(temperature, power), std::invalid_argument);
  for (float power : {-1.0f, NAN, INFINITY}) CHECK_THROWS_AS(model->set_calibration(1, power), std::invalid_argument);
  CHECK(model->temperature() == 2);
}

TEST_CASE("training fits both to what is held out, and files keep them; older files have neither") {
  const check::Folder folder;
  const Sessions sessions = visits(600, 11);
  for (bool floors : {true, false}) {
    const auto device = open_device("cpu");
    Config config = model_of(Score::cosine, device)->config();
    if (!floors) config.repeat_floors = config.successor_floors = config.second_floors = 0;
    Model model(config, kProducts, device);
    TrainConfig training;
    training.epochs = 2;
    const TrainReport report = train(model, sessions, training);
    CHECK((report.temperature != 1) == floors);
    CHECK((report.tail_power != 1) == floors);
    CHECK(model.temperature() == report.temperature);
    std::map<std::string, TensorSource> tensors;
    model.save(tensors, "");
    CHECK(tensors.count("temperature") == floors);
    write_safetensors(folder / "new", tensors);
    const Model loaded(config, kProducts, device, Safetensors(folder / "new"));
    CHECK(loaded.temperature() == model.temperature());
    CHECK(loaded.tail_power() == model.tail_power());
    tensors.erase("temperature");
    tensors.erase("tail.power");
    write_safetensors(folder / "old", tensors);
    const Model old(config, kProducts, device, Safetensors(folder / "old"));
    CHECK(old.temperature() == 1);
    CHECK(old.tail_power() == 1);
  }
}
