// Ten steps against an independent PyTorch model (golden/make_golden.py).
#include <fstream>
#include <nlohmann/json.hpp>

#include "stamp/trainer.h"
#include "tests/check.h"

using namespace stamp;

namespace {

nlohmann::json read_golden(const std::string& name) {
  std::ifstream file(std::string(STAMP_TEST_FILES) + "/golden/" + name + ".json");
  REQUIRE(file.good());
  return nlohmann::json::parse(file);
}

// Losses of ten steps on `device`.
std::vector<double> ten_steps(const nlohmann::json& golden, const check::DevicePtr& device) {
  Model model(config_from_json(golden["config"].dump()), golden["products"], device);
  model.upload(golden["weights"].get<std::map<std::string, std::vector<float>>>());
  const TrainConfig config = train_config_from_json(golden["train"].dump());
  Optimizer optimizer(config.optimizer, model);
  std::vector<double> losses;
  for (const auto& recorded : golden["batches"]) {
    Batch batch;
    for (const auto& history : recorded["histories"]) batch.add_history(history.get<std::vector<std::int32_t>>());
    batch.targets = recorded["targets"].get<std::vector<std::int32_t>>();
    batch.weights = recorded["weights"].get<std::vector<float>>();
    if (recorded.contains("preferences")) batch.preferences = recorded["preferences"].get<std::vector<float>>();
    float sum = 0;
    for (float weight : batch.weights) sum += weight;
    for (float& weight : batch.weights) weight /= sum;
    losses.push_back(optimizer.step(batch, config.optimizer.learning_rate));
  }
  return losses;
}

}  // namespace

TEST_CASE("ten steps lose what PyTorch loses") {
  auto devices = check::devices();
  for (const auto& device : check::fast_devices()) devices.push_back(device);
  for (const std::string name : {"paper", "official", "cosine", "objectives"}) {
    const auto golden = read_golden(name);
    const auto expected = golden["losses"].get<std::vector<double>>();
    REQUIRE(expected.size() == 10);
    for (const auto& device : devices) {
      CAPTURE(name);
      CAPTURE(device->name());
      CAPTURE(to_string(device->precision()));
      const auto losses = ten_steps(golden, device);
      REQUIRE(losses.size() == 10);
      for (std::size_t step = 0; step < 10; ++step) {
        CAPTURE(step);
        CHECK(std::abs(losses[step] - expected[step]) < check::tolerance(*device).steps);
      }
      CHECK(ten_steps(golden, device) == losses);
    }
  }
}

TEST_CASE("what is recorded computes what waits for every kernel") {
  const auto golden = read_golden("official");
  auto devices = check::devices();
  for (const auto& device : check::fast_devices()) devices.push_back(device);
  for (const auto& device : devices) {
    CAPTURE(device->name());
    const auto recorded = ten_steps(golden, device);
    setenv("STAMP_CUDA_BLOCKING", "1", 1);
    const auto waiting = open_device(device->name(), {.threads = 1, .precision = device->precision()});
    unsetenv("STAMP_CUDA_BLOCKING");
    CHECK(ten_steps(golden, waiting) == recorded);
  }
}

TEST_CASE("a step whose loss is not below the limit changes no weight and does not count") {
  const auto golden = read_golden("official");
  for (const auto& device : check::devices())
    for (float clip : {0.0f, 0.5f}) {  // Adam by tiles, and in one piece
      CAPTURE(device->name());
      CAPTURE(clip);
      Model model(config_from_json(golden["config"].dump()), golden["products"], device);
      Optimizer optimizer({.clip_norm = clip}, model);
      Batch batch;
      batch.add_history(std::vector<std::int32_t>{1, 2, 3});
      batch.targets[0] = 4;
      batch.weights[0] = 1;
      const double loss = optimizer.step(batch, 0.01f);
      const auto weights = model.download();
      const auto moments = [&] {
        return std::pair{optimizer.moment1().items.download(), optimizer.moment2().w1.download()};
      };
      const auto before = moments();
      for (int again = 0; again < 2; ++again) {
        CHECK(optimizer.step(batch, 0.01f, loss / 2) >= loss / 2);
        CHECK(optimizer.steps() == 1);
      }
      CHECK(model.download() == weights);
      CHECK(moments() == before);
      optimizer.step(batch, 0.01f);
      CHECK(optimizer.steps() == 2);
      CHECK(model.download() != weights);
    }
}

// The copy of the item table that steps keep: of several models on one device, of weights that somebody wrote since.
TEST_CASE("steps that nobody waits for, of two models by turns, are those of each alone") {
  const auto golden = read_golden("cosine");
  auto devices = check::devices();
  for (const auto& device : check::fast_devices()) devices.push_back(device);
  for (const auto& device : devices)
    for (float clip : {0.0f, 0.5f}) {
      CAPTURE(device->name());
      CAPTURE(to_string(device->precision()));
      CAPTURE(clip);
      struct Run {
        Run(const nlohmann::json& golden, const check::DevicePtr& device, float clip, std::uint64_t seed)
            : model(
                  [&] {
                    Config config = config_from_json(golden["config"].dump());
                    config.seed = seed;
                    return config;
                  }(),
                  golden["products"], device),
              optimizer({.clip_norm = clip}, model) {
          batch.add_history(std::vector<std::int32_t>{1, 2, static_cast<std::int32_t>(seed)});
          batch.targets[0] = 4;
          batch.weights[0] = 1;
        }
        void enqueue() { optimizer.enqueue(batch, 0.01f); }
        Model model;
        Optimizer optimizer;
        Batch batch;
      };
      Run one(golden, device, clip, 1), other(golden, device, clip, 2), alone(golden, device, clip, 1);
      const auto initial = one.model.download();
      for (int step = 0; step < 4; ++step) {
        one.enqueue();
        other.enqueue();
        alone.optimizer.step(alone.batch, 0.01f);
      }
      one.optimizer.wait();
      other.optimizer.wait();
      CHECK(one.model.download() == alone.model.download());
      CHECK(one.model.download() != other.model.download());

      one.model.upload(initial);
      Run fresh(golden, device, clip, 1);
      CHECK(one.optimizer.step(one.batch, 0.01f) == fresh.optimizer.step(fresh.batch, 0.01f));
    }
}

TEST_CASE("schedules: warm-up, decay by epoch, down to nothing at the end") {
  Model model(Config{}, 3, open_device("cpu"));
  OptimizerConfig config;
  config.learning_rate = 1;
  CHECK(Optimizer(config, model).learning_rate(77, 100, 3) == 1);
  config.decay = 0.5f;
  CHECK(Optimizer(config, model).learning_rate(77, 100, 3) == doctest::Approx(0.125));
  config.decay = 1;
  config.warmup = 0.1f;
  config.schedule = Schedule::linear;
  const Optimizer linear(config, model);
  CHECK(linear.learning_rate(0, 100, 0) == doctest::Approx(1.0 / 11));
  CHECK(linear.learning_rate(10, 100, 0) == doctest::Approx(1));
  CHECK(linear.learning_rate(55, 100, 0) == doctest::Approx(0.5));
  config.schedule = Schedule::cosine;
  CHECK(Optimizer(config, model).learning_rate(55, 100, 0) == doctest::Approx(0.5));
  CHECK(Optimizer(config, model).learning_rate(99, 100, 0) < 0.001);
  config.warmup = 1;
  CHECK_THROWS_AS(Optimizer(config, model), std::invalid_argument);
}
