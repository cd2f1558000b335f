// Config::history, the last events that are read: an example of a session of 100,000 events costs what one of a short
// session does, and is to the bit what its last events alone give.
#include <numeric>

#include "stamp/clusters.h"
#include "stamp/recommender.h"
#include "stamp/trainer.h"
#include "tests/check.h"

using namespace stamp;

namespace {

constexpr std::int64_t kHistory = 12, kProducts = 40;

// One session, which does not repeat itself.
Sessions robot(std::int64_t events) {
  std::mt19937 random(1);
  std::vector<std::int32_t> items;
  for (std::int64_t i = 0; i < events; ++i) items.push_back(static_cast<std::int32_t>(random() % kProducts));
  return Sessions(std::move(items), {0, events});
}

// Each example of `sessions` as a session of its own: the events that are read, of weight 0, and the target.
Sessions windows_of(const Sessions& sessions) {
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  std::vector<float> weights;
  for (const std::int64_t target : example_targets(sessions)) {
    const std::int64_t begin = std::max<std::int64_t>(0, target - kHistory);
    items.insert(items.end(), sessions.items().begin() + begin, sessions.items().begin() + target + 1);
    weights.insert(weights.end(), static_cast<std::size_t>(target - begin), 0.0f);
    weights.push_back(1);
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return Sessions(std::move(items), std::move(offsets), {}, std::move(weights));
}

Config config_of(std::int64_t history) {
  Config config = Config::preset("tuned");
  config.dim = 12;
  config.history = history;
  return config;
}

Model trained(const Sessions& sessions, std::int64_t history, const check::DevicePtr& device) {
  Model model(config_of(history), kProducts, device);
  TrainConfig config;
  config.epochs = 1;
  config.batch_size = 1;  // so that gradients of examples that share events are not added up in another order
  config.calibration = 0;
  train(model, sessions, config);
  return model;
}

using Example = std::pair<std::vector<std::int32_t>, std::int32_t>;

std::vector<Example> examples_of(const Batch& batch) {
  std::vector<Example> examples;
  for (std::int64_t b = 0; b < batch.B(); ++b) {
    const auto first = batch.items.begin() + batch.begin[b];
    examples.emplace_back(std::vector<std::int32_t>(first, first + batch.length[b]), batch.targets[b]);
  }
  return examples;
}

}  // namespace

TEST_CASE("batches of a long session hold what is read and nothing else") {
  const Sessions sessions = robot(100'000);
  std::vector<std::int64_t> targets = example_targets(sessions);
  std::mt19937 random(2);
  std::shuffle(targets.begin(), targets.end(), random);
  BatchBuilder builder(sessions, kHistory);
  Batch batch;
  std::int64_t loaded = 0;
  for (std::size_t first = 0; first < targets.size(); first += 500) {
    builder.build(std::span(targets).subspan(first, std::min<std::size_t>(500, targets.size() - first)), batch);
    CHECK(std::accumulate(batch.length.begin(), batch.length.end(), std::int64_t{0}) <= kHistory * batch.B());
    loaded += batch.L();
  }
  CHECK(loaded <= kHistory * static_cast<std::int64_t>(targets.size()));

  for (const bool last_only : {false, true}) {
    std::int64_t seen = 0;
    walk_examples(
        sessions, {.V = kProducts, .last_only = last_only, .history = kHistory, .batch = 500},
        [](std::int32_t, std::int64_t known) { return known > 0; },
        [&](const Batch& walked, std::int64_t) {
          CHECK(walked.B() <= 500);
          CHECK(walked.L() <= (walked.B() > 0 ? walked.B() + kHistory - 1 : 0));
          const auto found = examples_of(walked);
          for (std::size_t b = 0; b < found.size(); ++b) {
            const auto event = last_only ? sessions.events() - 1 : 1 + seen + static_cast<std::int64_t>(b);
            const auto from = sessions.items().begin() + std::max<std::int64_t>(0, event - kHistory);
            if (found[b] != Example{{from, sessions.items().begin() + event}, sessions.items()[event]})
              FAIL("target ", event);
          }
          seen += walked.B();
          return true;
        });
    CHECK(seen == (last_only ? 1 : sessions.events() - 1));
  }
}

TEST_CASE("examples of a long session teach and rank as their last events alone do") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Sessions sessions = robot(check::slow(*device) ? 40 : 600), windows = windows_of(sessions);
    const auto model = std::make_shared<Model>(trained(sessions, kHistory, device));
    CHECK(model->download() == trained(windows, 0, device).download());
    CHECK(model->download() != trained(sessions, 0, device).download());

    const auto counts = item_counts(sessions, kProducts);
    const auto ranker = model_ranker(*model, device);
    const std::string expected = to_json(evaluate(*ranker, windows, counts, {}));
    CHECK(to_json(evaluate(*ranker, sessions, counts, {.history = kHistory})) == expected);
    CHECK(to_json(evaluate(*ranker, sessions, counts, {})) != expected);
    std::vector<std::int32_t> rows(kProducts);
    std::iota(rows.begin(), rows.end(), 0);
    const auto clusters = cluster_ranker(kProducts, {{rows, model}}, device);
    CHECK(to_json(evaluate(*clusters, sessions, counts, {})) == expected);
  }
}

TEST_CASE("a report counts the sessions and examples that are cut, and says how long the longest is") {
  // Of 14 events, of 13, of 30, the last of which is history only.
  std::vector<std::int32_t> items(57);
  std::iota(items.begin(), items.end(), 0);
  for (std::int32_t& item : items) item %= kProducts;
  std::vector<float> weights(57, 1);
  weights.back() = 0;
  const Sessions sessions(items, {0, 14, 27, 57}, {}, weights);
  TrainConfig config;
  config.epochs = 1;
  for (const auto& [history, min_history, sessions_cut, examples_cut] :
       {std::tuple{12, 1, 2, 17}, {13, 1, 1, 15}, {12, 20, 1, 9}, {29, 1, 0, 0}, {0, 1, 0, 0}}) {
    Model model(config_of(history), kProducts, open_device("cpu"));
    config.min_history = min_history;
    const TrainReport report = train(model, sessions, config);
    CHECK(report.longest_session == 30);
    CHECK(report.long_sessions == sessions_cut);
    CHECK(report.cut_examples == examples_cut);
  }
}

TEST_CASE("a request of 100,000 events is answered by the last ones") {
  Catalog catalog;
  for (std::int64_t id = 0; id < kProducts; ++id) catalog.add(id);
  const auto model = std::make_shared<Model>(config_of(kHistory), kProducts, open_device("cpu"));
  model->set_floors(std::vector<float>(model->repeat_floors().size(), 1), model->successor_floors());
  const Release release(bundle_of(model, catalog, std::vector<std::int64_t>(kProducts, 1)));
  const Sessions sessions = robot(100'000);
  const Listing whole = release.list({.events = sessions.items(), .k = kProducts});
  const Listing last = release.list({.events = sessions.items().last(kHistory), .k = kProducts});
  const Listing fewer = release.list({.events = sessions.items().last(kHistory - 1), .k = kProducts});
  CHECK(whole.items == last.items);
  CHECK(whole.scores == last.scores);
  CHECK(whole.scores != fewer.scores);
}
