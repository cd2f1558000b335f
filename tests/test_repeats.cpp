// Floors of products of the history: the likelihood that they are fitted to, and which sessions that takes.
#include "stamp/repeats.h"

#include <numeric>
#include <random>

#include "stamp/trainer.h"
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

constexpr std::int64_t kProducts = 40;

// Sessions of up to eight events, of which one in three repeats the event two before it and one in ten the last.
Sessions revisiting(int count, unsigned seed, std::vector<float> weights_of_sessions = {}) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  std::vector<float> weights;
  for (int s = 0; s < count; ++s) {
    const auto first = items.size();
    for (unsigned n = 2 + random() % 7; n > 0; --n) {
      const std::size_t done = items.size() - first;
      const unsigned kind = random() % 30;
      items.push_back(done >= 2 && kind < 10   ? items[items.size() - 2]
                      : done >= 1 && kind < 13 ? items.back()
                                               : static_cast<std::int32_t>(random() % kProducts));
      if (!weights_of_sessions.empty()) weights.push_back(weights_of_sessions[s]);
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return Sessions(items, offsets, {}, weights);
}

Config config_of(Score score, std::int64_t floors = 3) {
  Config config;
  config.dim = 9;
  config.score = score;
  config.scale = 5;
  config.item_std = 0.4f;
  config.weight_std = 0.5f;
  config.repeat_floors = floors;
  return config;
}

// What fit_repeat_floors says that it maximises, from the oracle's scores: Σ weight · log p of the targets, and one
// more example for each floor, of the mean log_sum, in which it was not the reason.
class Likelihood {
 public:
  Likelihood(const Model& model, const Sessions& sessions) {
    reference::Case c{model.config(), model.V(), {}, {}, {}};
    for (auto& [name, values] : model.download()) c.weights[name].assign(values.begin(), values.end());
    const auto targets = example_targets(sessions);
    BatchBuilder(sessions).build(targets, c.batch);
    const auto found = reference::run(c);
    for (std::int64_t b = 0; b < c.batch.B(); ++b) {
      Example example{.weight = c.batch.weights[b] * c.batch.weight,
                      .z = found.scores[b],
                      .place = {},
                      .target = c.batch.targets[b]};
      for (std::int64_t ago = c.batch.length[b] - 1; ago >= 0; --ago)
        example.place[c.batch.items[c.batch.begin[b] + c.batch.length[b] - 1 - ago]] =
            std::min<std::size_t>(ago, model.repeat_floors().size() - 1);
      examples_.push_back(example);
    }
  }

  double of(const std::vector<double>& floors) const {
    double sum = 0, mean = 0;
    for (const auto& [weight, z, place, target] : examples_) {
      double log_sum = 0, all = 0;
      for (double score : z) log_sum += std::exp(score);
      mean += std::log(log_sum) / static_cast<double>(examples_.size());
      all = log_sum;
      for (const auto& [row, where] : place) all += std::exp(floors[where]);
      const auto at = place.find(target);
      sum += weight * std::log((std::exp(z[target]) + (at == place.end() ? 0 : std::exp(floors[at->second]))) / all);
    }
    for (double floor : floors) sum -= std::log1p(std::exp(floor - mean));
    return sum;
  }

 private:
  struct Example {
    double weight;
    reference::Vector z;
    std::map<std::int32_t, std::size_t> place;
    std::int32_t target;
  };
  std::vector<Example> examples_;
};

std::vector<double> doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

}  // namespace

TEST_CASE("floors are where the likelihood is largest") {
  for (const auto& device : check::devices())
    for (Score score : {Score::dot, Score::cosine}) {
      CAPTURE(device->name());
      Model model(config_of(score), kProducts, device);
      const Sessions sessions = revisiting(60, 3, [] {
        std::vector<float> weights(60);
        for (int s = 0; s < 60; ++s) weights[s] = 0.25f + static_cast<float>(s % 3);
        return weights;
      }());
      const auto before = model.download().at("items");
      fit_repeat_floors(model, sessions, example_targets(sessions));
      CHECK(model.download().at("items") == before);
      const Likelihood likelihood(model, sessions);
      const auto found = doubles(model.repeat_floors());
      CHECK(found[1] > found[0]);
      CHECK(found[1] > found[2]);
      const double most = likelihood.of(found);
      for (std::size_t place = 0; place < found.size(); ++place)
        for (double step : {-0.1, 0.1}) {
          CAPTURE(place);
          CAPTURE(found[place]);
          auto other = found;
          other[place] = found[place] == Model::kNoFloor ? 10 * step : found[place] + step;
          CHECK(likelihood.of(other) < most);
        }
    }
}

TEST_CASE("distances at which nothing repeats get no floor") {
  Model model(config_of(Score::dot), kProducts, open_device("cpu"));
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (std::int32_t s = 0; s < 30; ++s) {  // a b a: the product before the anchor, never the anchor itself
    for (std::int32_t item : {s, (s + 7) % 40, s}) items.push_back(item);
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  const Sessions sessions(items, offsets);
  fit_repeat_floors(model, sessions, example_targets(sessions));
  CHECK(model.repeat_floors()[0] == Model::kNoFloor);
  CHECK(model.repeat_floors()[1] > 0);
  CHECK(model.repeat_floors()[2] == Model::kNoFloor);  // no history is so long
  const auto floors = model.repeat_floors();
  fit_repeat_floors(model, sessions, {});
  CHECK(model.repeat_floors() == floors);
}

TEST_CASE("training keeps whole sessions from the weights: as many as calibration asks for, a twentieth at most") {
  const Sessions sessions = revisiting(2000, 5);
  const auto all = static_cast<double>(example_targets(sessions).size());
  const auto trained_on = [&](std::int64_t floors, std::int64_t calibration, std::vector<float>* fitted = nullptr) {
    Model model(config_of(Score::cosine, floors), kProducts, open_device("cpu"));
    TrainConfig config;
    config.epochs = 1;
    config.calibration = calibration;
    const TrainReport report = train(model, sessions, config);
    CHECK(static_cast<double>(report.examples + report.held_out) == all);
    const auto examples = static_cast<double>(report.examples);
    if (fitted) *fitted = model.repeat_floors();
    return examples;
  };
  std::vector<float> floors;
  CHECK(trained_on(3, 100'000, &floors) == doctest::Approx(0.95 * all).epsilon(0.02));
  CHECK(floors[1] > floors[0]);
  CHECK(trained_on(3, 200) == doctest::Approx(all - 200).epsilon(0.01));
  CHECK(trained_on(0, 100'000) == all);
  CHECK(trained_on(3, 0, &floors) == all);
  CHECK(floors == std::vector<float>(3, Model::kNoFloor));
}

TEST_CASE("sessions that are held out teach the floors and nothing else") {
  constexpr int kSessions = 60;
  const auto trained = [](const std::vector<float>& weights, std::int64_t floors) {
    Model model(config_of(Score::dot, floors), kProducts, open_device("cpu"));
    TrainConfig config;
    config.epochs = 2;
    config.batch_size = 16;
    train(model, revisiting(kSessions, 8, weights), config);
    auto values = model.download();
    values.erase("repeat.floors");
    return std::pair(values, model.repeat_floors());
  };
  const auto usual = trained(std::vector<float>(kSessions, 1), 3);
  std::vector<float> without_held_out(kSessions, 1);
  int held_out = 0;
  for (int s = 0; s < kSessions; ++s) {
    std::vector<float> weights(kSessions, 1);
    weights[s] = 3;
    const auto other = trained(weights, 3);
    if (other.first != usual.first) continue;
    without_held_out[s] = 0;  // history only
    ++held_out;
  }
  CHECK(held_out >= 1);
  CHECK(held_out <= 10);
  CHECK(trained(without_held_out, 0).first == usual.first);
}
