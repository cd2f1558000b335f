// Batches that a device builds are those that the host would, whether all sessions are there or travel in pieces.
#include <algorithm>

#include "stamp/batches.h"
#include "stamp/optimizer.h"
#include "stamp/philox.h"
#include "tests/check.h"

using namespace stamp;

namespace {

// Lengths of up to `longest`, some of them 0; weights that add up exactly, some of them 0.
Sessions random_sessions(int count, unsigned longest, bool weighted, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  std::vector<float> weights;
  for (int s = 0; s < count; ++s) {
    for (unsigned i = random() % (longest + 1); i > 0; --i) {
      items.push_back(static_cast<std::int32_t>(random() % 50));
      if (weighted) weights.push_back(static_cast<float>(random() % 5) / 4);
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return {items, offsets, {}, weights};
}

// A batch as the device has laid it out. Events behind the last one read are checked to be none.
Batch built(const check::DevicePtr& device, const BatchPlace& place, std::int64_t number = 1) {
  const TrainingStep header{.number = number, .weight = place.weight, .first = place.first};
  const auto step = check::on(device, std::vector{header});
  check::Guarded<std::int32_t> events(device, place.L), begin(device, place.B), length(device, place.B),
      targets(device, place.B);
  check::Guarded weights(device, place.B), preferences(device, place.B * place.data.objectives.count);
  const std::int64_t L = device->build_batch(place.data, step.data(),
                                             {place.B, place.L, events.data(), begin.data(), length.data(),
                                              targets.data(), weights.data(), preferences.data()});
  CHECK(L <= place.L);
  Batch batch{.items = events.values(),
              .begin = begin.values(),
              .length = length.values(),
              .targets = targets.values(),
              .weights = weights.values(),
              .preferences = preferences.values(),
              .weight = place.weight};
  std::int64_t read = 0;
  for (std::int64_t b = 0; b < batch.B(); ++b) read = std::max<std::int64_t>(read, batch.begin[b] + batch.length[b]);
  CHECK(read <= L);
  for (std::int64_t i = read; i < place.L; ++i) CHECK(batch.items[i] == Catalog::kUnknown);
  batch.items.resize(read);
  return batch;
}

void check_same(const Batch& batch, const Batch& expected) {
  CHECK(batch.items == expected.items);
  CHECK(batch.begin == expected.begin);
  CHECK(batch.length == expected.length);
  CHECK(batch.targets == expected.targets);
  CHECK(batch.weights == expected.weights);
  CHECK(batch.preferences == expected.preferences);
  CHECK(batch.weight == expected.weight);
}

constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();

}  // namespace

TEST_CASE("a device builds the batch that the host builds of the same examples") {
  struct Case {
    Sessions sessions;
    std::int64_t history, batch_size;
  };
  const Sessions alike({std::vector<std::int32_t>(300, 7)}, {0, 300});  // one product, one session
  const Case cases[] = {{random_sessions(80, 9, false, 1), 0, 1},
                        {random_sessions(80, 9, true, 2), 0, 31},
                        {random_sessions(80, 9, true, 3), 3, 33},
                        {random_sessions(80, 30, false, 4), 5, 2000},
                        {random_sessions(3, 900, true, 5), 50, 64},
                        {random_sessions(2, 700, false, 6), 0, 65},
                        {alike, 0, 40},
                        {Sessions({4, 5}, {0, 2}), 0, 8}};
  for (const auto& device : check::devices())
    for (const Case& c : cases) {
      CAPTURE(device->name());
      CAPTURE(c.history);
      CAPTURE(c.batch_size);
      const auto targets = example_targets(c.sessions);
      Batches batches(device, c.sessions, targets, c.history, c.batch_size, 3, kAll);
      CHECK(!batches.streamed());
      REQUIRE(batches.examples() == static_cast<std::int64_t>(targets.size()));
      BatchBuilder builder(c.sessions, c.history);
      for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
        batches.start(epoch, epoch == 0);
        std::vector<std::int64_t> seen;
        for (std::int64_t i = 0; i < batches.size(); ++i) {
          const BatchPlace& place = batches.at(i);
          CHECK(place.B == std::min(c.batch_size, batches.examples() - i * c.batch_size));
          // Which examples these are, as the device is told.
          std::vector<std::uint64_t> examples(place.B);
          device->copy_out(examples.data(), place.data.examples + place.first, examples.size() * sizeof examples[0]);
          std::vector<std::int64_t> of_batch;
          for (std::uint64_t example : examples)
            of_batch.push_back(static_cast<std::int64_t>(example >> TrainingExamples::kLengthBits));
          seen.insert(seen.end(), of_batch.begin(), of_batch.end());
          CHECK(std::is_sorted(of_batch.begin(), of_batch.end()));
          Batch expected;
          builder.build(of_batch, expected);
          check_same(built(device, place), expected);
        }
        if (targets.size() > 100 && batches.size() > 1) CHECK(seen != targets);  // they are shuffled
        std::sort(seen.begin(), seen.end());
        CHECK(seen == targets);
      }
    }
}

namespace {

std::vector<std::uint8_t> random_labels(std::int64_t events, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> labels;
  for (std::int64_t i = 0; i < events; ++i) labels.push_back(static_cast<std::uint8_t>(random() % 8));
  return labels;
}

Sessions labelled(const Sessions& sessions, unsigned seed) {
  return {{sessions.items().begin(), sessions.items().end()},
          {sessions.offsets().begin(), sessions.offsets().end()},
          {},
          {sessions.weights().begin(), sessions.weights().end()},
          random_labels(sessions.events(), seed)};
}

constexpr Objectives objectives_of(int count) { return {.count = count, .gains = {4, 0, 2.5f}, .seed = 11}; }

}  // namespace

TEST_CASE("examples have preferences, and weigh what these say their labels are worth") {
  for (const auto& device : check::devices())
    for (int K : {1, 2, 3})
      for (bool weighted : {false, true}) {
        CAPTURE(device->name());
        CAPTURE(K);
        const Sessions sessions = labelled(random_sessions(300, 9, weighted, 21), 22);
        const Objectives objectives = objectives_of(K);
        Batches batches(device, sessions, example_targets(sessions), 0, 200, 3, kAll, objectives);
        BatchBuilder builder(sessions);
        batches.start(0, false);
        for (std::int64_t i = 0; i < batches.size(); ++i) {
          const BatchPlace& place = batches.at(i);
          std::vector<std::uint64_t> examples(place.B);
          device->copy_out(examples.data(), place.data.examples + place.first, examples.size() * sizeof examples[0]);
          std::vector<std::int64_t> targets;
          for (std::uint64_t example : examples)
            targets.push_back(static_cast<std::int64_t>(example >> TrainingExamples::kLengthBits));
          Batch expected;
          builder.build(targets, expected);
          const Batch batch = built(device, place, 5 + i);
          CHECK(batch.items == expected.items);
          REQUIRE(batch.preferences.size() == targets.size() * K);
          for (std::size_t b = 0; b < targets.size(); ++b) {
            const auto words = philox(objectives.seed, streams::kObjectives + static_cast<std::uint64_t>(5 + i), b);
            std::vector<double> shares(K);
            if (words[3] % 4 == 2) shares[words[3] / 4 % K] = 1;
            if (words[3] % 4 == 3) {
              std::vector<double> ends{0};
              for (int k = 0; k < K; ++k) ends.push_back(uniform(words[k]));
              std::sort(ends.begin(), ends.end());
              for (int k = 0; k < K; ++k) shares[k] = ends[k + 1] - ends[k];
            }
            double factor = 1;
            for (int k = 0; k < K; ++k) {
              CHECK(batch.preferences[b * K + k] == static_cast<float>(shares[k]));
              if (objectives.gains[k] == 0) continue;  // as for clicks
              const bool counts = sessions.labels()[targets[b]] >> k & 1;
              factor += shares[k] * ((counts ? objectives.gains[k] : 0) - 1);
            }
            factor *= (words[3] % 4 < 2 ? 1 : 0.1) / 0.55;
            CHECK(batch.weights[b] == doctest::Approx(expected.weights[b] * factor).epsilon(1e-5));
          }
        }
      }
}

TEST_CASE("half of all preferences are for clicks, a quarter for one objective, a quarter uniform over all mixtures") {
  for (int K : {1, 2, 3}) {
    constexpr int kDraws = 60'000;
    std::vector<double> mean(K + 1), squares(K + 1), whole(K + 1);
    int mixed = 0;
    for (int i = 0; i < kDraws; ++i) {
      const auto drawn = preference(philox(7, 1, static_cast<std::uint64_t>(i)), K);
      std::vector<double> shares(drawn.begin(), drawn.begin() + K);
      shares.push_back(1);
      for (int k = 0; k < K; ++k) {
        CHECK(drawn[k] >= 0);
        shares[K] -= drawn[k];
      }
      CHECK(shares[K] >= 0);
      const auto all = std::find(shares.begin(), shares.end(), 1);
      if (all != shares.end()) {
        whole[all - shares.begin()] += 1.0 / kDraws;
        continue;
      }
      ++mixed;
      for (int k = 0; k <= K; ++k) {
        mean[k] += shares[k];
        squares[k] += shares[k] * shares[k];
      }
    }
    for (int k = 0; k < K; ++k) CHECK(whole[k] == doctest::Approx(1.0 / 4 / K).epsilon(0.03));
    CHECK(whole[K] == doctest::Approx(1.0 / 2).epsilon(0.03));
    for (int k = 0; k <= K; ++k) {  // of Dirichlet(1, …, 1)
      CHECK(mean[k] / mixed == doctest::Approx(1.0 / (K + 1)).epsilon(0.02));
      CHECK(squares[k] / mixed == doctest::Approx(2.0 / ((K + 1) * (K + 2))).epsilon(0.03));
    }
  }
}

TEST_CASE("sessions without room travel in pieces, and batches are the same") {
  const Sessions sessions = labelled(random_sessions(200, 12, true, 7), 8);
  const auto targets = example_targets(sessions);
  for (const auto& device : check::devices())
    for (std::int64_t history : {0, 4})
      for (std::int64_t room : {std::int64_t{0}, std::int64_t{9000}}) {
        CAPTURE(device->name());
        CAPTURE(room);
        Batches whole(device, sessions, targets, history, 32, 3, kAll, objectives_of(2));
        Batches pieces(device, sessions, targets, history, 32, 3, room, objectives_of(2));
        CHECK(pieces.streamed() == !device->reads_host_memory());
        for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
          whole.start(epoch, true);
          pieces.start(epoch, true);
          for (std::int64_t i = epoch == 2 ? 5 : 0; i < whole.size(); ++i) {  // in the last one as a run that resumes
            const BatchPlace& expected = whole.at(i);
            const BatchPlace& place = pieces.at(i);
            CHECK(place.L == expected.L);  // so that a device computes alike
            check_same(built(device, place), built(device, expected));
          }
        }
      }
}

TEST_CASE("an epoch trains to the same bits from pieces as from what is there, and as from batches of the host") {
  const Sessions sessions = labelled(random_sessions(60, 8, true, 8), 9);
  const auto targets = example_targets(sessions);
  Config config = Config::preset("official");
  config.dim = 12;
  config.dropout = 0.1f;
  config.objectives = {"cart", "order"};
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const auto trained = [&](std::int64_t room, bool on_host) {
      Model model(config, 50, device);
      Optimizer optimizer({}, model);
      Batches batches(device, sessions, targets, 4, 32, 3, room, objectives_of(2));
      std::int64_t number = 0;
      for (std::int64_t epoch = 0; epoch < 2; ++epoch) {  // in the second a GPU replays what it has recorded
        batches.start(epoch, epoch == 0);
        for (std::int64_t i = 0; i < batches.size(); ++i) {
          const BatchPlace& place = batches.at(i);
          ++number;
          on_host ? optimizer.enqueue(built(device, place, number), 0.01f) : optimizer.enqueue(place, 0.01f);
        }
      }
      CHECK(!optimizer.wait().stopped);
      return model.download();
    };
    const auto expected = trained(kAll, false);
    CHECK(trained(2000, false) == expected);
    CHECK(trained(kAll, true) == expected);
  }
}

TEST_CASE("a history that no example can hold is an error, which a bound of it is the way round") {
  const std::int64_t longest = std::int64_t{1} << TrainingExamples::kLengthBits;
  const Sessions sessions(std::vector<std::int32_t>(longest + 1, 0), {0, longest + 1});
  const std::vector<std::int64_t> targets{longest};
  const auto device = open_device("cpu");
  CHECK_THROWS_AS(Batches(device, sessions, targets, 0, 1, 3, kAll), std::invalid_argument);
  CHECK(Batches(device, sessions, targets, 50, 1, 3, kAll).examples() == 1);
}
