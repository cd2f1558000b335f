// What clusters see of sessions against naive loops, and their models together against each of them alone.
#include "stamp/clusters.h"
#include "tests/check.h"

using namespace stamp;

namespace {

constexpr std::int64_t kProducts = 40;

struct Event {
  std::int32_t item;
  std::int64_t timestamp;
  float weight;
  std::uint8_t label;  // of Sessions::labels, while others here are of clusters
};
using Log = std::vector<std::vector<Event>>;

// Sessions of 0 to 7 events; now and then an unknown product, or a weight of 0.
Log random_log(int sessions, unsigned seed) {
  std::mt19937 random(seed);
  Log log;
  for (int s = 0; s < sessions; ++s) {
    log.emplace_back();
    for (unsigned i = random() % 8; i > 0; --i) {
      const auto item = static_cast<std::int32_t>(random() % (kProducts + 2)) - 1;  // kProducts: beyond all tables
      log.back().push_back({item, static_cast<std::int64_t>(s * 100 + 10 - i), static_cast<float>(random() % 4) / 2,
                            static_cast<std::uint8_t>(random() % 8)});
    }
  }
  return log;
}

Sessions sessions_of(const Log& log, bool timed = true, bool weighted = true, bool labelled = true) {
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0}, timestamps;
  std::vector<float> weights;
  std::vector<std::uint8_t> labels;
  for (const auto& session : log) {
    for (const Event& event : session) {
      items.push_back(event.item);
      if (timed) timestamps.push_back(event.timestamp);
      if (weighted) weights.push_back(event.weight);
      if (labelled) labels.push_back(event.label);
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return Sessions(items, offsets, timestamps, weights, labels);
}

// The cluster of each product, -1 for some; products of a cluster are numbered by `rows_of`.
std::vector<std::int32_t> random_labels(int clusters, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> labels(kProducts);
  for (auto& label : labels) label = static_cast<std::int32_t>(random() % (clusters + 1)) - 1;
  return labels;
}

std::vector<std::int32_t> rows_of(const std::vector<std::int32_t>& labels, std::int32_t cluster) {
  std::vector<std::int32_t> rows(labels.size(), Catalog::kUnknown);
  std::int32_t next = 0;
  for (std::size_t v = 0; v < labels.size(); ++v)
    if (labels[v] == cluster) rows[v] = next++;
  return rows;
}

std::int32_t row_of(const std::vector<std::int32_t>& rows, std::int32_t item) {
  return item < 0 || item >= kProducts ? -1 : rows[item];
}

// By the words of the header, an example at a time.
ClusterSessions naive(const Log& log, const std::vector<std::int32_t>& rows, bool keep_misses) {
  ClusterSessions result;
  Log kept;
  for (const auto& session : log) {
    std::vector<Event> own;
    bool any = false;
    for (std::size_t i = 0; i < session.size(); ++i) {
      const std::int32_t row = row_of(rows, session[i].item);
      const bool anchored = i > 0 && row_of(rows, session[i - 1].item) >= 0;
      const bool example = anchored && session[i].weight > 0;
      if (example) ++result.examples;
      if (example && row >= 0) ++result.inside;
      const auto& [item, timestamp, weight, label] = session[i];
      if (row >= 0) own.push_back({row, timestamp, i > 0 && !anchored ? 0 : weight, label});
      if (row < 0 && example && keep_misses) own.push_back({-1, timestamp, weight, label});
      if (example && (row >= 0 || keep_misses)) any = true;
    }
    if (any) kept.push_back(own);
  }
  result.sessions = sessions_of(kept);
  return result;
}

struct Clustered {
  std::vector<ClusterModel> models;
  std::vector<std::int32_t> labels;
};

Clustered models_of(const check::DevicePtr& device, int clusters, std::int64_t history = 0) {
  Clustered result{{}, random_labels(clusters, 5)};
  for (std::int32_t c = 0; c < clusters; ++c) {
    ClusterModel part;
    for (std::size_t v = 0; v < result.labels.size(); ++v)
      if (result.labels[v] == c) part.rows.push_back(static_cast<std::int32_t>(v));
    std::shuffle(part.rows.begin(), part.rows.end(), std::mt19937(c));  // any order will do
    Config config = Config::preset("paper");
    config.dim = 9;
    config.item_std = 0.5f;
    config.history = history;
    config.seed = static_cast<std::uint64_t>(c) + 1;
    part.model = std::make_shared<Model>(config, static_cast<std::int64_t>(part.rows.size()), device);
    result.models.push_back(part);
  }
  return result;
}

}  // namespace

TEST_CASE("what a cluster sees of sessions") {
  for (unsigned seed = 0; seed < 40; ++seed) {
    const Log log = random_log(30, seed);
    const auto rows = rows_of(random_labels(3, seed + 100), 1);
    for (bool keep_misses : {false, true}) {
      const ClusterSessions expected = naive(log, rows, keep_misses);
      const ClusterSessions actual = cluster_sessions(sessions_of(log), rows, keep_misses);
      CHECK(actual.examples == expected.examples);
      CHECK(actual.inside == expected.inside);
      CHECK(actual.sessions.fingerprint() == expected.sessions.fingerprint());
      const auto targets = example_targets(actual.sessions);
      CHECK(static_cast<std::int64_t>(targets.size()) == (keep_misses ? actual.examples : actual.inside));
    }
  }
}

TEST_CASE("sessions of one cluster stay as they are; columns that are absent stay absent") {
  Log log = random_log(30, 7);
  std::erase_if(log, [](const auto& session) { return session.size() < 2; });
  for (auto& session : log)
    for (Event& event : session) event = {std::abs(event.item) % 8, event.timestamp, 1, event.label};
  std::vector<std::int32_t> rows(kProducts);
  for (std::int32_t v = 0; v < kProducts; ++v) rows[v] = v;
  for (bool timed : {false, true})
    for (bool weighted : {false, true})
      for (bool labelled : {false, true})
        for (bool keep_misses : {false, true}) {
          const Sessions all = sessions_of(log, timed, weighted, labelled);
          const ClusterSessions own = cluster_sessions(all, rows, keep_misses);
          CHECK(own.sessions.fingerprint() == all.fingerprint());
          CHECK(own.ceiling() == 1);
        }
  const ClusterSessions none = cluster_sessions(sessions_of(log), std::vector<std::int32_t>(kProducts, -1), true);
  CHECK(none.sessions.size() == 0);
  CHECK(none.ceiling() == 0);
}

TEST_CASE("every example with an anchor in a cluster belongs to exactly one") {
  constexpr int kClusters = 4;
  for (unsigned seed = 0; seed < 10; ++seed) {
    const Log log = random_log(50, seed);
    const Sessions sessions = sessions_of(log);
    const auto labels = random_labels(kClusters, seed);
    const auto counts = count_cluster_examples(sessions, labels, kClusters);
    REQUIRE(counts.size() == kClusters);
    std::int64_t examples = 0;
    for (std::int32_t c = 0; c < kClusters; ++c) {
      const ClusterSessions own = cluster_sessions(sessions, rows_of(labels, c), true);
      CHECK(counts[c].examples == own.examples);
      CHECK(counts[c].inside == own.inside);
      examples += counts[c].examples;
    }
    std::int64_t anchored = 0;
    for (std::int64_t target : example_targets(sessions)) anchored += row_of(labels, sessions.items()[target - 1]) >= 0;
    CHECK(examples == anchored);
  }
  const std::vector<std::int32_t> wrong{0, 4};
  CHECK_THROWS_WITH_AS(count_cluster_examples(Sessions(), wrong, kClusters),
                       "count_cluster_examples: product 1 has label 4, expected -1 to 3", std::invalid_argument);
}

TEST_CASE("models of clusters rank each example as its own cluster's model does alone") {
  const Sessions sessions = sessions_of(random_log(60, 3));
  for (const auto& device : check::devices())
    for (std::int64_t history : {0, 2})
      for (std::int64_t k : {5, 30}) {  // more than a cluster has
        CAPTURE(device->name());
        CAPTURE(history);
        CAPTURE(k);
        const auto [models, labels] = models_of(device, 3, history);
        const auto ranker = cluster_ranker(kProducts, models, device);
        CHECK(ranker->V() == kProducts);
        Batch batch;
        BatchBuilder builder(sessions);
        const auto targets = example_targets(sessions);
        builder.build(targets, batch);
        Ranking together;
        for (int again = 0; again < 2; ++again) ranker->rank(batch, k, together);
        REQUIRE(together.ids.size() == static_cast<std::size_t>(batch.B() * k));
        int unanswered = 0, outside = 0, answered = 0;
        for (std::int64_t b = 0; b < batch.B(); ++b) {
          const std::span history_of(batch.items.data() + batch.begin[b], static_cast<std::size_t>(batch.length[b]));
          const std::int32_t cluster = row_of(labels, history_of.back());
          std::vector<std::int32_t> ids(together.ids.begin() + b * k, together.ids.begin() + (b + 1) * k);
          if (cluster < 0) {
            CHECK(ids == std::vector<std::int32_t>(static_cast<std::size_t>(k), -1));
            CHECK(together.above[b] == kProducts);
            CHECK(together.tied[b] == 0);
            ++unanswered;
            continue;
          }
          const auto& [rows, model] = models[cluster];
          const auto local = [&](std::int32_t item) {
            const auto found = std::find(rows.begin(), rows.end(), item);
            return found == rows.end() ? -1 : static_cast<std::int32_t>(found - rows.begin());
          };
          std::vector<std::int32_t> own;
          for (std::int32_t item : history_of)
            if (local(item) >= 0) own.push_back(local(item));
          if (history > 0 && static_cast<std::int64_t>(own.size()) > history)
            own.erase(own.begin(), own.end() - history);
          Batch one;
          one.add_history(own);
          one.targets[0] = local(batch.targets[b]);
          Ranking alone;
          model_ranker(*model, device)->rank(one, k, alone);
          for (auto& id : alone.ids) id = id < 0 ? -1 : rows[id];
          const bool inside = one.targets[0] >= 0;
          CHECK(together.above[b] == (inside ? alone.above[0] : kProducts));
          CHECK(together.tied[b] == (inside ? alone.tied[0] : 0));
          CHECK(ids == alone.ids);
          ++(inside ? answered : outside);
        }
        CHECK(std::min({unanswered, outside, answered}) > 0);
      }
}

TEST_CASE("one cluster that holds everything is its model") {
  const Sessions sessions = sessions_of(random_log(60, 4));
  const auto counts = item_counts(sessions, kProducts);
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    Config config;
    config.dim = 9;
    config.item_std = 0.5f;
    const auto model = std::make_shared<Model>(config, kProducts, device);
    std::vector<std::int32_t> rows(kProducts);
    for (std::int32_t v = 0; v < kProducts; ++v) rows[v] = v;
    for (std::int64_t batch : {1, 7, 512}) {
      const MetricsOptions options{.k = {3, 20}, .batch = batch};
      const Metrics expected = evaluate(*model_ranker(*model, device), sessions, counts, options);
      const Metrics actual = evaluate(*cluster_ranker(kProducts, {{rows, model}}, device), sessions, counts, options);
      for (std::size_t i = 0; i < 2; ++i) {
        CHECK(actual.at[i].mrr == expected.at[i].mrr);
        CHECK(actual.at[i].coverage == expected.at[i].coverage);
      }
      CHECK(actual.cold_targets == expected.cold_targets);
      CHECK(actual.unanswered == expected.unanswered);
      CHECK(actual.unreachable == 0);
    }
  }
}

TEST_CASE("targets out of reach are counted, and bound what can be hit") {
  // Products 0 and 1 are one cluster, 2 and 3 another, 4 is in none; training saw all but 3.
  const std::vector<std::int64_t> counts{1, 1, 1, 0, 1};
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    Config config;
    config.dim = 4;
    config.item_std = 0.5f;
    const std::vector<ClusterModel> models{{{0, 1}, std::make_shared<Model>(config, 2, device)},
                                           {{2, 3}, std::make_shared<Model>(config, 2, device)}};
    const auto ranker = cluster_ranker(5, models, device);
    // 1 after 0 and 0 after 1: inside. 2 after 0: another cluster. 3: cold. 0 after 4: an anchor of no cluster.
    // 1 after ?: unanswered.
    const Sessions sessions({0, 1, 0, 2, 3, 4, 0, -1, 1}, {0, 5, 7, 9});
    const Metrics m = evaluate(*ranker, sessions, counts, {.k = {2}});
    CHECK(m.examples == 6);
    CHECK(m.at[0].hr == doctest::Approx(2.0 / 6));  // two products, both listed
    CHECK(m.unreachable == 2);
    CHECK(m.cold_targets == 1);
    CHECK(m.unanswered == 1);

    auto values = models[0].model->download();  // NaN scores are misses, of a cluster's model too
    for (float& value : values["attention.w0"]) value = NAN;
    const auto spoilt = std::make_shared<Model>(config, 2, device);
    spoilt->upload(values);
    CHECK(
        evaluate(*cluster_ranker(5, {{{0, 1}, spoilt}, models[1]}, device), sessions, counts, {.k = {2}}).unreachable ==
        4);
    CHECK_THROWS_WITH_AS(cluster_ranker(5, {models[0], models[0]}, device),
                         "cluster_ranker: product 0 is in two clusters", std::invalid_argument);
    CHECK_THROWS_WITH_AS(cluster_ranker(2, models, device), "cluster_ranker: row 2, expected 0 to 1",
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(cluster_ranker(5, {{{0}, models[0].model}}, device),
                         "cluster_ranker: 1 rows for a model of 2 products", std::invalid_argument);
  }
}
