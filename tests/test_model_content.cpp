// Models whose item rows are made of attributes: gradients and steps against the oracle, training that is interrupted,
// what is saved.
#include "stamp/bundle.h"
#include "stamp/trainer.h"
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

constexpr std::int64_t kProducts = 150, kBrands = 6;

// A product in six has no attribute, so one brand has no product. Of two bins of prices one has 67, in two pieces.
Attributes shop(std::int64_t V = kProducts) {
  TextAttribute brand{.name = "brand", .values = {}, .codes = {}};
  NumberAttribute price{.name = "price", .values = {}};
  for (std::int64_t value = 0; value < kBrands; ++value) brand.values.push_back(concat("b", value));
  for (std::int64_t v = 0; v < V; ++v) {
    const bool known = v % 6 != 5;
    brand.codes.push_back(known ? static_cast<std::int32_t>(v % kBrands) : TextAttribute::kMissing);
    price.values.push_back(known ? static_cast<float>(v < V * 7 / 15 ? 0 : 1 + v % 3) : NAN);
  }
  Attributes attributes(V);
  attributes.add(std::move(brand));
  attributes.add(std::move(price));
  return attributes;
}

std::shared_ptr<const Content> content_of(const Config& config, std::int64_t V = kProducts) {
  return std::make_shared<Content>(Content::of(shop(V), config.content, config.content_bins));
}

Config config_of(Score score) {
  Config config = Config::preset("official");
  config.dim = 20;
  config.score = score;
  config.scale = 8;
  config.item_std = 0.3f;
  config.weight_std = 0.2f;
  config.content = {"brand", "price"};
  config.content_bins = 2;
  config.difference_bound = 0.6f;
  config.difference_dropout = 0.3f;
  return config;
}

// Nobody's targets are the last third of the products, which histories hold.
Batch batch_of(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (int length : {2, 5, 3, 12, 2, 4}) {
    items.push_back(static_cast<std::int32_t>(random() % kProducts));
    for (int i = 1; i < length; ++i) items.push_back(static_cast<std::int32_t>(random() % (kProducts * 2 / 3)));
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  const Sessions sessions(items, offsets);
  Batch batch;
  BatchBuilder(sessions).build(example_targets(sessions), batch);
  return batch;
}

std::vector<std::uint64_t> last_third() {
  std::vector<std::uint64_t> bits((kProducts + 63) / 64);
  for (std::int64_t v = kProducts * 2 / 3; v < kProducts; ++v) bits[v / 64] |= std::uint64_t{1} << (v % 64);
  return bits;
}

reference::Vector doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

// The oracle's training: what it has of a model, and a step of Adam.
struct Oracle {
  explicit Oracle(Model& model) : config(model.config()) {
    for (const auto& [name, values] : model.download()) weights[name] = doubles(values);
    tables.attribute_rows = weights.at("attribute_rows");
    tables.differences = doubles(model.differences().download());
    for (std::int64_t v = 0; v < kProducts; ++v)
      tables.rows.push_back({model.content()->rows()[v].begin(), model.content()->rows()[v].end()});
    weights.erase("attribute_rows");
    for (std::int64_t v = kProducts * 2 / 3; v < kProducts; ++v) excluded.insert(v);
  }

  // Loss and gradients of step `number`, of `items` and all else by name, "differences" and "attribute_rows" too.
  reference::Result run(const Batch& batch, std::int64_t number) {
    tables.cut(config.difference_bound);
    const auto kept = reference::kept_differences(tables, config.difference_dropout, config.seed, number);
    weights["items"] = tables.items(kept);
    reference::Case c{config, kProducts, weights, batch, {}, {}, {}, excluded};
    auto result = reference::run(c);
    std::tie(result.gradients["attribute_rows"], result.gradients["differences"]) =
        tables.gradients(kept, result.gradients.at("items"));
    return result;
  }

  double step(const Batch& batch, const OptimizerConfig& options, double rate) {
    const auto result = run(batch, ++steps);
    double squared = 0;
    for (const auto& [name, gradient] : result.gradients)
      for (double g : gradient) squared += name == "items" ? 0 : g * g;
    const double clip = options.clip_norm, scale = clip > 0 && squared > clip * clip ? clip / std::sqrt(squared) : 1;
    for (const auto& [name, gradient] : result.gradients) {
      if (name == "items") continue;
      auto& value = name == "differences"      ? tables.differences
                    : name == "attribute_rows" ? tables.attribute_rows
                                               : weights.at(name);
      auto &m = moment1[name], &v = moment2[name];
      m.resize(gradient.size());
      v.resize(gradient.size());
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        const double g = gradient[i] * scale, number = static_cast<double>(steps);
        m[i] = options.beta1 * m[i] + (1 - options.beta1) * g;
        v[i] = options.beta2 * v[i] + (1 - options.beta2) * g * g;
        value[i] -= rate * m[i] / (1 - std::pow(options.beta1, number)) /
                    (std::sqrt(v[i] / (1 - std::pow(options.beta2, number))) + options.epsilon);
      }
    }
    return result.loss;
  }

  // Outside training.
  reference::Vector items() {
    tables.cut(config.difference_bound);
    return tables.items(std::vector<int>(kProducts, 1));
  }

  Config config;
  reference::Tensors weights, moment1, moment2;
  reference::ContentTables tables;
  std::set<std::int64_t> excluded;
  std::int64_t steps = 0;
};

// Differences of all sizes, some beyond their bound.
void spread(Model& model) {
  auto values = model.download();
  const auto noise = check::random(values.at("items").size(), 0.2, 7);
  for (std::size_t i = 0; i < noise.size(); ++i) values["items"][i] += noise[i];
  model.upload(values);
}

std::vector<check::DevicePtr> all_devices() {
  auto devices = check::devices();
  for (const auto& device : check::fast_devices()) devices.push_back(device);
  return devices;
}

double length_of(std::span<const float> x) {
  double squared = 0;
  for (float value : x) squared += double{value} * value;
  return std::sqrt(squared);
}

}  // namespace

TEST_CASE("a model begins with rows that are content alone, free ones where there is no attribute") {
  const Config config = config_of(Score::dot);
  Model model(config, kProducts, open_device("cpu"), content_of(config));
  Config plain = config;
  plain.content = {};
  Model other(plain, kProducts, open_device("cpu"));
  const auto items = model.weights().items.download(), free = other.weights().items.download();
  const auto sums = Content::sums(model.content()->rows(), model.weights().attribute_rows.download(), config.dim);
  double squared = 0;
  for (std::int64_t i = 0; i < kProducts * config.dim; ++i) {
    CHECK(items[i] == (i / config.dim % 6 == 5 ? free[i] : sums[i]));
    squared += i / config.dim % 6 == 5 ? 0 : double{sums[i]} * sums[i];
  }
  // Seven rows of attributes are few to tell a standard deviation by.
  CHECK(std::sqrt(squared / (kProducts * config.dim * 5 / 6)) == doctest::Approx(0.3).epsilon(0.25));
  CHECK(model.weights().w1.download() == other.weights().w1.download());
  CHECK_THROWS_WITH_AS(Model(config, kProducts, open_device("cpu")),
                       "Model: no attributes are given, and 2 are named in content", std::invalid_argument);
  CHECK_THROWS_AS(Model(plain, kProducts, open_device("cpu"), content_of(config)), std::invalid_argument);
  CHECK_THROWS_AS(Model(config, kProducts - 1, open_device("cpu"), content_of(config)), std::invalid_argument);
}

TEST_CASE("the oracle's gradients of attributes and differences are central differences of its loss") {
  for (Score score : {Score::dot, Score::cosine}) {
    const Config config = config_of(score);
    Model model(config, kProducts, open_device("cpu"), content_of(config));
    spread(model);
    Oracle oracle(model);
    oracle.tables.cut(config.difference_bound);
    oracle.config.difference_bound = 0.99f;  // so that no step away is cut
    const Batch batch = batch_of(3);
    const auto result = oracle.run(batch, 5);
    for (const auto& [name, table] :
         {std::pair{"attribute_rows", &oracle.tables.attribute_rows}, {"differences", &oracle.tables.differences}})
      for (std::size_t i = 0; i < table->size(); i += 1 + table->size() / 40) {
        CAPTURE(name);
        const double kept = (*table)[i], step = 1e-5;
        (*table)[i] = kept + step;
        const double above = oracle.run(batch, 5).loss;
        (*table)[i] = kept - step;
        const double below = oracle.run(batch, 5).loss;
        (*table)[i] = kept;
        CHECK(result.gradients.at(name)[i] == doctest::Approx((above - below) / (2 * step)).epsilon(1e-5).scale(1e-3));
      }
  }
}

TEST_CASE("gradients of attributes, differences and all else agree with the oracle") {
  for (const auto& device : all_devices())
    for (Score score : {Score::dot, Score::cosine}) {
      CAPTURE(device->name());
      CAPTURE(to_string(device->precision()));
      CAPTURE(static_cast<int>(score));
      const Config config = config_of(score);
      Model model(config, kProducts, device, content_of(config));
      spread(model);
      Oracle oracle(model);
      const Batch batch = batch_of(3);
      const auto expected = oracle.run(batch, 1);
      Optimizer optimizer(OptimizerConfig{}, model);
      optimizer.exclude(last_third());
      Weights gradients(config, kProducts, device, true, model.content()->K());
      const double loss = optimizer.gradients(batch, gradients);
      CHECK(std::abs(loss - expected.loss) < 2 * check::tolerance(*device).loss * (1 + expected.loss));
      for (auto& [name, shape, array] : gradients.tensors()) {
        CAPTURE(name);
        // In reduced precision only what is made here: test_model has the encoder's.
        if (device->precision() != Precision::fp32 && name != "items" && name != "attribute_rows") continue;
        CHECK(check::error(array->download(), expected.gradients.at(name == "items" ? "differences" : name)) <
              check::tolerance(*device).network);
      }
      CHECK(check::error(model.weights().items.download(), oracle.items()) < 2e-5);
    }
}

TEST_CASE("ten steps are the oracle's, with and without clipping; on a CPU the same bits for any number of threads") {
  std::map<std::pair<float, Precision>, std::map<std::string, std::vector<float>>> of_cpu;
  for (const auto& device : all_devices())
    for (float clip : {0.0f, 0.05f}) {
      CAPTURE(device->name());
      CAPTURE(to_string(device->precision()));
      CAPTURE(clip);
      const Config config = config_of(Score::cosine);
      Model model(config, kProducts, device, content_of(config));
      spread(model);
      Oracle oracle(model);
      OptimizerConfig options;
      options.clip_norm = clip;
      options.epsilon = 1e-3f;  // a gradient that is rounding alone moves nothing
      Optimizer optimizer(options, model);
      optimizer.exclude(last_third());
      for (unsigned step = 0; step < 10; ++step) {
        const Batch batch = batch_of(step);
        const double loss = optimizer.step(batch, 0.004f);
        CHECK(std::abs(loss - oracle.step(batch, options, 0.004f)) < check::tolerance(*device).steps);
      }
      const bool single = device->precision() == Precision::fp32;
      CHECK(check::error(model.weights().attribute_rows.download(), oracle.tables.attribute_rows) <
            (single ? 1e-3 : 5e-2));
      const auto items = model.weights().items.download();
      CHECK(check::error(items, oracle.items()) < (single ? 1e-3 : 5e-2));
      const auto sums = Content::sums(model.content()->rows(), model.weights().attribute_rows.download(), config.dim);
      std::int64_t near_bound = 0, beyond = 0;
      for (std::int64_t v = 0; v < kProducts; ++v) {
        std::vector<float> difference;
        for (std::int64_t d = 0; d < config.dim; ++d)
          difference.push_back(items[v * config.dim + d] - sums[v * config.dim + d]);
        const double share = length_of(difference) / length_of(std::span(sums).subspan(v * config.dim, config.dim));
        if (v % 6 != 5) near_bound += share > 0.5, beyond += share > 0.60001;
      }
      CHECK(near_bound > 20);
      CHECK(beyond == 0);
      if (device->name() == "cpu")
        CHECK(of_cpu.try_emplace({clip, device->precision()}, model.download()).first->second == model.download());
    }
}

TEST_CASE("steps do not see what is finished between them, nor stop with a weight changed") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Config config = config_of(Score::dot);
    Model one(config, kProducts, device, content_of(config)), other(config, kProducts, device, content_of(config));
    Optimizer stepping(OptimizerConfig{}, one), enqueueing(OptimizerConfig{}, other);
    double loss = 0;
    for (unsigned step = 0; step < 4; ++step) {
      loss = stepping.step(batch_of(step), 0.05f);
      enqueueing.enqueue(batch_of(step), 0.05f);
    }
    enqueueing.wait();
    CHECK(one.download() != other.download());
    enqueueing.finish_rows();
    CHECK(one.download() == other.download());
    CHECK(stepping.step(batch_of(3), 0.05f, loss / 2) >= loss / 2);
    CHECK(one.download() == other.download());
  }
}

namespace {

constexpr std::int64_t kShop = 60;

// Visitors stay with a brand, the row modulo 6. Products 50 to 57 come first in sessions and are never a target, those
// behind them come nowhere.
Sessions visits(int count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (int s = 0; s < count; ++s) {
    const unsigned brand = random() % 6;
    items.push_back(static_cast<std::int32_t>(random() % 3 == 0 ? 50 + random() % 8 : brand + 6 * (random() % 8)));
    for (unsigned i = 1 + random() % 3; i > 0; --i)
      items.push_back(static_cast<std::int32_t>(brand + 6 * (random() % 8)));
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return Sessions(items, offsets);
}

Config training_config() {
  Config config = config_of(Score::cosine);
  config.repeat_floors = 2;
  config.dropout = 0.1f;
  return config;
}

TrainConfig train_config() {
  TrainConfig config;
  config.epochs = 2;
  config.batch_size = 32;
  config.optimizer.learning_rate = 0.02f;
  config.checkpoint_seconds = 0;
  return config;
}

}  // namespace

TEST_CASE("an interrupted training with refit, validation and checkpoints is the uninterrupted one, to the bit") {
  const check::Folder folder;
  auto devices = check::devices();
  devices.erase(devices.begin());
  for (const auto& device : devices) {
    CAPTURE(device->name());
    const Config config = training_config();
    const Sessions sessions = visits(check::slow(*device) ? 60 : 200, 1), validation = visits(30, 2);
    const auto trained = [&](TrainOptions options) {
      options.validation = &validation;
      options.refit = true;
      Model model(config, kShop, device, content_of(config, kShop));
      const TrainReport report = train(model, sessions, train_config(), options);
      return std::pair{model.download(), report.stopped};
    };
    const auto whole = trained({});
    REQUIRE(whole.second == "finished");
    for (int stop : {2, 5}) {
      const auto checkpoint = folder / concat(device->name(), stop);
      int calls = 0;
      const TrainOptions interrupted{
          .checkpoint = checkpoint, .progress = [&](const Progress&) { return ++calls < stop; }, .progress_seconds = 0};
      CHECK(trained(interrupted).second == "interrupted");
      CHECK(trained({.checkpoint = checkpoint}) == whole);
    }
  }
}

TEST_CASE("a checkpoint is of its attributes") {
  const check::Folder folder;
  const Config config = training_config();
  const auto device = open_device("cpu");
  const Sessions sessions = visits(60, 1);
  Model model(config, kShop, device, content_of(config, kShop));
  const TrainOptions options{.checkpoint = folder / "c"};
  train(model, sessions, train_config(), options);
  Model other(config, kShop, device, std::make_shared<Content>(content_of(config, kShop)->with([] {
                Lists rows;
                for (std::int64_t v = 0; v < kShop; ++v) {
                  if (v > 0) rows.values.push_back(0);
                  rows.end_list();
                }
                return rows;
              }())));
  CHECK_THROWS_AS(train(other, sessions, train_config(), options), CheckpointMismatch);
}

TEST_CASE("products that are never a target stay where their attributes are") {
  Config config = training_config();
  Model model(config, kShop, open_device("cpu"), content_of(config, kShop));
  TrainConfig train_options = train_config();
  train_options.epochs = 8;
  train(model, visits(400, 1), train_options);
  const auto items = model.weights().items.download();
  // Product 50 + i is of brand (50 + i) % 6; its row is nearer to its brand's than to others'.
  const auto cosine = [&](std::int64_t a, std::int64_t b) {
    const std::span<const float> all = items;
    const auto x = all.subspan(a * config.dim, config.dim), y = all.subspan(b * config.dim, config.dim);
    double dot = 0;
    for (std::int64_t d = 0; d < config.dim; ++d) dot += double{x[d]} * y[d];
    return dot / length_of(x) / length_of(y);
  };
  for (std::int64_t v : {50, 51, 54, 55, 56, 57}) {
    if (v % 6 == 5) continue;
    CAPTURE(v);
    double own = 0, others = 0;
    for (std::int64_t of = 0; of < 48; ++of)
      if (of % 6 != 5) (of % 6 == v % 6 ? own : others) += cosine(v, of) / (of % 6 == v % 6 ? 8 : 32);
    CHECK(own > others + 0.1);
  }
  const auto sums = Content::sums(model.content()->rows(), model.weights().attribute_rows.download(), config.dim);
  for (std::int64_t d = 0; d < config.dim; ++d) CHECK(items[58 * config.dim + d] == sums[58 * config.dim + d]);
}

TEST_CASE("products without attributes that are never a target are pushed away, as in a model without content") {
  const Config config = training_config();
  Model model(config, kShop, open_device("cpu"), content_of(config, kShop));
  constexpr std::int64_t kNobodys = 59;  // in no session
  REQUIRE(model.content()->rows()[kNobodys].empty());
  const auto before = model.weights().items.download();
  train(model, visits(400, 1), train_config());
  const auto after = model.weights().items.download();
  for (std::int64_t d = 0; d < config.dim; ++d)
    CHECK(after[kNobodys * config.dim + d] != before[kNobodys * config.dim + d]);
}

TEST_CASE("a saved model is plain rows, with attributes' rows beside them and what these are of") {
  const check::Folder folder;
  const Config config = training_config();
  auto model = std::make_shared<Model>(config, kShop, open_device("cpu"), content_of(config, kShop));
  train(*model, visits(100, 1), train_config());
  Catalog catalog(Catalog::Kind::integers);
  for (std::int64_t v = 0; v < kShop; ++v) catalog.add(v);
  save_bundle(folder / "b", bundle_of(model, std::move(catalog), std::vector<std::int64_t>(kShop, 1)));
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Bundle bundle = load_bundle(folder / "b", device);
    Model& read = *bundle.clusters[0].model;
    CHECK(read.download() == model->download());
    REQUIRE(read.content());
    CHECK(read.content()->fingerprint() == model->content()->fingerprint());
    const auto differences = read.differences().download();
    const auto items = read.weights().items.download();
    const auto sums = Content::sums(read.content()->rows(), read.weights().attribute_rows.download(), config.dim);
    for (std::size_t i = 0; i < items.size(); ++i) CHECK(differences[i] == items[i] - sums[i]);
    train(read, visits(20, 3), train_config());  // goes on from there
    CHECK(read.download() != model->download());
  }
}

TEST_CASE("attributes that two catalogs share begin as they ended") {
  const Config config = training_config();
  Model old(config, kShop, open_device("cpu"), content_of(config, kShop));
  train(old, visits(100, 1), train_config());
  Attributes today(3);
  today.add(TextAttribute{.name = "brand", .values = {"new", "b3"}, .codes = {1, 0, -1}});
  today.add(NumberAttribute{.name = "price", .values = {NAN, NAN, NAN}});
  const auto content = std::make_shared<Content>(Content::of(today, config.content, config.content_bins));
  Model model(config, 3, open_device("cpu"), content), drawn(config, 3, open_device("cpu"), content);
  model.take_content(old);
  const auto rows = model.weights().attribute_rows.download(), olds = old.weights().attribute_rows.download();
  const auto first = drawn.weights().attribute_rows.download(), items = model.weights().items.download();
  for (std::int64_t d = 0; d < config.dim; ++d) {
    CHECK(rows[d] == first[d]);                               // "new"
    CHECK(rows[config.dim + d] == olds[3 * config.dim + d]);  // b3: brands b0, …, b4 and no b5
    CHECK(items[d] == rows[config.dim + d]);
    CHECK(items[2 * config.dim + d] == drawn.weights().items.download()[2 * config.dim + d]);
  }
}
