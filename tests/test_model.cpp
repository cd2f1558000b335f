// The network against the oracle, and the oracle against central differences.
#include "stamp/optimizer.h"
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

// Sessions of several lengths; prefixes share events.
Batch batch_of(std::int64_t V, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  std::vector<float> weights;
  for (int length : {2, 5, 1, 3, 34, 2}) {
    for (int i = 0; i < length; ++i) {
      items.push_back(static_cast<std::int32_t>(random() % V));
      weights.push_back(0.25f + static_cast<float>(random() % 8) / 4);
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  const Sessions sessions(items, offsets, {}, weights);
  Batch batch;
  BatchBuilder(sessions).build(example_targets(sessions), batch);
  return batch;
}

std::vector<Config> configurations() {
  std::vector<Config> all;
  for (std::int64_t dim : {7, 33, 100}) {
    for (const char* preset : {"paper", "official", "tuned"}) {
      Config config = Config::preset(preset);
      config.dim = dim;
      config.dropout = 0;  // has a test of its own
      all.push_back(config);
    }
    Config other;
    other.dim = dim;
    other.residual = Residual::anchor;
    other.normalization = Normalization::softmax;
    other.score = Score::cosine;
    other.attention_bias = true;
    other.max_norm = 0.5f;
    all.push_back(other);
    other.residual = Residual::none;
    other.score = Score::dot;
    other.mlp_bias = true;
    all.push_back(other);
    other.objectives = {"cart", "order"};
    all.push_back(other);
  }
  return all;
}

// Weights large enough that every part of the network matters.
reference::Case make_case(Model& model, unsigned seed) {
  std::map<std::string, std::vector<float>> values;
  reference::Tensors weights;
  for (auto& [name, old] : model.download()) {
    values[name] = check::random(old.size(), name == "items" ? 0.3 : 0.2, ++seed);
    if (name == "temperature" || name == "tail.power") values[name] = old;  // which cannot be below 0
    weights[name].assign(values[name].begin(), values[name].end());
  }
  model.upload(values);
  Batch batch = batch_of(model.V(), seed);
  batch.preferences = check::random(batch.B() * model.config().objectives.size(), 0.5, ++seed);
  return {model.config(), model.V(), weights, batch, {}, {}};
}

}  // namespace

TEST_CASE("the oracle's gradients are central differences of its loss") {
  for (Config config : configurations()) {
    if (config.dim != 7) continue;
    Model model(config, 13, open_device("cpu"));
    reference::Case c = make_case(model, 1);
    c.mask.assign(c.batch.items.size() * 7, 1.25);
    for (std::size_t i = 0; i < c.mask.size(); i += 5) c.mask[i] = 0;
    const auto result = reference::run(c);
    constexpr double kStep = 1e-5;
    for (auto& [name, values] : c.weights) {
      CAPTURE(name);
      for (std::size_t i = 0; i < values.size(); i += 1 + values.size() / 17) {
        const double kept = values[i];
        values[i] = kept + kStep;
        const double above = reference::run(c).loss;
        values[i] = kept - kStep;
        const double below = reference::run(c).loss;
        values[i] = kept;
        CHECK(result.gradients.at(name)[i] == doctest::Approx((above - below) / (2 * kStep)).epsilon(1e-5).scale(1e-3));
      }
    }
  }
}

namespace {

// Loss and every gradient of the case's batch, of a model like `origin` on `device`.
void check_gradients(const check::DevicePtr& device, const Model& origin, const reference::Case& c,
                     const reference::Result& expected, std::int64_t workspace) {
  CAPTURE(device->name());
  CAPTURE(to_string(device->precision()));
  CAPTURE(c.config.dim);
  CAPTURE(c.V);
  CAPTURE(workspace);
  const bool single = device->precision() == Precision::fp32;
  const check::Tolerance tolerance = check::tolerance(*device);
  Model model(c.config, c.V, device);
  model.upload(origin.download());
  OptimizerConfig options;
  options.workspace_bytes = workspace;
  Optimizer optimizer(options, model);
  Weights gradients(c.config, c.V, device);
  const double loss = optimizer.gradients(c.batch, gradients);
  CHECK(std::abs(loss - expected.loss) < tolerance.loss * (single ? 1 + expected.loss : 1));
  for (auto& [name, shape, array] : gradients.tensors()) {
    CAPTURE(name);
    CHECK(check::error(array->download(), expected.gradients.at(name)) < tolerance.network);
  }
}

}  // namespace

TEST_CASE("loss and every gradient agree with the oracle, for any workspace") {
  const auto devices = check::devices();
  for (const Config& config : configurations())
    for (std::int64_t V : {31, 577}) {
      Model origin(config, V, open_device("cpu"));
      const reference::Case c = make_case(origin, static_cast<unsigned>(V));
      const auto expected = reference::run(c);
      for (const auto& device : devices)
        for (std::int64_t workspace : {0, 110'000, 64 << 20})  // nothing kept, one tile, everything
          if (!check::slow(*device) || config.dim < 100 || workspace == 110'000)
            check_gradients(device, origin, c, expected, workspace);
    }
}

TEST_CASE("loss and every gradient in reduced precision agree with the oracle") {
  const auto devices = check::fast_devices();
  for (const Config& config : configurations())
    for (std::int64_t V : {31, 577}) {
      if (devices.empty() || config.dim == 7) continue;
      Model origin(config, V, open_device("cpu"));
      const reference::Case c = make_case(origin, static_cast<unsigned>(V));
      const auto expected = reference::run(c);
      for (const auto& device : devices) check_gradients(device, origin, c, expected, 64 << 20);
    }
}

TEST_CASE("events that no example reads change nothing: padding") {
  Config config = Config::preset("official");
  config.dim = 33;
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    Model model(config, 257, device);
    const reference::Case c = make_case(model, 5);
    Activations activations(device);
    activations.upload(c.batch, config);
    CHECK(activations.L % device->padding() == 0);
    CHECK(activations.L - c.batch.L() < device->padding());
    const auto rows = activations.rows.download();
    const std::vector<std::int32_t> events(rows.begin() + activations.B, rows.end());
    CHECK(std::equal(c.batch.items.begin(), c.batch.items.end(), events.begin()));
    CHECK(std::count(events.begin(), events.end(), Catalog::kUnknown) == activations.L - c.batch.L());

    Optimizer optimizer({}, model);
    Weights gradients(config, 257, device), padded(config, 257, device);
    const double loss = optimizer.gradients(c.batch, gradients);
    Batch longer = c.batch;
    longer.items.resize(longer.items.size() + 77, Catalog::kUnknown);
    CHECK(optimizer.gradients(longer, padded) == doctest::Approx(loss).epsilon(1e-6));
    const auto all = padded.tensors();
    for (std::size_t i = 0; i < all.size(); ++i)  // W1's gradient sums over padding too, in another grouping
      CHECK(check::error(all[i].array->download(), gradients.tensors()[i].array->download()) < 1e-5);
  }
}

TEST_CASE("neither batch composition nor order changes a bit of a query") {
  auto devices = check::devices();
  for (const auto& device : check::fast_devices()) devices.push_back(device);
  for (const auto& device : devices)
    for (const Config& config : configurations()) {
      CAPTURE(device->name());
      if (check::slow(*device) && config.dim == 100) continue;
      Model model(config, 257, device);
      const reference::Case c = make_case(model, 5);
      Activations activations(device);
      activations.upload(c.batch, config);
      model.forward(*device, activations);
      const auto together = activations.q.download();
      for (std::int64_t b = 0; b < c.batch.B(); b += 3) {
        Batch alone;
        alone.add_history(std::span(c.batch.items).subspan(c.batch.begin[b], c.batch.length[b]),
                          std::span(c.batch.preferences).subspan(b * config.K(), config.K()), config.K());
        activations.upload(alone, config);
        model.forward(*device, activations);
        const auto single = activations.q.download();
        const auto first = together.begin() + b * config.dim;
        const std::vector<float> expected(first, first + config.dim);
        CHECK(single == expected);
      }
    }
}

TEST_CASE("a session is encoded to the same bits among 1, 2, 5 and 64") {
  for (const auto& device : check::devices())
    for (std::int64_t dim : {1, 7, 33, 100, 128, 300}) {
      if (check::slow(*device) && dim > 33) continue;
      CAPTURE(device->name());
      CAPTURE(dim);
      Config config = Config::preset("tuned");
      config.dim = dim;
      Model model(config, 257, device);
      make_case(model, 5);
      Activations activations(device);
      std::vector<float> first;  // of one session alone, then of it before others
      for (std::int64_t sessions : {1, 2, 5, 64}) {
        Batch batch;
        for (std::int32_t s = 0; s < sessions; ++s) {
          const std::vector<std::int32_t> history{s, 100 + s, 3, 256 - s, s};
          batch.add_history(std::span(history).first(1 + (s + 4) % 5));
        }
        activations.upload(batch, config);
        model.forward(*device, activations);
        auto queries = activations.q.download();
        queries.resize(dim);
        CHECK(std::all_of(queries.begin(), queries.end(), [](float q) { return std::isfinite(q) && q != 0; }));
        if (first.empty()) first = queries;
        CHECK(queries == first);
      }
    }
}

TEST_CASE("dropout is applied to the gradient too, by the mask of the step that comes") {
  Config config = Config::preset("official");
  config.dim = 33;
  config.dropout = 0.3f;
  Model origin(config, 101, open_device("cpu"));
  reference::Case c = make_case(origin, 3);
  for (std::int64_t steps : {0, 6}) {
    c.mask = reference::dropout_mask(config, steps + 1, c.batch.L());
    const auto expected = reference::run(c);
    for (const auto& device : check::devices()) {
      CAPTURE(device->name());
      Model model(config, 101, device);
      model.upload(origin.download());
      Optimizer optimizer({}, model);
      optimizer.set_steps(steps);
      Weights gradients(config, 101, device);
      CHECK(optimizer.gradients(c.batch, gradients) == doctest::Approx(expected.loss).epsilon(1e-5));
      for (auto& [name, shape, array] : gradients.tensors())
        CHECK(check::error(array->download(), expected.gradients.at(name)) < check::tolerance(*device).network);
    }
  }
}

TEST_CASE("initial weights are normal, of the stated spread, and the seed's") {
  Config config = Config::preset("paper");
  Model model(config, 5000, open_device("cpu")), same(config, 5000, open_device("cpu"));
  const auto items = model.download().at("items");
  double sum = 0, squared = 0;
  for (double x : items) sum += x, squared += x * x;
  CHECK(std::abs(sum / static_cast<double>(items.size())) < 1e-5);
  CHECK(std::sqrt(squared / static_cast<double>(items.size())) == doctest::Approx(0.002).epsilon(0.01));
  CHECK(model.download() == same.download());
  const auto bias = model.download().at("attention.bias");
  CHECK(std::count(bias.begin(), bias.end(), 0.0f) == config.dim);
}

TEST_CASE("options that cannot be are named") {
  Config config;
  config.dropout = 1;
  CHECK_THROWS_WITH_AS(config.validate(), "Config: dropout is 1, expected a rate in [0, 1)", std::invalid_argument);
  CHECK_THROWS_AS(Config::preset("papers"), std::invalid_argument);
  CHECK_THROWS_AS(Model(Config{}, 0, open_device("cpu")), std::invalid_argument);
  CHECK_THROWS_AS(open_device("gpu"), std::invalid_argument);
  CHECK_THROWS_WITH_AS(open_device("cpu", {.precision = Precision::tf32}),
                       "open_device: precision is tf32 and the device the CPU, which computes in fp32 or bf16; "
                       "expected precision fp32, bf16 or auto",
                       std::invalid_argument);
  CHECK(open_device("cpu")->precision() == Precision::fp32);
  CHECK(open_device("cpu", {.precision = Precision::bf16})->precision() == Precision::bf16);
}
