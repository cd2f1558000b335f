// Training: the same bits for any number of threads and after a kill; stopping, refit, divergence, bad input.
#include <sys/wait.h>

#include <csignal>

#include "stamp/trainer.h"
#include "tests/check.h"

using namespace stamp;

namespace {

constexpr std::int64_t kProducts = 60;

// Visitors go from each product to one of two successors.
Sessions chain(int count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (int s = 0; s < count; ++s) {
    std::int64_t item = random() % kProducts;
    for (unsigned i = 2 + random() % 4; i > 0; --i) {
      items.push_back(static_cast<std::int32_t>(item));
      item = (item + (random() % 4 == 0 ? 7 : 1)) % kProducts;
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return Sessions(items, offsets);
}

Config config_of() {
  Config config = Config::preset("official");
  config.dim = 12;
  config.dropout = 0.1f;
  return config;
}

TrainConfig train_config() {
  TrainConfig config;
  config.epochs = 3;
  config.batch_size = 64;
  config.optimizer.learning_rate = 0.01f;
  config.optimizer.schedule = Schedule::cosine;
  config.optimizer.warmup = 0.1f;
  config.checkpoint_seconds = 0;
  return config;
}

using Values = std::map<std::string, std::vector<float>>;

Values trained(const TrainConfig& config, const TrainOptions& options, int threads = 2, TrainReport* report = nullptr) {
  Model model(config_of(), kProducts, open_device("cpu", threads));
  TrainReport result = train(model, chain(400, 1), config, options);
  if (report) *report = result;
  return model.download();
}

}  // namespace

TEST_CASE("training learns, to the same bits for any number of threads") {
  set_num_threads(2);
  const Sessions validation = chain(100, 2);
  TrainReport report;
  const Values two = trained(train_config(), {.validation = &validation, .refit = false}, 2, &report);
  CHECK(two == trained(train_config(), {.validation = &validation, .refit = false}, 1));
  CHECK(report.stopped == "finished");
  CHECK(report.epochs.size() == 3);
  CHECK(report.epochs.back().loss < report.epochs.front().loss);
  CHECK(report.epochs.back().validation->at.back().hr > 0.6);
}

TEST_CASE("clipping, weight decay and schedules train too, and the clipped gradient is whole") {
  for (float clip : {0.05f, 1e9f}) {
    TrainConfig config = train_config();
    config.optimizer.clip_norm = clip;
    config.optimizer.weight_decay = 0.01f;
    config.optimizer.decay = 0.9f;
    config.optimizer.schedule = Schedule::linear;
    TrainReport report;
    const Values values = trained(config, {}, 2, &report);
    CHECK(report.epochs.back().loss < report.epochs.front().loss);
    if (clip > 1) {  // a bound that never binds changes nothing
      config.optimizer.clip_norm = 0;
      CHECK(trained(config, {}) == values);
    }
  }
}

TEST_CASE("a run that is killed anywhere resumes to the same bits") {
  const Sessions validation = chain(100, 2);
  int calls = 0;
  TrainOptions options{.validation = &validation, .refit = true};
  options.progress_seconds = 0;
  options.progress = [&](const Progress&) { return ++calls > 0; };
  const Values whole = trained(train_config(), options);
  REQUIRE(calls > 60);  // of which the last ones belong to the refit
  for (int last : {1, 2, calls / 4, calls / 2, calls - 1}) {
    CAPTURE(last);
    const check::Folder folder;
    options.checkpoint = folder / "checkpoint";
    const pid_t child = fork();
    if (child == 0) {  // kill -9 in the middle of training
      int left = last;
      options.progress = [&](const Progress&) {
        if (--left == 0) raise(SIGKILL);
        return true;
      };
      trained(train_config(), options, 1);
      _exit(0);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
    REQUIRE(std::filesystem::exists(options.checkpoint) == (last > 1));
    TrainReport report;
    CHECK(trained(train_config(), options, 2, &report) == whole);
    CHECK(report.resumed == (last > 1));
    CHECK(trained(train_config(), options, 2, &report) == whole);  // what stands there now is the end
    CHECK(report.stopped == "finished");
  }
}

TEST_CASE("a run that is interrupted keeps the best weights, and its checkpoint continues to the same bits") {
  const Sessions validation = chain(100, 2);
  const Values whole = trained(train_config(), {.validation = &validation, .refit = false});
  for (std::int64_t epoch : {1, 3})
    for (const char* phase : {"train", "validate"}) {
      CAPTURE(epoch);
      CAPTURE(phase);
      const check::Folder folder;
      TrainOptions options{
          .validation = &validation, .refit = false, .checkpoint = folder / "checkpoint", .progress = {}};
      options.progress = [&](const Progress& p) { return !(p.epoch == epoch && p.phase == phase); };
      TrainReport report;
      trained(train_config(), options, 2, &report);
      CHECK(report.stopped == "interrupted");
      CHECK((report.best_epoch > 0) == (epoch > 1));
      CHECK(std::filesystem::exists(options.checkpoint));

      TrainConfig other = train_config();
      other.batch_size = 32;
      options.progress = {};
      CHECK_THROWS_WITH_AS(trained(other, options), doctest::Contains("belongs to other data or options"),
                           std::invalid_argument);
      CHECK(trained(train_config(), options, 2, &report) == whole);
      CHECK(report.resumed);
      CHECK(report.epochs.size() == 3);
    }
}

TEST_CASE("patience stops, and the best epoch's weights stay") {
  const Sessions validation = chain(100, 3);
  TrainConfig config = train_config();
  config.epochs = 40;
  config.patience = 2;
  config.optimizer.learning_rate = 0.05f;
  config.optimizer.schedule = Schedule::constant;
  config.optimizer.warmup = 0;  // so that no step depends on how many are planned
  TrainReport report;
  const Values best = trained(config, {.validation = &validation, .refit = false}, 2, &report);
  CHECK(report.stopped == "patience");
  CHECK(static_cast<std::int64_t>(report.epochs.size()) == report.best_epoch + 2);
  config.patience = 0;
  config.epochs = report.best_epoch;
  CHECK(trained(config, {}) == best);
}

TEST_CASE("a learning rate that diverges stops with step and cause, and leaves good weights") {
  const Values initial = Model(config_of(), kProducts, open_device("cpu")).download();
  for (const float rate : {1e18f, 3e38f})
    for (const std::int64_t batch_size : {64, 1000000}) {
      TrainConfig config = train_config();
      config.optimizer = {.learning_rate = rate};
      config.batch_size = batch_size;
      TrainReport report;
      CHECK(trained(config, {}, 2, &report) == initial);
      CHECK(report.stopped == "diverged");
      CHECK(report.reason.find("at step") != std::string::npos);
      CHECK(report.reason.find("learning rate") != std::string::npos);
    }
}

TEST_CASE("a refit that is interrupted or diverges leaves the best weights of the selection") {
  const Sessions validation = chain(100, 2);
  TrainReport report;
  const Values best = trained(train_config(), {.validation = &validation}, 2, &report);
  const std::int64_t epoch = report.best_epoch;
  TrainOptions options{.validation = &validation, .refit = true};
  options.progress = [](const Progress& p) { return p.phase != "refit"; };
  CHECK(trained(train_config(), options, 2, &report) == best);
  CHECK(report.stopped == "interrupted");
  CHECK(report.best_epoch == epoch);
}

TEST_CASE("large cosine scales are no divergence") {
  Config config = config_of();
  config.score = Score::cosine;
  config.scale = 300;
  Model model(config, kProducts, open_device("cpu"));
  CHECK(train(model, chain(400, 1), train_config()).stopped == "finished");
}

TEST_CASE("data and options that cannot be are refused before any work") {
  Model model(config_of(), kProducts, open_device("cpu"));
  const TrainConfig good = train_config();
  CHECK_THROWS_WITH_AS(train(model, Sessions(), good), doctest::Contains("no example in 0 sessions"),
                       std::invalid_argument);
  CHECK_THROWS_AS(train(model, Sessions({1, 2, 3}, {0, 1, 2, 3}), good), std::invalid_argument);
  CHECK_THROWS_AS(train(model, Sessions({1, kProducts}, {0, 2}), good), std::invalid_argument);
  CHECK_THROWS_AS(train(model, Sessions({-1, 1}, {0, 2}), good), std::invalid_argument);
  CHECK_THROWS_WITH_AS(train(model, Sessions({1, 2}, {0, 2}, {}, {1, 0}), good), "train: every example has weight 0",
                       std::invalid_argument);
  CHECK_THROWS_AS(train(model, chain(9, 1), good, {.validation = nullptr, .refit = true}), std::invalid_argument);
  const Sessions unknown({1, -1, 2}, {0, 3}), beyond({1, kProducts}, {0, 2});
  for (const Sessions* validation : {&unknown, &beyond})
    CHECK_THROWS_AS(train(model, chain(9, 1), good, {.validation = validation, .refit = true}), std::invalid_argument);
  const check::Folder folder;
  CHECK_THROWS_WITH_AS(train(model, chain(9, 1), good, {.checkpoint = folder.path()}),
                       doctest::Contains("it is a directory"), std::runtime_error);
  TrainConfig wrong = good;
  wrong.monitor = "recall@20";
  CHECK_THROWS_AS(train(model, chain(9, 1), wrong), std::invalid_argument);
  wrong = good;
  wrong.epochs = 0;
  CHECK_THROWS_AS(train(model, chain(9, 1), wrong), std::invalid_argument);
  CHECK_THROWS_WITH_AS(config_from_json(R"({"dims":3})"), doctest::Contains("unknown option 'dims'"),
                       std::invalid_argument);
  CHECK_THROWS_AS(config_from_json(R"({"dim":"3"})"), std::invalid_argument);
  CHECK_THROWS_AS(config_from_json(R"({"residual":"mena"})"), std::invalid_argument);
  CHECK(to_json(config_from_json(to_json(config_of()))) == to_json(config_of()));
  CHECK(to_json(train_config_from_json(to_json(good))) == to_json(good));
}

TEST_CASE("one session of two events is enough") {
  Model model(config_of(), kProducts, open_device("cpu"));
  CHECK(train(model, Sessions({1, 2}, {0, 2}), train_config()).stopped == "finished");
}
