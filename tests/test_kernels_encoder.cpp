// The encoder against the network in double: overlapping ranges of any length, every switch, guard bands.
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

// Prefixes of sessions of several lengths, or their last `history` events: every one of the short, every 25th of the
// long. With events that no example reads between them, and behind them, as padding leaves them.
Batch batch_of(const std::vector<std::int32_t>& sessions, std::int32_t history, std::int64_t V, unsigned seed) {
  std::mt19937 random(seed);
  Batch batch;
  for (std::int32_t session : sessions) {
    for (std::int32_t events = 1; events <= session; events += session > 50 ? 25 : 1) {
      const std::int32_t length = history ? std::min(events, history) : events;
      batch.begin.push_back(static_cast<std::int32_t>(batch.L()) + events - length);
      batch.length.push_back(length);
    }
    for (std::int32_t i = 0; i < session; ++i) batch.items.push_back(static_cast<std::int32_t>(random() % V));
  }
  batch.items.resize(batch.items.size() + 13, Catalog::kUnknown);
  return batch;
}

// The same with preferences among K objectives, some of them 0.
Batch with_preferences(Batch batch, std::int64_t K) {
  std::mt19937 random(91);
  for (std::int64_t i = 0; i < batch.B() * K; ++i)
    batch.preferences.push_back(i % 5 == 0 ? 0 : static_cast<float>(random() % 100) / static_cast<float>(100 * K));
  return batch;
}

std::vector<Config> configurations() {
  std::vector<Config> all;
  for (const char* preset : {"paper", "official", "tuned"}) all.push_back(Config::preset(preset));
  Config other;
  other.residual = Residual::anchor;
  other.normalization = Normalization::softmax;
  other.score = Score::cosine;
  other.attention_bias = true;
  other.max_norm = 0.5f;
  other.dropout = 0.2f;
  all.push_back(other);
  for (std::size_t K : {1, 3}) {  // beside biases, and in their place
    Config several = Config::preset(K == 1 ? "tuned" : "official");
    for (std::size_t k = 0; k < K; ++k) several.objectives.push_back(std::string(1, static_cast<char>('a' + k)));
    all.push_back(several);
  }
  return all;
}

// An encoder with weights of its own on a device, and what it is to compute.
struct Case {
  static constexpr std::int64_t V = 53, kStep = 7;

  Case(Config config, std::int64_t D, const Batch& batch) {
    config.dim = D;
    config.repeat_floors = config.successor_floors = config.second_floors = 0;
    oracle.config = config;
    oracle.V = V;
    oracle.batch = with_preferences(batch, static_cast<std::int64_t>(config.objectives.size()));
    Weights weights(config, V, open_device("cpu"));
    unsigned seed = static_cast<unsigned>(D);
    for (const auto& [name, shape, array] : weights.tensors()) {
      // So that gates and cells are neither flat nor saturated at any width.
      const double std = name == "items" ? 0.3 : shape.size() == 2 ? 1 / std::sqrt(static_cast<double>(D)) : 0.3;
      values[name] = check::random(array->size(), std, ++seed);
      oracle.weights[name].assign(values[name].begin(), values[name].end());
    }
    if (config.dropout > 0) oracle.mask = reference::dropout_mask(config, kStep, batch.L());
    d_q = check::random(batch.B() * D, 1, ++seed);
    oracle.d_q.assign(d_q.begin(), d_q.end());
  }

  reference::Case oracle;
  std::map<std::string, std::vector<float>> values;
  std::vector<float> d_q;
};

struct Computed {
  std::vector<float> queries, d_rows;
  std::map<std::string, std::vector<float>> gradients;
  bool operator==(const Computed&) const = default;
};

struct Trained {
  std::map<std::string, std::vector<float>> values;
  std::vector<std::vector<float>> moments;
  bool operator==(const Trained&) const = default;
};

Computed compute(const check::DevicePtr& device, const Case& c) {
  const Config& config = c.oracle.config;
  Model model(config, c.V, device);
  model.upload(c.values);
  const auto step = check::on(device, std::vector<TrainingStep>{{.number = c.kStep}});
  Activations a(device);
  a.upload(c.oracle.batch, config);
  // Between guard bands, in the order of EncoderWeights.
  std::map<std::string, check::Guarded<float>> gradients;
  for (const auto& [name, values] : c.values)
    gradients.emplace(name, check::Guarded<float>(device, static_cast<std::int64_t>(values.size())));
  const auto gradient = [&](const char* name) {
    const auto found = gradients.find(name);
    return found == gradients.end() ? nullptr : found->second.data();
  };
  check::Guarded queries(device, a.B * config.dim), d_rows(device, a.L * config.dim);
  const auto d_q = check::on(device, c.d_q);
  const Encoder encoder = model.encoder(a, step.data());
  device->encode(encoder, queries.data());
  device->encode_backward(
      encoder, d_q.data(), d_rows.data(),
      {gradient("attention.w0"), gradient("attention.w1"), gradient("attention.w2"), gradient("attention.w3"),
       gradient("attention.bias"), gradient("mlp_session.weight"), gradient("mlp_session.bias"),
       gradient("mlp_anchor.weight"), gradient("mlp_anchor.bias"), gradient("attention.objectives"),
       gradient("mlp_session.objectives"), gradient("mlp_anchor.objectives")},
      {});
  Computed computed{queries.values(), d_rows.values(), {}};
  computed.d_rows.resize(c.oracle.batch.L() * config.dim);  // without the device's own padding
  for (const auto& [name, guarded] : gradients)
    if (name != "items") computed.gradients[name] = guarded.values();
  return computed;
}

void check_case(const std::vector<check::DevicePtr>& devices, const Case& c) {
  const auto expected = reference::run(c.oracle);
  reference::Vector queries;
  for (const auto& q : expected.q) queries.insert(queries.end(), q.begin(), q.end());
  Computed of_cpu;
  for (const auto& device : devices) {
    CAPTURE(device->name());
    CAPTURE(to_string(device->precision()));
    CAPTURE(c.oracle.config.dim);
    CAPTURE(static_cast<int>(c.oracle.config.residual));
    CAPTURE(c.oracle.batch.B());
    const double tolerance = check::tolerance(*device).network;
    const Computed computed = compute(device, c);
    CHECK(check::error(computed.queries, queries) < tolerance);
    // Of width 1 a query's length is fixed: its gradient is nothing but rounding.
    if (c.oracle.config.dim > 1 || c.oracle.config.score == Score::dot) {
      CHECK(check::error(computed.d_rows, expected.d_rows) < tolerance);
      for (const auto& [name, values] : computed.gradients) {
        CAPTURE(name);
        CHECK(check::error(values, expected.gradients.at(name)) < tolerance);
      }
    }
    CHECK(compute(device, c) == computed);  // sums have one order
    if (device->name() != "cpu" || device->precision() != Precision::fp32) continue;
    if (of_cpu.queries.empty()) of_cpu = computed;
    CHECK(computed == of_cpu);  // for any number of threads
  }
}

}  // namespace

TEST_CASE("queries and gradients of overlapping sessions, in single precision") {
  const auto devices = check::devices();
  const auto all = configurations();
  std::size_t turn = 0;  // a slow device has every third
  for (std::int64_t D : {1, 7, 33, 100, 128, 130})
    for (std::int32_t history : {0, 10})
      for (const Config& config : all) {
        auto some = devices;
        if (++turn % 3 != 0) std::erase_if(some, [](const auto& device) { return check::slow(*device); });
        check_case(some, Case(config, D, batch_of({1, 9, 2, 33, 101}, history, Case::V, 1)));
      }
}

TEST_CASE("queries and gradients in reduced precision") {
  const auto devices = check::fast_devices();
  const auto all = configurations();
  std::size_t turn = 0;
  for (std::int64_t D : {7, 33, 100, 128, 130})
    for (const Config& config : all) {
      auto some = devices;
      if (++turn % 3 != 0) std::erase_if(some, [](const auto& device) { return check::slow(*device); });
      check_case(some, Case(config, D, batch_of({1, 9, 2, 70}, 40, Case::V, 2)));
    }
}

TEST_CASE(
    "Adam as gradients of the dense weights come is Adam behind them, to the bit; none where a step has stopped") {
  auto devices = check::devices();
  for (const auto& device : check::fast_devices()) devices.push_back(device);
  const auto all = configurations();
  std::size_t turn = 0;
  for (const auto& device : devices)
    for (std::int64_t D : {1, 33, 100, 130}) {
      CAPTURE(device->name());
      CAPTURE(to_string(device->precision()));
      CAPTURE(D);
      const Case c(all[turn++ % all.size()], D, batch_of({1, 9, 2}, 0, Case::V, 5));
      const Config& config = c.oracle.config;
      // Two steps on the same batch, with one set of moments.
      const auto trained = [&](bool joined, std::int32_t stopped) {
        Model model(config, c.V, device);
        model.upload(c.values);
        Weights gradients(config, c.V, device, false), moment1(config, c.V, device, false),
            moment2(config, c.V, device, false);
        std::vector<Parameter> parameters;
        const auto values = model.weights().dense(), of = gradients.tensors();
        const auto first = moment1.tensors(), second = moment2.tensors();
        for (std::size_t i = 0; i < values.size(); ++i)
          parameters.push_back({values[i].array->size(), values[i].array->data(), of[i].array->data(),
                                first[i].array->data(), second[i].array->data()});
        Activations a(device);
        a.upload(c.oracle.batch, config);
        a.prepare_backward(D);
        a.d_q.upload(c.d_q);
        TrainingStep step{.learning_rate = 0.01f, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f};
        step.weight_decay = 0.1f;
        step.stopped = stopped;
        for (step.number = 1; step.number <= 2; ++step.number) {
          const auto on_step = check::on(device, std::vector{step});
          model.forward(*device, a, on_step.data());
          model.backward(*device, a, gradients, on_step.data(),
                         joined ? std::span<const Parameter>(parameters) : std::span<const Parameter>());
          if (!joined) device->adam(parameters, on_step.data());
          device->synchronize();
        }
        Trained result{model.download(), {}};
        for (const auto* moments : {&first, &second})
          for (const auto& tensor : *moments) result.moments.push_back(tensor.array->download());
        return result;
      };
      const Trained joined = trained(true, 0);
      CHECK(joined == trained(false, 0));
      for (const auto& [name, values] : joined.values) {
        CAPTURE(name);
        CHECK((values == c.values.at(name)) == (name == "items"));
      }
      CHECK(trained(true, 1).values == c.values);
    }
}

TEST_CASE("one example, one event, one product") {
  auto devices = check::devices();
  for (const auto& device : check::fast_devices()) devices.push_back(device);
  Batch one;
  one.add_history(std::vector<std::int32_t>{3});
  Batch alike = batch_of({3, 40}, 0, 1, 3);  // row 0 alone
  for (const Config& config : configurations()) {
    check_case(devices, Case(config, 20, one));
    check_case(devices, Case(config, 20, alike));
  }
}

TEST_CASE("dropout draws the mask of seed, step and element, to the bit") {
  for (const auto& device : check::devices())
    for (std::int64_t D : {1, 7, 100, 131}) {
      CAPTURE(device->name());
      CAPTURE(D);
      Config config = Config::preset("official");
      config.dropout = 0.3f;
      config.max_norm = 0;
      Case c(config, D, batch_of({1, 2, 40}, 0, Case::V, 4));
      // Cells that see the anchor alone, and barely bend it: their signs show what was dropped.
      for (const char* name : {"attention.w0", "mlp_session.weight", "mlp_anchor.weight"})
        std::fill(c.values.at(name).begin(), c.values.at(name).end(), 0.0f);
      for (std::int64_t d = 0; d < D; ++d)
        c.values.at("mlp_session.weight")[d * D + d] = c.values.at("mlp_anchor.weight")[d * D + d] = 1e-3f;
      const auto& batch = c.oracle.batch;
      const auto queries = compute(device, c).queries;
      std::int64_t dropped = 0, all = 0;
      for (std::int64_t b = 0; b < batch.B(); ++b) {
        const std::int64_t anchor = batch.begin[b] + batch.length[b] - 1;
        for (std::int64_t d = 0; d < D; ++d) {
          const bool zero = c.oracle.mask[anchor * D + d] == 0;
          CHECK((queries[b * D + d] == 0) == zero);
          dropped += zero, ++all;
        }
      }
      if (all > 1000)
        CHECK(static_cast<double>(dropped) / static_cast<double>(all) == doctest::Approx(0.3).epsilon(0.1));
    }
}

TEST_CASE("the tanh of cells keeps the digits of small values and saturates cleanly") {
  const std::vector<float> x{0, 1e-8f, -1e-4f, 0.3f, -0.62f, 0.63f, 2, -9, 50, -90, 1e30f};
  Config config = Config::preset("paper");
  config.dim = static_cast<std::int64_t>(x.size());
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    Model model(config, 3, device);
    auto values = model.download();
    for (const char* name : {"mlp_session.weight", "mlp_anchor.weight"})
      std::fill(values.at(name).begin(), values.at(name).end(), 0.0f);
    values.at("mlp_session.bias") = x;
    values.at("mlp_anchor.bias").assign(x.size(), 90);  // whose tanh is 1
    model.upload(values);
    Batch batch;
    batch.add_history(std::vector<std::int32_t>{1, 2});
    Activations a(device);
    a.upload(batch, config);
    model.forward(*device, a);
    const auto y = a.q.download();
    for (std::size_t i = 0; i < x.size(); ++i)
      CHECK(std::abs(y[i] - std::tanh(double{x[i]})) <= 1e-6 * std::abs(std::tanh(double{x[i]})));
  }
}

TEST_CASE("queries of no length stay zero") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    Config config = Config::preset("tuned");
    config.dropout = 0;
    Case c(config, 33, batch_of({5}, 0, Case::V, 5));
    for (const char* name : {"mlp_anchor.weight", "mlp_anchor.bias"})
      std::fill(c.values.at(name).begin(), c.values.at(name).end(), 0.0f);
    const Computed computed = compute(device, c);
    CHECK(computed.queries == std::vector<float>(computed.queries.size()));
    CHECK(computed.d_rows == std::vector<float>(computed.d_rows.size()));
  }
}
