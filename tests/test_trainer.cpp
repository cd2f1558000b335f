// Training on every device: the same bits each time, for any number of threads and after a kill; stopping, refit,
// divergence, bad input.
#include <sys/wait.h>

#include <csignal>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <thread>

#include "stamp/files.h"
#include "stamp/trainer.h"
#include "tests/training.h"

using namespace stamp;

namespace {

// Weights that a training has left, as a warm start has them: no seed gives them.
Values yesterday() {
  Model model(config_of(), kProducts, open_device("cpu"));
  TrainConfig config = train_config();
  config.epochs = 1;
  train(model, chain(40, 9), config);
  return model.download();
}

// Where options say that the start is warm, from the weights of yesterday().
Values trained(const check::DevicePtr& device, const TrainConfig& config, const TrainOptions& options,
               TrainReport* report = nullptr) {
  Model model(config_of(), kProducts, device);
  if (options.warm_start) model.upload(yesterday());
  TrainReport result = train(model, training(*device), config, options);
  if (report) *report = result;
  return model.download();
}

// A training with refit that is killed, as kill -9 would, at its call of progress of this number. It runs in a process
// of its own that starts anew: CUDA does not survive fork.
struct Killed {
  std::string device;
  Precision precision;
  int threads;
  std::string checkpoint;
  int call;
  bool warm_start;

  static constexpr const char* kVariable = "STAMP_TEST_KILLED";
  static constexpr const char* kTestCase = "a training that is killed";

  // True when it came to its end so.
  bool run() const {
    const std::string value =
        concat(device, ' ', to_string(precision), ' ', threads, ' ', call, ' ', warm_start, ' ', checkpoint);
    const std::string filter = concat("--test-case=", kTestCase);
    const pid_t child = fork();
    if (child == 0) {
      setenv(kVariable, value.c_str(), 1);
      execl("/proc/self/exe", "test_trainer", filter.c_str(), "--no-skip", nullptr);
      _exit(1);
    }
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }

  static Killed asked_for() {
    const char* value = std::getenv(kVariable);
    REQUIRE_MESSAGE(value, "only another test runs this one");
    std::istringstream fields(value);
    Killed killed;
    std::string precision;
    fields >> killed.device >> precision >> killed.threads >> killed.call >> killed.warm_start >> std::ws;
    std::getline(fields, killed.checkpoint);
    killed.precision = precision_from_string(precision);
    return killed;
  }
};

TrainOptions refit_options(const Sessions& validation, ProgressCallback progress) {
  return {.validation = &validation, .refit = true, .progress = std::move(progress), .progress_seconds = 0};
}

// For tests that write many checkpoints: without the CPU of one thread, whose results are those of two.
std::vector<check::DevicePtr> parallel_devices() {
  auto devices = check::devices();
  devices.erase(devices.begin());
  devices.push_back(check::cpu_in_bf16().back());
  return devices;
}

}  // namespace

TEST_CASE("training learns, to the same bits each time, on a CPU for any number of threads") {
  std::map<Precision, Values> of_cpu;
  auto devices = check::devices();
  for (const auto& device : check::cpu_in_bf16()) devices.push_back(device);
  for (const auto& device : devices) {
    CAPTURE(device->name());
    CAPTURE(to_string(device->precision()));
    const Sessions validation = validation_of(*device);
    const TrainOptions options{.validation = &validation, .refit = false};
    TrainConfig config = train_config();
    config.optimizer.learning_rate = 0.03f;
    TrainReport report;
    const Values values = trained(device, config, options, &report);
    CHECK(trained(device, config, options) == values);
    CHECK(report.stopped == "finished");
    CHECK(report.epochs.size() == 3);
    CHECK(report.calibration_examples > 0);
    CHECK(*std::max_element(values.at("repeat.floors").begin(), values.at("repeat.floors").end()) > Model::kNoFloor);
    CHECK(report.epochs.back().loss < report.epochs.front().loss);
    if (!check::slow(*device)) CHECK(report.epochs.back().validation->at.back().hr > 0.6);
    if (device->name() != "cpu") continue;
    CHECK(report.precision == device->precision());
    Values& expected = of_cpu[device->precision()];
    if (expected.empty()) expected = values;
    CHECK(values == expected);
  }
}

TEST_CASE("models train side by side, each on a handle of its own, as they do alone") {
  for (const std::string name : {"cpu", "cuda-sim", "cuda"}) {
    const auto devices = check::devices();
    const auto found = std::find_if(devices.begin(), devices.end(), [&](const auto& d) { return d->name() == name; });
    if (found == devices.end()) continue;
    CAPTURE(name);
    TrainConfig config = train_config();
    config.epochs = 1;
    const Values alone = trained(*found, config, {});
    const DeviceOptions one_thread{.threads = 1, .precision = (*found)->precision()};
    std::vector<Values> together(3);
    std::vector<std::thread> threads;
    for (Values& values : together)
      threads.emplace_back([&] { values = trained(open_device(name, one_thread), config, {}); });
    for (auto& thread : threads) thread.join();
    for (const Values& values : together) CHECK(values == alone);
  }
}

TEST_CASE("fifty steps lose the same on every device") {
  // Devices add up in different orders, so gradients differ by some 1e-6 of their largest. Adam divides by what it
  // finds, so a weight whose gradient is no larger than that may move by the learning rate either way; but the loss
  // hardly depends on such weights. Two instruction sets of the CPU, which differ in this way, come to losses that are
  // 5e-8 of themselves apart; a mistake in any gradient or moment shows from 1e-3 on.
  constexpr double kRelative = 1e-5;
  const Sessions sessions = chain(60, 1);
  const auto targets = example_targets(sessions);
  REQUIRE(targets.size() > 128);
  std::vector<double> expected;
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    Model model(config_of(), kProducts, device);
    Optimizer optimizer({}, model);
    BatchBuilder builder(sessions);
    Batch batch;
    std::vector<double> losses;
    for (std::size_t step = 0; step < 50; ++step) {
      builder.build(std::span(targets).subspan(step * 16 % 96, 32), batch);
      losses.push_back(optimizer.step(batch, 0.01f));
    }
    if (expected.empty()) expected = losses;
    CHECK(losses.back() < 0.8 * losses.front());
    for (std::size_t step = 0; step < 50; ++step) {
      CAPTURE(step);
      CHECK(losses[step] == doctest::Approx(expected[step]).epsilon(kRelative));
    }
  }
}

TEST_CASE("clipping, weight decay and schedules train too, and the clipped gradient is whole") {
  for (const auto& device : check::devices())
    for (float clip : {0.05f, 1e9f}) {
      CAPTURE(device->name());
      TrainConfig config = train_config();
      config.optimizer.clip_norm = clip;
      config.optimizer.weight_decay = 0.01f;
      config.optimizer.decay = 0.9f;
      config.optimizer.schedule = Schedule::linear;
      TrainReport report;
      const Values values = trained(device, config, {}, &report);
      CHECK(report.epochs.back().loss < report.epochs.front().loss);
      if (clip > 1) {  // a bound that never binds changes nothing
        config.optimizer.clip_norm = 0;
        CHECK(trained(device, config, {}) == values);
      }
    }
}

TEST_CASE(Killed::kTestCase* doctest::skip()) {
  const Killed killed = Killed::asked_for();
  const auto device = open_device(killed.device, {.threads = killed.threads, .precision = killed.precision});
  const Sessions validation = validation_of(*device);
  int left = killed.call;
  TrainOptions options = refit_options(validation, [&](const Progress&) {
    if (--left == 0) raise(SIGKILL);
    return true;
  });
  options.checkpoint = killed.checkpoint;
  options.warm_start = killed.warm_start;
  trained(device, train_config(), options);
}

TEST_CASE("a run that is killed anywhere resumes to the same bits") {
  for (const auto& device : parallel_devices())
    for (const bool warm_start : {false, true}) {
      CAPTURE(device->name());
      CAPTURE(warm_start);
      const bool slow = check::slow(*device);
      const Sessions validation = validation_of(*device);
      int calls = 0;
      TrainOptions options = refit_options(validation, [&](const Progress&) { return ++calls > 0; });
      options.warm_start = warm_start;
      const Values whole = trained(device, train_config(), options);
      REQUIRE(calls > (slow ? 12 : 60));  // of which the last ones belong to the refit
      for (int last :
           slow ? std::vector{1, calls / 4, calls - 1} : std::vector{1, 2, calls / 4, calls / 2, calls - 1}) {
        CAPTURE(last);
        const check::Folder folder;
        options.checkpoint = folder / "checkpoint";
        REQUIRE(Killed{device->name(), device->precision(), 1, options.checkpoint, last, warm_start}.run());
        REQUIRE(std::filesystem::exists(options.checkpoint) == (last > 1));
        TrainReport report;
        CHECK(trained(device, train_config(), options, &report) == whole);
        CHECK(report.resumed == (last > 1));
        CHECK(trained(device, train_config(), options, &report) == whole);  // what stands there now is the end
        CHECK(report.stopped == "finished");
      }
    }
}

TEST_CASE("a run that is interrupted keeps the best weights, and its checkpoint continues to the same bits") {
  for (const auto& device : parallel_devices()) {
    CAPTURE(device->name());
    const Sessions validation = validation_of(*device);
    const Values whole = trained(device, train_config(), {.validation = &validation, .refit = false});
    for (std::int64_t epoch : {1, 3})
      for (const std::string phase : {"train", "validate"}) {
        CAPTURE(epoch);
        CAPTURE(phase);
        const check::Folder folder;
        TrainOptions options{
            .validation = &validation, .refit = false, .checkpoint = folder / "checkpoint", .progress = {}};
        options.progress = [&](const Progress& p) { return !(p.epoch == epoch && p.phase == phase); };
        TrainReport report;
        trained(device, train_config(), options, &report);
        CHECK(report.stopped == "interrupted");
        CHECK((report.best_epoch > 0) == (epoch > 1));
        CHECK(std::filesystem::exists(options.checkpoint));

        TrainConfig other = train_config();
        other.batch_size = 32;
        options.progress = {};
        const auto* foreign = "belongs to other data, options or device";
        CHECK_THROWS_WITH_AS(trained(device, other, options), doctest::Contains(foreign), std::invalid_argument);
        if (device->name() == "cpu") {
          const bool single = device->precision() == Precision::fp32;
          const auto rounded = open_device("cpu", {.precision = single ? Precision::bf16 : Precision::fp32});
          CHECK_THROWS_WITH_AS(trained(rounded, train_config(), options), doctest::Contains(foreign),
                               std::invalid_argument);
        }
        CHECK(trained(device, train_config(), options, &report) == whole);
        CHECK(report.resumed);
        CHECK(report.epochs.size() == 3);
      }
  }
}

TEST_CASE("each validated epoch is told, may end the run there, and a checkpoint continues behind it") {
  const auto device = open_device("cpu");  // nothing here is a device's doing
  const Sessions validation = validation_of(*device);
  const check::Folder folder;
  std::vector<std::string> told;
  TrainOptions options{.validation = &validation, .refit = true, .checkpoint = folder / "checkpoint"};
  options.on_epoch = [&](const Epoch& epoch) {
    told.push_back(to_json(epoch));
    return epoch.epoch != 2;
  };
  TrainReport report;
  trained(device, train_config(), options, &report);
  CHECK(report.stopped == "interrupted");
  REQUIRE(report.epochs.size() == 2);
  CHECK(report.epochs[1].validation.has_value());
  CHECK(told == std::vector{to_json(report.epochs[0]), to_json(report.epochs[1])});

  const Values whole = trained(device, train_config(), {.validation = &validation, .refit = true});
  CHECK(trained(device, train_config(), options, &report) == whole);  // the refit tells nothing
  REQUIRE(report.epochs.size() == 3);
  REQUIRE(told.size() == 3);
  CHECK(told[2] == to_json(report.epochs[2]));

  options = {.on_epoch = options.on_epoch};  // without validation there is nothing to tell
  trained(device, train_config(), options);
  CHECK(told.size() == 3);
}

TEST_CASE("patience stops, and the best epoch's weights stay") {
  const auto device = open_device("cpu");  // nothing here is a device's doing
  const Sessions validation = chain(100, 3);
  TrainConfig config = train_config();
  config.epochs = 40;
  config.patience = 2;
  config.optimizer.learning_rate = 0.05f;
  config.optimizer.schedule = Schedule::constant;
  config.optimizer.warmup = 0;  // so that no step depends on how many are planned
  TrainReport report;
  const Values best = trained(device, config, {.validation = &validation, .refit = false}, &report);
  CHECK(report.stopped == "patience");
  CHECK(static_cast<std::int64_t>(report.epochs.size()) == report.best_epoch + 2);

  // Told to stop in the epoch in which patience ends, it stops, before the refit; resumed, it ends as it would have.
  const std::int64_t last = report.best_epoch + 2;
  const Values whole = trained(device, config, {.validation = &validation, .refit = true});
  const check::Folder folder;
  std::vector<std::string> phases;
  TrainOptions options{.validation = &validation, .refit = true, .checkpoint = folder / "checkpoint"};
  options.progress = [&](const Progress& progress) {
    phases.push_back(progress.phase);
    return true;
  };
  options.on_epoch = [&](const Epoch& epoch) { return epoch.epoch < last; };
  CHECK(trained(device, config, options, &report) == best);
  CHECK(report.stopped == "interrupted");
  CHECK(static_cast<std::int64_t>(report.epochs.size()) == last);
  CHECK(std::count(phases.begin(), phases.end(), "refit") == 0);
  phases.clear();
  CHECK(trained(device, config, options, &report) == whole);
  CHECK(static_cast<std::int64_t>(report.epochs.size()) == last);  // none is trained beyond
  CHECK(std::count(phases.begin(), phases.end(), "train") == 0);
  CHECK(std::count(phases.begin(), phases.end(), "refit") > 0);

  config.patience = 0;
  config.epochs = last - 2;
  CHECK(trained(device, config, {}) == best);
}

TEST_CASE("a learning rate that diverges stops with step and cause, and leaves good weights") {
  const Values initial = Model(config_of(), kProducts, open_device("cpu")).download();
  for (const auto& device : check::devices())
    for (const float rate : {1e18f, 3e38f})
      for (const std::int64_t batch_size : {64, 1000000}) {
        CAPTURE(device->name());
        CAPTURE(rate);
        CAPTURE(batch_size);
        TrainConfig config = train_config();
        config.optimizer = {.learning_rate = rate};
        config.batch_size = batch_size;
        TrainReport report;
        CHECK(trained(device, config, {}, &report) == initial);
        CHECK(report.stopped == "diverged");
        CHECK(report.reason.find("at step") != std::string::npos);
        CHECK(report.reason.find("learning rate") != std::string::npos);
      }
}

TEST_CASE("a refit that is interrupted or diverges leaves the best weights of the selection") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Sessions validation = validation_of(*device);
    TrainReport report;
    const Values best = trained(device, train_config(), {.validation = &validation}, &report);
    const std::int64_t epoch = report.best_epoch;
    TrainOptions options{.validation = &validation, .refit = true};
    options.progress = [](const Progress& p) { return p.phase != "refit"; };
    CHECK(trained(device, train_config(), options, &report) == best);
    CHECK(report.stopped == "interrupted");
    CHECK(report.best_epoch == epoch);
  }
}

TEST_CASE("so it does with the successors of the selection, when resumed, too") {
  const auto device = open_device("cpu");
  const check::Folder folder;
  const Sessions validation = validation_of(*device);
  const auto successors = [&](const TrainOptions& options) {
    Config config = config_of();
    config.successor_floors = 2;
    config.second_floors = 1;
    TrainConfig fading = train_config();
    fading.oldest_weight = 0.5f;
    Model model(config, kProducts, device);
    train(model, training(*device), fading, options);
    std::vector<float> shares;
    for (int step : {1, 2})
      for (std::int32_t x = 0; x < kProducts; ++x) {
        const auto of = model.successors()->log_shares(x, step);
        shares.insert(shares.end(), of.begin(), of.end());
      }
    return std::pair(model.successor_floors(), shares);
  };
  const auto selected = successors({.validation = &validation});
  CHECK(!selected.second.empty());
  const auto refitted = successors({.validation = &validation, .refit = true});
  CHECK(refitted.second != selected.second);
  TrainOptions options{.validation = &validation, .refit = true, .checkpoint = folder / "checkpoint"};
  options.progress_seconds = 0;  // told after every batch: a refit of one epoch would end before it is asked again
  options.progress = [](const Progress& p) { return p.phase != "refit"; };
  CHECK(successors(options) == selected);
  CHECK(successors(options) == selected);  // begins in the refit, and is interrupted there again
  options.progress = {};
  CHECK(successors(options) == refitted);
  CHECK(successors(options) == refitted);  // a checkpoint of the end
}

TEST_CASE("a warm start begins with the weights that the model came with, and so does its refit") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Sessions validation = validation_of(*device);
    TrainConfig config = train_config();
    config.optimizer.schedule = Schedule::constant;
    config.optimizer.warmup = 0;  // so that no step depends on how many are planned
    const TrainOptions refit{.validation = &validation, .refit = true};
    TrainOptions warm = refit;
    warm.warm_start = true;

    Model drawn(config_of(), kProducts, device);  // from its seed, as a start that is not warm
    train(drawn, training(*device), config, warm);
    CHECK(drawn.download() == trained(device, config, refit));

    TrainReport report;
    const Values values = trained(device, config, warm, &report);
    Model by_hand(config_of(), kProducts, device);
    by_hand.upload(yesterday());
    config.epochs = report.best_epoch;
    train(by_hand, Sessions::concatenate(training(*device), validation), config);
    CHECK(values == by_hand.download());
    CHECK(values != drawn.download());
  }
}

TEST_CASE("a checkpoint belongs to the weights that a warm start began with") {
  const auto device = open_device("cpu");  // nothing here is a device's doing
  const Sessions validation = validation_of(*device);
  const check::Folder folder;
  TrainOptions options{.validation = &validation, .warm_start = true, .checkpoint = folder / "checkpoint"};
  const Values whole = trained(device, train_config(), options);
  CHECK(trained(device, train_config(), options) == whole);
  Model drawn(config_of(), kProducts, device);
  CHECK_THROWS_AS(train(drawn, training(*device), train_config(), options), CheckpointMismatch);
  options.warm_start = false;
  CHECK_THROWS_AS(trained(device, train_config(), options), CheckpointMismatch);
}

TEST_CASE("a checkpoint continues in whatever order its run lists its options") {
  const auto device = open_device("cpu");
  const Sessions validation = validation_of(*device);
  const check::Folder folder;
  const TrainOptions options{.validation = &validation, .checkpoint = folder / "checkpoint"};
  const Values whole = trained(device, train_config(), options);
  // The text of the file's header, whose lengths stay: the library lists model before train, this sorts the keys.
  std::string bytes = read_file(options.checkpoint);
  std::uint64_t size;
  std::memcpy(&size, bytes.data(), sizeof size);
  auto header = nlohmann::ordered_json::parse(bytes.substr(8, size));
  std::string& run = header["__metadata__"]["run"].get_ref<std::string&>();
  const std::string sorted = nlohmann::json::parse(run).dump();
  REQUIRE(sorted != run);
  REQUIRE(sorted.size() == run.size());
  run = sorted;
  std::string text = header.dump();
  REQUIRE(text.size() <= size);
  text.resize(size, ' ');
  write_file(options.checkpoint, [&](std::ostream& out) { out << bytes.replace(8, size, text); });
  CHECK(trained(device, train_config(), options) == whole);
}

TEST_CASE("unknown events of the validation are misses there, and absent from the refit") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Sessions known = validation_of(*device);
    std::vector<std::int32_t> items;  // each session begins and ends with an unknown event
    std::vector<std::int64_t> offsets{0};
    for (std::int64_t s = 0; s < known.size(); ++s) {
      items.push_back(Catalog::kUnknown);
      items.insert(items.end(), known.items(s).begin(), known.items(s).end());
      items.push_back(Catalog::kUnknown);
      offsets.push_back(static_cast<std::int64_t>(items.size()));
    }
    const Sessions validation(items, offsets);
    TrainConfig config = train_config();
    config.epochs = 1;  // so that both choose the same
    TrainReport report, expected;
    const Values values = trained(device, config, {.validation = &validation, .refit = true}, &report);
    CHECK(values == trained(device, config, {.validation = &known, .refit = true}, &expected));
    const Metrics &m = *report.epochs[0].validation, &without = *expected.epochs[0].validation;
    CHECK(m.cold_targets == known.size() + without.cold_targets);
    CHECK(m.unanswered == known.size());  // the first known event, which has nothing known before it
    CHECK(m.at[0].hr * static_cast<double>(m.examples) ==
          doctest::Approx(without.at[0].hr * static_cast<double>(without.examples)));
  }
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
  CHECK_THROWS_WITH_AS(train(model, Sessions({1, 2}, {0, 2}, {}, {1, 0}), good),
                       doctest::Contains("an example is an event of a weight above 0 with 1 or more before it"),
                       std::invalid_argument);
  CHECK_THROWS_AS(train(model, chain(9, 1), good, {.validation = nullptr, .refit = true}), std::invalid_argument);
  const Sessions beyond({1, kProducts}, {0, 2});
  CHECK_THROWS_AS(train(model, chain(9, 1), good, {.validation = &beyond, .refit = true}), std::invalid_argument);
  const check::Folder folder;
  CHECK_THROWS_WITH_AS(train(model, chain(9, 1), good, {.checkpoint = folder.path()}),
                       doctest::Contains("it is a directory"), std::runtime_error);
  TrainConfig wrong = good;
  wrong.monitor = "recall@20";
  CHECK_THROWS_AS(train(model, chain(9, 1), wrong), std::invalid_argument);
  wrong = good;
  wrong.calibration = -1;
  CHECK_THROWS_AS(train(model, chain(9, 1), wrong), std::invalid_argument);
  wrong = good;
  wrong.epochs = 0;
  CHECK_THROWS_AS(train(model, chain(9, 1), wrong), std::invalid_argument);
  CHECK_THROWS_WITH_AS(config_from_json(R"({"dims":3})"), doctest::Contains("unknown option 'dims'"),
                       std::invalid_argument);
  CHECK_THROWS_AS(config_from_json(R"({"dim":"3"})"), std::invalid_argument);
  CHECK_THROWS_AS(config_from_json(R"({"residual":"mena"})"), std::invalid_argument);
  CHECK(config_from_json(R"({"seed":-0})").seed == 0);
  CHECK(config_from_json(R"({"seed":18446744073709551615})").seed == ~std::uint64_t{0});
  for (const char* wrong : {R"({"seed":-1})", R"({"seed":1.5})", R"({"dim":1e300})",
                            R"({"dim":4294967297000000000000})", R"({"dim":18446744073709551615})"})
    CHECK_THROWS_WITH_AS(config_from_json(wrong), doctest::Contains("which is not one of its values"),
                         std::invalid_argument);
  CHECK(to_json(config_from_json(to_json(config_of()))) == to_json(config_of()));
  CHECK(to_json(train_config_from_json(to_json(good))) == to_json(good));
}

TEST_CASE("one session of two events is enough") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    Model model(config_of(), kProducts, device);
    CHECK(train(model, Sessions({1, 2}, {0, 2}), train_config()).stopped == "finished");
  }
}
