// Floors of products that a history names: the likelihood that they are fitted to, and which sessions that takes.
#include "stamp/floors.h"

#include <algorithm>
#include <random>
#include <set>

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

Config config_of(Score score, std::int64_t floors = 3, std::int64_t successors = 0, std::int64_t second = 0) {
  Config config;
  config.dim = 9;
  config.score = score;
  config.scale = 5;
  config.item_std = 0.4f;
  config.weight_std = 0.5f;
  config.repeat_floors = floors;
  config.successor_floors = successors;
  config.second_floors = second;
  config.successors = kProducts;
  return config;
}

// What fit_floors says that it maximises, from the oracle's scores: Σ weight · log p of the targets, and further
// examples for each floor, of the mean log_sum: one in which it was not the reason, or ten in which floors of repeats
// were as often as those that all kinds share.
class Likelihood {
 public:
  // The model's successors are those of `counted`.
  Likelihood(const Model& model, const Sessions& sessions, const Sessions& counted = {})
      : distances_(static_cast<std::size_t>(model.config().repeat_floors)), repeats_(model.repeat_floors().size()) {
    reference::Case c{model.config(), model.V(), {}, {}, {}, {}, reference::successor_shares(counted, model.V())};
    for (auto& [name, values] : model.download()) c.weights[name].assign(values.begin(), values.end());
    const auto targets = example_targets(sessions);
    BatchBuilder(sessions, model.config().history).build(targets, c.batch);
    const auto found = reference::run(c);
    double weights = 0;
    for (std::int64_t b = 0; b < c.batch.B(); ++b) weights += c.batch.weights[b] / static_cast<double>(c.batch.B());
    for (std::int64_t b = 0; b < c.batch.B(); ++b) {
      Example example{.weight = c.batch.weights[b] / weights, .all = 0, .target = 0, .shares = {}, .of_target = {}};
      const std::int32_t target = c.batch.targets[b];
      for (double score : found.scores[b]) example.all += std::exp(score);
      example.target = std::exp(found.scores[b][target]);
      for (const auto& shares : reference::reasons(c, b)) {
        example.shares.push_back(0);
        for (const auto& [row, share] : shares) example.shares.back() += share;
        example.of_target.push_back(shares.contains(target) ? shares.at(target) : 0);
      }
      mean_ += std::log(example.all) / static_cast<double>(c.batch.B());
      examples_.push_back(std::move(example));
    }
    const std::size_t successors = model.successor_floors().size();
    if (repeats_ > 0) shared_ = largest(std::vector<double>(distances_ + successors, mean_ - 3));
  }

  double of(const std::vector<double>& floors) const {
    double sum = of_examples(floors, [](std::size_t reason) { return reason; });
    for (std::size_t reason = 0; reason < floors.size(); ++reason) {
      if (reason >= repeats_) {
        sum -= std::log1p(std::exp(floors[reason] - mean_));
        continue;
      }
      const double shared = std::exp(shared_[reason % distances_] - mean_);
      sum += 10 * (shared / (1 + shared) * (floors[reason] - mean_) - std::log1p(std::exp(floors[reason] - mean_)));
    }
    return sum;
  }

 private:
  struct Example {
    double weight, all, target;
    std::vector<double> shares, of_target;  // of each reason, before floors
  };

  template <class Place>
  double of_examples(const std::vector<double>& floors, const Place& place) const {
    double sum = 0;
    for (const Example& example : examples_) {
      double all = example.all, target = example.target;
      for (std::size_t reason = 0; reason < example.shares.size(); ++reason) {
        const double weight = std::exp(floors[place(reason)]);
        all += example.shares[reason] * weight;
        target += example.of_target[reason] * weight;
      }
      sum += example.weight * std::log(target / all);
    }
    return sum;
  }

  // The floors of distances that all kinds share, and of successors: one after the other to the best of three places,
  // ever closer together.
  std::vector<double> largest(std::vector<double> floors) const {
    const auto of = [&] {
      double sum = of_examples(floors, [this](std::size_t reason) {
        return reason < repeats_ ? reason % distances_ : reason - repeats_ + distances_;
      });
      for (double floor : floors) sum -= std::log1p(std::exp(floor - mean_));
      return sum;
    };
    for (double step = 4; step > 1e-6; step *= 0.7)
      for (int again = 0; again < 12; ++again)
        for (double& floor : floors)
          for (const double change : {-step, step}) {
            const double before = of();
            floor += change;
            if (!(of() > before)) floor -= change;
          }
    return floors;
  }

  std::size_t distances_, repeats_;
  std::vector<Example> examples_;
  double mean_ = 0;
  std::vector<double> shared_;
};

// All floors of a model, those of repeats first.
std::vector<double> floors_of(const Model& model) {
  std::vector<double> floors(model.repeat_floors().begin(), model.repeat_floors().end());
  floors.insert(floors.end(), model.successor_floors().begin(), model.successor_floors().end());
  return floors;
}

}  // namespace

TEST_CASE("floors are where the likelihood is largest, whatever the unit of the weights") {
  const auto weighted = [](float unit) {
    std::vector<float> weights(200);
    for (int s = 0; s < 200; ++s) weights[s] = unit * (0.25f + static_cast<float>(s % 3));
    return revisiting(200, 3, weights);
  };
  for (const auto& device : check::devices())
    for (Score score : {Score::dot, Score::cosine})
      for (const auto& [history, repeats, successors, second] :
           {std::array{0, 3, 0, 0}, {3, 3, 2, 1}, {0, 0, 3, 0}, {0, 0, 1, 2}}) {
        CAPTURE(device->name());
        CAPTURE(successors);
        CAPTURE(second);
        Config config = config_of(score, repeats, successors, second);
        config.history = history;
        Model model(config, kProducts, device);
        const Sessions counted = revisiting(200, 4);
        model.set_successors(std::make_shared<Successors>(counted, kProducts, kProducts, config.successor_steps()));
        const Sessions sessions = weighted(1);
        const auto targets = example_targets(sessions);
        const auto before = model.download().at("items");
        fit_floors(model, sessions, targets);
        CHECK(model.download().at("items") == before);
        const Likelihood likelihood(model, sessions, counted);
        const auto found = floors_of(model);
        if (repeats > 0) {
          CHECK(found[4] > found[3]);  // of longer histories in which nothing came twice
          CHECK(found[4] > found[5]);
        }
        const double most = likelihood.of(found);
        for (std::size_t place = 0; place < found.size(); ++place)
          for (double step : {-0.1, 0.1}) {
            CAPTURE(place);
            CAPTURE(found[place]);
            auto other = found;
            other[place] = found[place] == Model::kNoFloor ? 10 * step : found[place] + step;
            CHECK(likelihood.of(other) < most);
          }
        fit_floors(model, weighted(100), targets);
        for (std::size_t place = 0; place < found.size(); ++place)
          CHECK(floors_of(model)[place] == doctest::Approx(found[place]).epsilon(1e-4));
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
  fit_floors(model, sessions, example_targets(sessions));
  CHECK(model.repeat_floors()[0] == Model::kNoFloor);
  CHECK(model.repeat_floors()[1] > 0);
  CHECK(model.repeat_floors()[2] == Model::kNoFloor);  // no history is so long
  const float shared = model.repeat_floors()[3 + 1];   // of kinds that no example has: that of all kinds
  CHECK(shared > 0);
  CHECK(shared < model.repeat_floors()[1]);  // which counts an example in which it was not the reason
  for (std::int64_t kind = 2; kind < Repeat::kKinds; ++kind)
    CHECK(model.repeat_floors()[3 * kind + 1] == doctest::Approx(shared).epsilon(1e-3));
  const auto floors = model.repeat_floors();
  fit_floors(model, sessions, {});
  CHECK(model.repeat_floors() == floors);
}

TEST_CASE("one example is enough, and scores beyond all bounds leave the floors as they were") {
  Model model(config_of(Score::dot), kProducts, open_device("cpu"));
  const Sessions one({5, 6, 5}, {0, 3});
  fit_floors(model, one, std::vector<std::int64_t>{2});
  CHECK(std::isfinite(model.repeat_floors()[1]));
  CHECK(model.repeat_floors()[1] < 5);  // one of two: as likely as all else together, ln 40 or so
  auto values = model.download();
  for (float& value : values["items"]) value *= 1e4f;
  model.upload(values);
  fit_floors(model, revisiting(60, 3), example_targets(revisiting(60, 3)));
  for (float floor : model.repeat_floors()) CHECK(std::isfinite(floor));
  for (float& value : values["items"]) value = NAN;
  const auto floors = model.repeat_floors();
  model.upload(values);
  model.set_floors(floors, {});
  fit_floors(model, one, std::vector<std::int64_t>{2});
  CHECK(model.repeat_floors() == floors);
}

TEST_CASE("floors of another number, or NaN, are refused") {
  Model model(config_of(Score::dot), kProducts, open_device("cpu"));
  CHECK_THROWS_WITH_AS(model.set_floors({1, 2}, {}),
                       "Model::set_floors: 2 floors of repeats and 0 of successors, expected 30 and 0",
                       std::invalid_argument);
  CHECK_THROWS_AS(model.set_floors(for_every_kind(std::vector<float>{1, 2, NAN}), {}), std::invalid_argument);
  CHECK_THROWS_AS(model.set_floors(for_every_kind(std::vector<float>{1, 2, 3}), {1}), std::invalid_argument);
  CHECK_THROWS_WITH_AS(model.set_successors(std::make_shared<Successors>(kProducts + 1)),
                       "Model::set_successors: successors of 41 products, expected 40", std::invalid_argument);
  Model second(config_of(Score::dot, 3, 2, 1), kProducts, open_device("cpu"));
  CHECK_THROWS_WITH_AS(second.set_successors(std::make_shared<Successors>(kProducts)),
                       "Model::set_successors: successors of 1 steps, expected 2", std::invalid_argument);
  auto values = model.download();
  values["repeat.floors"][1] = NAN;
  CHECK_THROWS_AS(model.upload(values), std::invalid_argument);
}

TEST_CASE("the kinds of repeats are those of who comes back, and of what was come back to") {
  const auto kinds = [](std::vector<std::int32_t> history) {
    std::vector<Repeat> repeats;
    find_repeats(history, repeats);
    std::vector<std::array<std::int32_t, 3>> found;
    for (const Repeat& repeat : repeats) found.push_back({repeat.row, repeat.ago, repeat.kind});
    return found;
  };
  using Found = std::vector<std::array<std::int32_t, 3>>;
  CHECK(kinds({}) == Found{});
  CHECK(kinds({4}) == Found{{4, 0, 0}});
  CHECK(kinds({4, 2}) == Found{{2, 0, 0}, {4, 1, 0}});
  CHECK(kinds({4, 2, 3}) == Found{{2, 1, 1}, {3, 0, 1}, {4, 2, 1}});
  CHECK(kinds({4, 4}) == Found{{4, 0, 5}});
  CHECK(kinds({4, 2, 4}) == Found{{2, 1, 4}, {4, 0, 5}});                // back at the old one
  CHECK(kinds({4, 2, 4, 3}) == Found{{2, 2, 6}, {3, 0, 6}, {4, 1, 7}});  // and on to a new one
  CHECK(kinds({4, 2, 4, 2}) == Found{{2, 0, 9}, {4, 1, 9}});
  CHECK(kinds({4, 4, 2, 3}) == Found{{2, 1, 2}, {3, 0, 2}, {4, 2, 3}});
}

TEST_CASE("files of before kinds were told apart have one floor a distance for all") {
  const check::Folder folder;
  const auto path = folder / "old.safetensors";
  Model model(config_of(Score::dot), kProducts, open_device("cpu"));
  std::map<std::string, TensorSource> tensors;
  model.save(tensors, "");
  const std::vector<float> floors{1, 2, 3};
  tensors.insert_or_assign("repeat.floors", TensorSource({DType::f32, {3}}, floors.data()));
  write_safetensors(path, tensors);
  const Model old(model.config(), kProducts, open_device("cpu"), Safetensors(path));
  CHECK(old.repeat_floors() == for_every_kind(floors));
}

TEST_CASE("where the next product always comes near the last, its successors explain what the network does not") {
  // Each session walks round a ring of its own pace; the network has not been trained.
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (std::int32_t s = 0; s < 200; ++s) {
    for (std::int32_t i = 0; i < 3; ++i) items.push_back((7 * s + i) % static_cast<std::int32_t>(kProducts));
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  const Sessions sessions(items, offsets);
  Model model(config_of(Score::dot, 2, 2), kProducts, open_device("cpu"));
  model.set_successors(std::make_shared<Successors>(sessions, kProducts, 5));
  fit_floors(model, sessions, example_targets(sessions));
  CHECK(model.successor_floors()[0] > 2);
  CHECK(model.repeat_floors() == std::vector<float>(2 * Repeat::kKinds, Model::kNoFloor));
  const auto ranker = model_ranker(model, model.device());
  CHECK(evaluate(*ranker, sessions, item_counts(sessions, kProducts), {.k = {3}}).at[0].hr > 0.99);
}

TEST_CASE("each objective has floors of its own, fitted to the examples that it counts, and lists mix them") {
  // Products that come back lead to what the first objective wants, the others to the second; nothing to the third.
  const Sessions plain = revisiting(900, 41);
  std::vector<std::uint8_t> labels;
  for (std::int64_t s = 0; s < plain.size(); ++s) {
    const auto items = plain.items(s);
    for (std::size_t i = 0; i < items.size(); ++i)
      labels.push_back(std::find(items.begin(), items.begin() + i, items[i]) != items.begin() + i ? 1 : 2);
  }
  const Sessions sessions({plain.items().begin(), plain.items().end()},
                          {plain.offsets().begin(), plain.offsets().end()}, {}, {}, labels);
  Config config = config_of(Score::cosine, 3, 2, 1);
  config.objectives = {"back", "onward", "nothing"};
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    Model model(config, kProducts, device);
    auto values = model.download();
    for (const char* name : {"attention.objectives", "mlp_session.objectives", "mlp_anchor.objectives"})
      values.at(name) = check::random(values.at(name).size(), 0.3, 5);
    model.upload(values);
    model.set_successors(std::make_shared<Successors>(revisiting(300, 77), kProducts, kProducts, 2));
    fit_floors(model, sessions, example_targets(sessions));
    const std::size_t n = model.repeat_floors().size() / 4;
    REQUIRE(n == 3 * Repeat::kKinds);
    const auto of = [&](std::size_t k) {
      return std::vector(model.repeat_floors().begin() + k * n, model.repeat_floors().begin() + (k + 1) * n);
    };
    const std::size_t back = 1;  // of the first kind, two events ago
    CHECK(of(1)[back] > of(0)[back] + 1);
    CHECK(of(2)[back] < of(0)[back] - 0.5);  // two steps away lies what came back, too
    CHECK(of(3) == of(0));
    // What all preference for an objective lists is what the floors fitted to its examples alone would.
    reference::Case c{config, kProducts, {}, {}, {}, {}, reference::successor_shares(revisiting(300, 77), kProducts)};
    for (auto& [name, tensor] : model.download()) c.weights[name].assign(tensor.begin(), tensor.end());
    const auto targets = example_targets(sessions);
    BatchBuilder(sessions).build(std::span(targets).first(60), c.batch);
    std::mt19937 random(3);
    for (std::int64_t b = 0; b < c.batch.B(); ++b)
      for (const float share : {0.3f, 0.5f, 0.1f})
        c.batch.preferences.push_back(b % 4 == 0 ? 0 : b % 4 == 1 ? (share == 0.5f ? 1.0f : 0.0f) : share);
    const auto ranker = model_ranker(model, device);
    Ranking ranking;
    ranker->rank(c.batch, 5, ranking);
    for (std::int64_t b = 0; b < c.batch.B(); ++b) {
      const auto scores = reference::listed_scores(c, b);
      const double target = scores[c.batch.targets[b]];
      std::int64_t above = 0, close = 0;
      for (double score : scores) {
        above += score > target + 1e-4;
        close += std::abs(score - target) <= 1e-4;
      }
      CHECK(ranking.above[b] >= above);
      CHECK(ranking.above[b] < above + close);
    }
  }
}

TEST_CASE("floors of any height mix") {
  Config config = config_of(Score::cosine);
  config.objectives = {"order"};
  Model model(config, kProducts, open_device("cpu"));
  std::vector<float> floors(2 * 3 * Repeat::kKinds, Model::kNoFloor);
  const float high[] = {150, 149, 148};  // of the kind of three events in which nothing came back, for clicks
  std::copy_n(high, 3, floors.begin() + 3);
  std::reverse_copy(high, high + 3, floors.begin() + 3 * Repeat::kKinds + 3);  // for orders the other way round
  model.set_floors(floors, {});
  const auto ranker = model_ranker(model, model.device());
  for (const float share : {0.0f, 0.25f, 0.75f, 1.0f}) {
    CAPTURE(share);
    Batch batch;
    batch.add_history(std::vector<std::int32_t>{4, 5, 6}, std::span(&share, 1), 1);
    Ranking ranking;
    ranker->rank(batch, 3, ranking);
    CHECK(ranking.ids == (share < 0.5f ? std::vector<std::int32_t>{6, 5, 4} : std::vector<std::int32_t>{4, 5, 6}));
  }
}

TEST_CASE("a twentieth of the examples at most is held out, of whole sessions whose products are elsewhere too") {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    // One session of 600 events among 300 short ones; products from 40 on are in one session each.
    std::vector<std::int32_t> items;
    std::vector<std::int64_t> offsets{0};
    for (std::int32_t s = 0; s < 300; ++s) {
      for (std::int32_t i = 0; i < (s == 150 ? 600 : 3); ++i) items.push_back((s + i) % 40);
      if (s % 3 == 0) items.push_back(40 + s);
      offsets.push_back(static_cast<std::int64_t>(items.size()));
    }
    const Sessions sessions(items, offsets);
    const auto all = example_targets(sessions);
    auto left = all;
    const auto taken = hold_out(sessions, 1000, seed, left);
    CHECK(taken.size() * 20 <= all.size());
    CHECK(!taken.empty());
    std::vector<std::int64_t> both(all.size());
    std::merge(taken.begin(), taken.end(), left.begin(), left.end(), both.begin());
    CHECK(both == all);
    std::set<std::int64_t> sessions_taken, sessions_left;
    const auto session_of = [&](std::int64_t event) {
      return std::upper_bound(offsets.begin(), offsets.end(), event) - offsets.begin() - 1;
    };
    for (auto event : taken) sessions_taken.insert(session_of(event));
    for (auto event : left) sessions_left.insert(session_of(event));
    for (auto session : sessions_taken) {
      CHECK(!sessions_left.contains(session));
      CHECK(session % 3 != 0);
    }
  }
}

TEST_CASE("a log that has moved on by a day holds the same sessions out") {
  const Sessions plain = revisiting(2000, 5);
  std::vector<std::int64_t> times;
  for (std::int64_t event = 0; event < static_cast<std::int64_t>(plain.items().size()); ++event)
    times.push_back(1000 + 60 * event);
  const auto times_taken = [&](std::int64_t first, std::int64_t last) {
    const auto from = plain.offsets()[first], to = plain.offsets()[last];
    std::vector<std::int64_t> offsets;
    for (auto s = first; s <= last; ++s) offsets.push_back(plain.offsets()[s] - from);
    const Sessions window({plain.items().begin() + from, plain.items().begin() + to}, offsets,
                          {times.begin() + from, times.begin() + to});
    auto targets = example_targets(window);
    std::set<std::int64_t> taken;
    for (auto target : hold_out(window, 200, 7, targets)) taken.insert(window.timestamps()[target]);
    return taken;
  };
  const auto today = times_taken(0, 1800), tomorrow = times_taken(200, 2000);
  const auto first = times[plain.offsets()[200]], last = times[plain.offsets()[1800]];
  CHECK(today.size() > 100);
  for (auto time : today)
    if (time >= first) CHECK(tomorrow.contains(time));
  for (auto time : tomorrow)
    if (time < last) CHECK(today.contains(time));
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
    CHECK(static_cast<double>(report.examples + report.calibration_examples) == all);
    const auto examples = static_cast<double>(report.examples);
    if (fitted) *fitted = model.repeat_floors();
    return examples;
  };
  std::vector<float> floors;
  CHECK(trained_on(3, 100'000, &floors) == doctest::Approx(0.95 * all).epsilon(0.02));
  CHECK(floors[1] > floors[0]);
  CHECK(all - trained_on(3, 200) == doctest::Approx(200).epsilon(0.3));
  CHECK(trained_on(0, 100'000) == all);
  CHECK(trained_on(3, 0, &floors) == all);
  CHECK(floors == std::vector<float>(3 * Repeat::kKinds, Model::kNoFloor));
}

TEST_CASE("sessions that are held out teach the floors, what scores mean, and nothing else") {
  constexpr int kSessions = 60;
  const auto trained = [](const std::vector<float>& weights, std::int64_t floors) {
    const Config config = floors > 0 ? config_of(Score::dot, floors, 2, 1) : config_of(Score::dot, 0);
    Model model(config, kProducts, open_device("cpu"));
    TrainConfig training;
    training.epochs = 2;
    training.batch_size = 16;
    train(model, revisiting(kSessions, 8, weights), training);
    auto values = model.download();
    for (const char* name : {"repeat.floors", "successor.floors", "temperature", "tail.power"}) values.erase(name);
    for (int step = 1; step <= model.successors()->steps(); ++step)
      for (std::int32_t x = 0; x < kProducts; ++x) {
        const auto shares = model.successors()->log_shares(x, step);
        values["successors"].insert(values["successors"].end(), shares.begin(), shares.end());
      }
    return std::pair(values, floors_of(model));
  };
  const auto usual = trained(std::vector<float>(kSessions, 1), 3);
  std::vector<float> without_held_out(kSessions, 1);
  int held_out = 0;
  for (int s = 0; s < kSessions; ++s) {
    std::vector<float> weights(kSessions, 1);
    weights[s] = 3;
    const auto other = trained(weights, 3);
    if (other.first != usual.first) continue;
    CHECK(other.second != usual.second);
    without_held_out[s] = 0;  // history only
    ++held_out;
  }
  CHECK(held_out >= 1);
  CHECK(held_out <= 10);
  auto weights = usual.first;
  weights["successors"].clear();
  CHECK(trained(without_held_out, 0).first == weights);
}
