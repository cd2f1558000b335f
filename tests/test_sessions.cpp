// Catalogs and sessions against brute force.
#include <cmath>
#include <map>
#include <numeric>

#include "stamp/sessions.h"
#include "tests/check.h"

using namespace stamp;

TEST_CASE("a catalog numbers ids in the order of their first appearance") {
  Catalog integers(Catalog::Kind::integers), strings(Catalog::Kind::strings);
  std::map<std::int64_t, std::int32_t> expected;
  std::mt19937_64 random(1);
  for (int i = 0; i < 50'000; ++i) {
    const std::int64_t id = static_cast<std::int64_t>(random() % 10'000) * 4096 - 7;
    const std::int32_t row = expected.try_emplace(id, static_cast<std::int32_t>(expected.size())).first->second;
    CHECK(integers.add(id) == row);
    CHECK(strings.add(std::to_string(id)) == row);
  }
  for (const auto& [id, row] : expected) {
    CHECK(integers.find(id) == row);
    CHECK(strings.find(Id(std::to_string(id))) == row);
    CHECK(strings.string(row) == std::to_string(id));
  }
  CHECK(integers.size() == static_cast<std::int64_t>(expected.size()));
  CHECK(integers.find(std::int64_t{5}) == Catalog::kUnknown);
  CHECK(Catalog().find(std::int64_t{5}) == Catalog::kUnknown);
  CHECK_THROWS_AS(integers.add(std::string_view("x")), std::invalid_argument);
  CHECK_THROWS_WITH_AS(integers.find(std::string_view("5")), "Catalog: string id '5' for a catalog of integers",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(strings.find(Id(std::int64_t{5})), "Catalog: integer id 5 for a catalog of strings",
                       std::invalid_argument);
  CHECK_THROWS_AS(integers.id(-1), std::invalid_argument);
}

TEST_CASE("events are grouped, put in order of time, stably; sessions by their end") {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    const std::size_t n = random() % 60;
    const bool timed = round % 3 != 0;
    std::vector<std::int64_t> session, time;
    std::vector<std::int32_t> item;
    std::vector<float> weight;
    std::vector<std::uint8_t> label;
    for (std::size_t i = 0; i < n; ++i) {
      session.push_back(static_cast<std::int64_t>(random() % 8) * 1'000'000'007);
      item.push_back(static_cast<std::int32_t>(i));
      time.push_back(static_cast<std::int64_t>(random() % 10));
      weight.push_back(static_cast<float>(i) / 2);
      label.push_back(static_cast<std::uint8_t>(random() % 8));
    }
    std::vector<std::int64_t> order;
    const Sessions sessions = Sessions::from_events(
        {session, item, timed ? std::span<const std::int64_t>(time) : std::span<const std::int64_t>(), weight, label},
        &order);

    std::map<std::int64_t, std::vector<std::size_t>> groups;
    std::vector<std::int64_t> ids;
    for (std::size_t i = 0; i < n; ++i) {
      if (!groups.count(session[i])) ids.push_back(session[i]);
      groups[session[i]].push_back(i);
    }
    if (timed) {
      for (auto& [id, rows] : groups)
        std::stable_sort(rows.begin(), rows.end(), [&](auto a, auto b) { return time[a] < time[b]; });
      std::stable_sort(ids.begin(), ids.end(),
                       [&](auto a, auto b) { return time[groups[a].back()] < time[groups[b].back()]; });
    }
    REQUIRE(sessions.size() == static_cast<std::int64_t>(ids.size()));
    std::size_t event = 0;
    for (std::size_t s = 0; s < ids.size(); ++s)
      for (std::size_t row : groups[ids[s]]) {
        CHECK(sessions.items()[event] == item[row]);
        CHECK(sessions.weights()[event] == weight[row]);
        CHECK(sessions.labels()[event] == label[row]);
        CHECK(order[event] == static_cast<std::int64_t>(row));
        if (timed) CHECK(sessions.timestamps()[event] == time[row]);
        ++event;
      }
    if (timed) {
      std::int64_t before = 0;
      for (auto id : ids) before += time[groups[id].back()] < 5;
      CHECK(sessions.count_before(5) == before);
    }
  }
}

TEST_CASE("batches hold each session's events once, and every example whole") {
  std::mt19937 random(3);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (int s = 0; s < 50; ++s) {
    for (unsigned i = random() % 9; i > 0; --i) items.push_back(static_cast<std::int32_t>(random() % 1000));
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  const Sessions sessions(items, offsets);
  for (std::int64_t history : {0, 1, 3}) {
    auto targets = example_targets(sessions, 2);
    std::shuffle(targets.begin(), targets.end(), random);
    targets.resize(targets.size() / 2);
    Batch batch;
    BatchBuilder(sessions, history).build(targets, batch);
    std::sort(targets.begin(), targets.end());
    REQUIRE(batch.B() == static_cast<std::int64_t>(targets.size()));
    CHECK(std::is_sorted(batch.begin.begin(), batch.begin.end()));
    CHECK(batch.L() <= sessions.events());
    for (std::int64_t b = 0; b < batch.B(); ++b) {
      const std::int64_t target = targets[b];
      const std::int64_t start = *(std::upper_bound(offsets.begin(), offsets.end(), target) - 1);
      const std::int64_t length = history ? std::min(history, target - start) : target - start;
      CHECK(batch.length[b] == length);
      CHECK(batch.targets[b] == items[target]);
      for (std::int64_t i = 0; i < length; ++i) CHECK(batch.items[batch.begin[b] + i] == items[target - length + i]);
    }
    CHECK(std::accumulate(batch.weights.begin(), batch.weights.end(), 0.0) == doctest::Approx(1));
  }
}

TEST_CASE("walking examples skips what a catalog lacks, and carries no event that nothing reads") {
  // [1 ? 2 9], [9 3 4 5], [6], [9 ? 1]: 9 is outside a catalog of 8
  const Sessions sessions({1, -1, 2, 9, 9, 3, 4, 5, 6, 9, -1, 1}, {0, 4, 8, 9, 12});
  using Example = std::pair<std::vector<std::int32_t>, std::int32_t>;
  const auto walk = [&](const WalkOptions& options, std::int32_t skipped = 99) {
    std::vector<Example> examples;
    std::int64_t done = 0;
    walk_examples(
        sessions, options, [&](std::int32_t target, std::int64_t known) { return known > 0 && target != skipped; },
        [&](const Batch& batch, std::int64_t sessions_done) {
          std::int64_t read = 0;
          for (std::int64_t b = 0; b < batch.B(); ++b) {
            const auto first = batch.items.begin() + batch.begin[b];
            examples.emplace_back(std::vector<std::int32_t>(first, first + batch.length[b]), batch.targets[b]);
            read = std::max<std::int64_t>(read, batch.begin[b] + batch.length[b]);
          }
          CHECK(batch.L() == read);
          done = sessions_done;
          return true;
        });
    CHECK(done == sessions.size());
    return examples;
  };
  const std::vector<Example> all{{{1}, -1}, {{1}, 2}, {{1, 2}, -1}, {{3}, 4}, {{3, 4}, 5}};
  for (std::int64_t batch : {1, 2, 512}) CHECK(walk({.V = 8, .batch = batch}) == all);
  CHECK(walk({.V = 8, .history = 1}) == std::vector<Example>{{{1}, -1}, {{1}, 2}, {{2}, -1}, {{3}, 4}, {{4}, 5}});
  CHECK(walk({.V = 8, .last_only = true}) == std::vector<Example>{{{1, 2}, -1}, {{3, 4}, 5}});
  CHECK(walk({.V = 8, .min_history = 3}) == std::vector<Example>{{{1, 2}, -1}, {{3, 4}, 5}});
  CHECK(walk({.V = 8}, Catalog::kUnknown) == std::vector<Example>{{{1}, 2}, {{3}, 4}, {{3, 4}, 5}});
}

TEST_CASE("slices, concatenation and fingerprints") {
  const Sessions all({1, 2, 3, 4, 5, 6}, {0, 2, 3, 6}, {1, 2, 3, 4, 5, 6}, {1, 1, 2, 1, 1, 1});
  const Sessions both = Sessions::concatenate(all.slice(0, 1), all.slice(1, 3));
  CHECK(both.fingerprint() == all.fingerprint());
  CHECK(all.slice(1, 2).items()[0] == 3);
  CHECK(all.slice(0, 2).fingerprint() != all.fingerprint());
  CHECK_THROWS_AS(all.slice(2, 5), std::invalid_argument);
}

TEST_CASE("labels are cut and joined as events are, 0 where nobody said, and are part of the fingerprint") {
  using Labels = std::vector<std::uint8_t>;
  const auto labels_of = [](const Sessions& sessions) {
    return Labels(sessions.labels().begin(), sessions.labels().end());
  };
  const std::vector<std::int32_t> items{1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> offsets{0, 2, 3, 6}, times{1, 2, 3, 4, 5, 6};
  const std::vector<float> weights{1, 1, 2, 1, 1, 1};
  const Sessions plain(items, offsets, times, weights), labelled(items, offsets, times, weights, {7, 0, 1, 2, 3, 4});
  CHECK(labels_of(plain).empty());
  CHECK(labels_of(labelled.slice(1, 3)) == Labels{1, 2, 3, 4});
  CHECK(labels_of(plain.slice(1, 3)).empty());
  CHECK(Sessions::concatenate(labelled.slice(0, 1), labelled.slice(1, 3)).fingerprint() == labelled.fingerprint());
  CHECK(labels_of(Sessions::concatenate(labelled.slice(0, 1), plain.slice(1, 3))) == Labels{7, 0, 0, 0, 0, 0});
  CHECK(labels_of(Sessions::concatenate(plain.slice(0, 1), labelled.slice(1, 3))) == Labels{0, 0, 1, 2, 3, 4});
  CHECK(labels_of(Sessions::concatenate(plain, plain)).empty());
  CHECK(labels_of(Sessions({-1, 1, -1, 2}, {0, 2, 4}, {}, {}, {1, 2, 3, 4}).without_unknown()) == Labels{2, 4});

  CHECK(plain.fingerprint() == 0x8811e678e9254c9d);  // as before there were labels: models and checkpoints hold it
  const Sessions all_zero(items, offsets, times, weights, {0, 0, 0, 0, 0, 0});
  CHECK(labelled.fingerprint() != plain.fingerprint());
  CHECK(all_zero.fingerprint() != plain.fingerprint());
  CHECK(all_zero.fingerprint() != labelled.fingerprint());
}

TEST_CASE("an event leads to what comes of its product at or after it in its session: against all pairs") {
  std::mt19937 random(4);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::int32_t> items;
    std::vector<std::int64_t> offsets{0};
    std::vector<std::uint8_t> kinds, expected;
    for (unsigned s = random() % 6; s > 0; --s) {
      for (unsigned i = random() % 12; i > 0; --i) {
        items.push_back(static_cast<std::int32_t>(random() % 5) - 1);
        kinds.push_back(static_cast<std::uint8_t>(random() % 4 ? 0 : random() % 8));
      }
      offsets.push_back(static_cast<std::int64_t>(items.size()));
    }
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s)
      for (std::int64_t event = offsets[s]; event < offsets[s + 1]; ++event) {
        std::uint8_t label = 0;
        for (std::int64_t later = event; later < offsets[s + 1]; ++later)
          if (items[event] >= 0 && items[later] == items[event]) label |= kinds[later];
        expected.push_back(label);
      }
    CHECK(leading_labels(Sessions(items, offsets), kinds) == expected);
  }
  const Sessions two({1, 1}, {0, 2});
  const std::vector<std::uint8_t> none, beyond{0, 8};
  CHECK(leading_labels(Sessions(), none).empty());
  CHECK_THROWS_WITH_AS(leading_labels(two, none), "leading_labels: 0 kinds for 2 events", std::invalid_argument);
  CHECK_THROWS_WITH_AS(leading_labels(two, beyond), "leading_labels: event 1 has kind 8, expected 0 to 7",
                       std::invalid_argument);
}

TEST_CASE("faded sessions weigh less the older they are, of those that have an example, and share all else") {
  const auto faded = [](const Sessions& sessions, float oldest) {
    const Sessions result = sessions.faded(oldest);
    CHECK(result.items().data() == sessions.items().data());
    return std::vector<float>(result.weights().begin(), result.weights().end());
  };
  const double half = std::sqrt(0.3);  // of a step to the next older session, of two
  // One event, none, and events that are history only: no example, and no place.
  const Sessions plain({1, 2, 9, 3, 4, 5, 6, 7}, {0, 2, 3, 3, 5, 8});
  const std::vector<double> expected{0.3, 0.3, 1, half, half, 1, 1, 1};
  const auto found = faded(plain, 0.3f);
  REQUIRE(found.size() == expected.size());
  for (std::size_t event = 0; event < expected.size(); ++event) CHECK(found[event] == doctest::Approx(expected[event]));
  const Sessions weighted({1, 2, 1, 2, 1, 2, 3}, {0, 2, 4, 7}, {}, {4, 0, 1, 3, 3, 0, 2});
  CHECK(faded(weighted, 0.5f) == std::vector<float>{4, 0, 0.5f, 1.5f, 3, 0, 2});
  CHECK(faded(plain, 1).empty());
  CHECK(faded(Sessions({1, 2, 3}, {0, 2, 3}), 0.5f).empty());  // the only one is the newest
  CHECK(faded(Sessions(), 0.5f).empty());
  for (const float wrong : {0.0f, -0.5f, 1.5f, NAN}) CHECK_THROWS_AS(plain.faded(wrong), std::invalid_argument);
}

TEST_CASE("targets are the events of a weight above 0 that have enough before them") {
  const Sessions sessions({1, 2, 3, 4, 5, 6}, {0, 4, 6}, {}, {1, 0, 2, 0.5f, 1, 0});
  CHECK(example_targets(sessions) == std::vector<std::int64_t>{2, 3});
  CHECK(example_targets(sessions, 3) == std::vector<std::int64_t>{3});
  CHECK(example_targets(Sessions({1, 2, 3}, {0, 1, 3})) == std::vector<std::int64_t>{2});
}

TEST_CASE("unknown events can be left out, with their times and weights, and so can sessions of nothing else") {
  const Sessions sessions({-1, 1, -1, 2, -1, -1, 3}, {0, 4, 6, 6, 7}, {1, 2, 3, 4, 5, 6, 7}, {1, 2, 3, 4, 5, 6, 7});
  CHECK(sessions.without_unknown().fingerprint() == Sessions({1, 2, 3}, {0, 2, 3}, {2, 4, 7}, {2, 4, 7}).fingerprint());
  const Sessions known({1, 2}, {0, 2});
  CHECK(known.without_unknown().fingerprint() == known.fingerprint());
  CHECK(Sessions({-1}, {0, 1}).without_unknown().size() == 0);
}

TEST_CASE("sessions that cannot be are refused") {
  CHECK_THROWS_AS(Sessions({1, 2}, {0, 1}), std::invalid_argument);
  CHECK_THROWS_AS(Sessions({1, 2}, {0, 2, 1, 2}), std::invalid_argument);
  CHECK_THROWS_AS(Sessions({-2}, {0, 1}), std::invalid_argument);
  CHECK_THROWS_AS(Sessions({1}, {0, 1}, {1, 2}), std::invalid_argument);
  CHECK_THROWS_WITH_AS(Sessions({1}, {0, 1}, {}, {-1}), "Sessions: event 0 has weight -1, expected 0 or more",
                       std::invalid_argument);
  CHECK_THROWS_AS(Sessions({1}, {0, 1}, {}, {NAN}), std::invalid_argument);
  CHECK_THROWS_WITH_AS(Sessions({1}, {0, 1}, {}, {}, {1, 2}), "Sessions: 2 labels for 1 events", std::invalid_argument);
  CHECK_THROWS_WITH_AS(Sessions({1}, {0, 1}, {}, {}, {8}), "Sessions: event 0 has label 8, expected 0 to 7",
                       std::invalid_argument);
  const std::vector<std::int64_t> session{1, 1};
  const std::vector<std::int32_t> item{1, 2};
  const std::vector<std::uint8_t> label{1};
  CHECK_THROWS_WITH_AS(Sessions::from_events({session, item, {}, {}, label}),
                       "Sessions::from_events: 1 labels for 2 events", std::invalid_argument);
  CHECK_THROWS_AS(Sessions({1}, {0, 1}).count_before(3), std::invalid_argument);
}
