// What examples weigh while a model learns: by what they lead to, and by their age.
#include "tests/training.h"

using namespace stamp;

TEST_CASE("with objectives lists go from what is clicked to what it leads to, to the same bits after an interruption") {
  // From each product visitors go on to the next but for one in five, who go seven further: what is ordered is there,
  // and nobody orders anything else. Nobody puts anything into a basket.
  std::mt19937 random(17);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  std::vector<std::uint8_t> labels;
  for (int s = 0; s < 1500; ++s) {
    auto item = static_cast<std::int32_t>(random() % kProducts);
    for (int i = 0; i < 4; ++i) {
      items.push_back(item);
      const bool far = random() % 5 == 0;
      labels.push_back(i > 0 && (items[items.size() - 2] + 7) % kProducts == item ? 2 : 0);
      item = static_cast<std::int32_t>((item + (far ? 7 : 1)) % kProducts);
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  const Sessions sessions(items, offsets, {}, {}, labels);
  Config config = Config::preset("tuned");
  config.dim = 16;
  config.dropout = 0.1f;
  config.objectives = {"basket", "order"};
  TrainConfig options = train_config();
  options.epochs = 40;
  options.optimizer.learning_rate = 0.02f;
  for (const auto& device : check::devices()) {
    if (check::slow(*device)) continue;
    CAPTURE(device->name());
    Model model(config, kProducts, device);
    train(model, sessions, options);
    const auto ranker = model_ranker(model, device);
    const auto first_of = [&](std::vector<float> preference) {  // how often the first is the next, and seven further
      Batch batch;
      for (std::int32_t item = 0; item < kProducts; ++item) batch.add_history(std::span(&item, 1), preference, 2);
      Ranking ranking;
      ranker->rank(batch, 1, ranking);
      std::pair<int, int> counts;
      for (std::int32_t item = 0; item < kProducts; ++item) {
        counts.first += ranking.ids[item] == (item + 1) % kProducts;
        counts.second += ranking.ids[item] == (item + 7) % kProducts;
      }
      return counts;
    };
    CHECK(first_of({}).first > 0.9 * kProducts);
    CHECK(first_of({0, 1}).second > 2 * kProducts / 3);
    CHECK(first_of({1, 0}).first > 0.9 * kProducts);  // nobody has taught it otherwise
    // Of the five that lead to either, one order weighs as much as four clicks: half of each is the middle.
    CHECK(first_of({0, 0.1f}).first > first_of({0, 0.9f}).first);

    const check::Folder folder;
    Model again(config, kProducts, device);
    TrainOptions interrupted{.checkpoint = folder / "checkpoint"};
    interrupted.progress = [](const Progress& p) { return !(p.epoch == 2 && p.examples_done * 2 > p.examples); };
    CHECK(train(again, sessions, options, interrupted).stopped == "interrupted");
    interrupted.progress = {};
    Model resumed(config, kProducts, device);
    CHECK(train(resumed, sessions, options, interrupted).resumed);
    CHECK(resumed.download() == model.download());
  }
}

TEST_CASE("an objective that next to nothing leads to is no divergence") {
  const Sessions plain = chain(4000, 5);
  std::vector<std::uint8_t> labels(static_cast<std::size_t>(plain.events()));
  labels[1] = 1;
  const Sessions sessions({plain.items().begin(), plain.items().end()},
                          {plain.offsets().begin(), plain.offsets().end()}, {}, {}, labels);
  Config config = Config::preset("tuned");
  config.dim = 12;
  config.repeat_floors = config.successor_floors = config.second_floors = 0;
  config.objectives = {"order"};
  TrainConfig options = train_config();
  for (std::int64_t batch : {3, 64}) {
    config.seed = static_cast<std::uint64_t>(batch);
    options.batch_size = batch;
    Model model(config, kProducts, open_device("cpu"));
    CHECK(train(model, sessions, options).stopped == "finished");
  }
}

TEST_CASE("older sessions weigh less, as sessions with such weights do, and those without an example have no place") {
  const Sessions idle({3, 5, 7, 9}, {0, 1, 4}, {}, {1, 1, 0, 0});  // one event; history only
  const auto between = [&](const Sessions& sessions) {
    const std::int64_t half = sessions.size() / 2;
    const Sessions older = Sessions::concatenate(sessions.slice(0, half), idle);
    return Sessions::concatenate(older, Sessions::concatenate(sessions.slice(half, sessions.size()), idle));
  };
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const auto values_of = [&](const Sessions& sessions, float oldest, std::int64_t epochs,
                               const Sessions* validation = nullptr, TrainReport* report = nullptr) {
      TrainConfig config = train_config();
      config.calibration = 0;  // chosen by a session's number, where there are no times
      config.optimizer.schedule = Schedule::constant;
      config.optimizer.warmup = 0;
      config.oldest_weight = oldest;
      config.epochs = epochs;
      Model model(config_of(), kProducts, device);
      const TrainReport found =
          train(model, sessions, config, {.validation = validation, .refit = validation != nullptr});
      if (report) *report = found;
      return model.download();
    };
    const Sessions sessions = training(*device), validation = validation_of(*device);
    const auto faded = values_of(sessions, 0.3f, 2);
    CHECK(faded == values_of(sessions.faded(0.3f), 1, 2));
    CHECK(faded == values_of(between(sessions), 0.3f, 2));
    CHECK(faded != values_of(sessions, 1, 2));
    TrainReport report;
    const Sessions later = between(validation);
    const auto refitted = values_of(sessions, 0.3f, 3, &later, &report);
    const Sessions whole = Sessions::concatenate(sessions, validation);
    CHECK(refitted == values_of(whole.faded(0.3f), 1, report.best_epoch));
  }
}
