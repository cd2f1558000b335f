// Ten steps against an independent PyTorch model (golden/make_golden.py).
#include <fstream>
#include <nlohmann/json.hpp>

#include "stamp/trainer.h"
#include "tests/check.h"

using namespace stamp;

TEST_CASE("ten steps lose what PyTorch loses") {
  for (const char* name : {"paper", "official", "cosine"})
    for (const auto& device : check::devices()) {
      CAPTURE(name);
      std::ifstream file(std::string(STAMP_TEST_FILES) + "/golden/" + name + ".json");
      REQUIRE(file.good());
      const auto golden = nlohmann::json::parse(file);
      Model model(config_from_json(golden["config"].dump()), golden["products"], device);
      model.upload(golden["weights"].get<std::map<std::string, std::vector<float>>>());
      const TrainConfig config = train_config_from_json(golden["train"].dump());
      Optimizer optimizer(config.optimizer, model);
      for (std::size_t step = 0; step < 10; ++step) {
        CAPTURE(step);
        const auto& recorded = golden["batches"][step];
        Batch batch;
        for (const auto& history : recorded["histories"]) batch.add_history(history.get<std::vector<std::int32_t>>());
        batch.targets = recorded["targets"].get<std::vector<std::int32_t>>();
        batch.weights = recorded["weights"].get<std::vector<float>>();
        float sum = 0;
        for (float weight : batch.weights) sum += weight;
        for (float& weight : batch.weights) weight /= sum;
        const double loss = optimizer.step(batch, config.optimizer.learning_rate);
        CHECK(loss == doctest::Approx(golden["losses"][step].get<double>()).epsilon(2e-5));
      }
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
