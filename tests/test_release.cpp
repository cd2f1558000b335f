// Listing: brute force, batches, exclusions, allow-lists, routes, zones, many threads.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include "stamp/release.h"
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

constexpr std::int64_t kProducts = 700;

Catalog catalog_of(std::int64_t V) {
  Catalog catalog;
  for (std::int64_t id = 0; id < V; ++id) catalog.add(100 + id);
  return catalog;
}

// What successors are counted in: most products have some 60.
const Sessions& visits() {
  static const Sessions sessions = [] {
    std::mt19937 random(3);
    std::vector<std::int32_t> items;
    std::vector<std::int64_t> offsets{0};
    for (int s = 0; s < 2000; ++s) {
      for (unsigned n = 2 + random() % 5; n > 0; --n) items.push_back(static_cast<std::int32_t>(random() % kProducts));
      offsets.push_back(static_cast<std::int64_t>(items.size()));
    }
    return Sessions(items, offsets);
  }();
  return sessions;
}

std::shared_ptr<Model> model_of(Score score, const std::shared_ptr<Device>& device, std::int64_t history = 0,
                                std::int64_t V = kProducts, std::uint64_t seed = 42) {
  Config config = Config::preset("official");
  config.dim = 33;
  config.item_std = 0.4f;
  config.weight_std = 0.2f;
  config.score = score;
  config.history = history;
  config.seed = seed;
  config.repeat_floors = 3;
  config.successor_floors = 2;
  config.second_floors = 1;
  auto model = std::make_shared<Model>(config, V, device);
  model->set_successors(std::make_shared<Successors>(visits(), V, V, 2));
  if (score == Score::dot)
    model->set_floors(for_every_kind(std::vector{0.5f, -1.0f, 0.2f}), {3.0f, 4.0f, 4.5f});
  else
    model->set_floors(for_every_kind(std::vector{5.0f, 3.0f, Model::kNoFloor}), {8.0f, 7.0f, 8.5f});
  return model;
}

Bundle bundle_of(std::shared_ptr<Model> model) {
  const std::int64_t V = model->V();
  return stamp::bundle_of(std::move(model), catalog_of(V), std::vector<std::int64_t>(static_cast<std::size_t>(V), 1));
}

// A query and the rows it points to.
struct Asked {
  std::vector<std::int32_t> events, exclude = {}, only = {};
  bool restricted = false;
  std::int64_t k = 20;

  operator Query() const {
    return {.events = events, .exclude = exclude, .only = only, .restricted = restricted, .k = k, .popular = false};
  }
};

std::vector<Asked> asked(int count) {
  std::mt19937 random(5);
  std::vector<Asked> queries;
  for (int i = 0; i < count; ++i) {
    Asked query;
    for (unsigned n = 1 + random() % 7; n > 0; --n)
      query.events.push_back(n % 4 == 1 && !query.events.empty() ? query.events.front()
                                                                 : static_cast<std::int32_t>(random() % kProducts));
    if (i % 3 == 1)
      for (int n = 0; n < 300; ++n) query.exclude.push_back(static_cast<std::int32_t>(random() % kProducts));
    if (i % 5 == 2) {  // few enough that they are scored alone, or many
      query.restricted = true;
      for (int n = 0; n < (i % 2 ? 40 : 400); ++n)
        query.only.push_back(static_cast<std::int32_t>(random() % kProducts));
    }
    queries.push_back(std::move(query));
  }
  return queries;
}

std::vector<Query> queries_of(const std::vector<Asked>& asked) { return {asked.begin(), asked.end()}; }

// What brute force over the oracle's scores gives: (-score, row), best first.
std::vector<std::pair<double, std::int32_t>> expected_of(const Model& model, const Asked& query) {
  reference::Case c{model.config(), model.V(), {}, {}, {}, {}, reference::successor_shares(visits(), model.V())};
  for (auto& [name, values] : model.download()) c.weights[name].assign(values.begin(), values.end());
  c.batch.add_history(query.events);
  const auto z = reference::listed_scores(c, 0);
  std::vector<std::pair<double, std::int32_t>> expected;
  for (std::int32_t v = 0; v < model.V(); ++v) {
    const bool out = std::count(query.exclude.begin(), query.exclude.end(), v) > 0;
    const bool in = !query.restricted || std::count(query.only.begin(), query.only.end(), v) > 0;
    if (in && !out) expected.push_back({-z[v], v});
  }
  std::sort(expected.begin(), expected.end());
  return expected;
}

}  // namespace

TEST_CASE("a list is what the oracle's scores give, filtered and sorted") {
  for (const auto& device : check::devices())
    for (Score score : {Score::dot, Score::cosine}) {
      CAPTURE(device->name());
      const auto model = model_of(score, device);
      const Release release(bundle_of(model));
      for (Asked query : asked(12)) {
        query.k = 30;
        const auto expected = expected_of(*model, query);
        const Listing answer = release.list(query);
        CHECK(answer.path == Path::anchor);
        CHECK(answer.cluster == 0);
        REQUIRE(answer.items.size() == std::min<std::size_t>(30, expected.size()));
        CHECK(std::set(answer.items.begin(), answer.items.end()).size() == answer.items.size());
        for (std::size_t i = 0; i < answer.items.size(); ++i) {
          CHECK(std::count(query.exclude.begin(), query.exclude.end(), answer.items[i]) == 0);
          if (query.restricted) CHECK(std::count(query.only.begin(), query.only.end(), answer.items[i]) > 0);
          CHECK(answer.scores[i] == doctest::Approx(-expected[i].first).epsilon(1e-4).scale(1e-2));
        }
      }
    }
}

TEST_CASE("a batch gives each query what it gets alone, to the bit") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const bool slow = check::slow(*device);
    const Release release(bundle_of(model_of(Score::cosine, device, 3)));
    const auto queries = asked(slow ? 530 : 1100);  // more than are answered at once
    const auto together = release.list(queries_of(queries));
    for (std::size_t i = 0; i < queries.size(); i += slow ? 53 : 7) {
      const Listing alone = release.list(queries[i]);
      CHECK(alone.items == together[i].get().items);
      CHECK(alone.scores == together[i].get().scores);
    }
  }
}

TEST_CASE("edges: unknown events, k beyond the catalog, nothing left, bad input") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Release release(bundle_of(model_of(Score::dot, device)));
    const auto list = [&](Asked query) { return release.list(query); };
    const Listing all = list({.events = {3, -1, 4}, .k = 1'000'000});
    CHECK(all.unknown == 1);
    CHECK(all.items.size() == kProducts);
    CHECK(std::set<std::int32_t>(all.items.begin(), all.items.end()).size() == kProducts);
    CHECK(all.reason.starts_with("700 of 1000000"));
    CHECK(all.items == list({.events = {3, 4}, .k = kProducts}).items);
    std::vector<std::int32_t> everything(kProducts);
    std::iota(everything.begin(), everything.end(), 0);
    CHECK(list({.events = {3}, .exclude = everything}).items.empty());
    CHECK(list({.events = {3}, .exclude = {4}, .only = {4, -1}, .restricted = true}).items.empty());
    CHECK(list({.events = {3}, .restricted = true}).items.empty());
    CHECK(list({.events = {3}, .exclude = {-1}, .only = {9, 9, 8}, .restricted = true}).items.size() == 2);
    for (const Asked& nothing : {Asked{.events = {}}, Asked{.events = {-1, -1}}}) {
      const Listing answer = list(nothing);
      CHECK(answer.path == Path::none);
      CHECK(answer.items.empty());
      CHECK(answer.reason == "no model knows any of the events");
    }
    CHECK_THROWS_WITH_AS(list({.events = {3}, .k = -1}), "recommend: k is -1, expected 1 or more",
                         std::invalid_argument);
    CHECK_THROWS_AS(list({.events = {kProducts}}), std::invalid_argument);
    CHECK_THROWS_AS(list({.events = {3}, .exclude = {-2}}), std::invalid_argument);
    CHECK_THROWS_AS(list({.events = {3}, .only = {kProducts}, .restricted = true}), std::invalid_argument);
    const std::vector<Asked> mixed{{{3}}, {{-1, -1}}, {{4}}, {.events = {}, .only = {5}, .restricted = true}, {{5}}};
    const auto answers = release.list(queries_of(mixed));  // one visitor without a known product spoils no batch
    for (std::size_t i : {0u, 2u, 4u}) CHECK(answers[i].get().items == release.list(mixed[i]).items);
    CHECK((answers[1].get().items.empty() && answers[1].get().unknown == 2));
    CHECK((answers[3].get().items.empty() && answers[3].get().unknown == 0));
  }
}

TEST_CASE("queries from many threads, alone, sharing scans and in batches, get what they get alone") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const bool slow = check::slow(*device);
    const auto model = model_of(Score::dot, device);
    const auto queries = asked(slow ? 8 : 64);
    const Release alone(bundle_of(model));
    std::vector<Listing> expected;
    for (const Asked& query : queries) expected.push_back(alone.list(query));
    const Release sharing(bundle_of(model), {.most = 4}), unshared(bundle_of(model), {.most = 1});
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int t = 0; t < 6; ++t)
      threads.emplace_back([&, t] {
        const Release& release = t % 4 == 3 ? unshared : t % 2 ? alone : sharing;
        for (int round = 0; round < (slow ? 1 : 5); ++round) {
          if (t % 3 == 0) {
            const auto answers = release.list(queries_of(queries), t == 0 ? 0 : 1);
            for (std::size_t i = 0; i < answers.size(); ++i) wrong += answers[i].get().items != expected[i].items;
          } else {
            for (std::size_t i = 0; i < queries.size(); ++i)
              wrong += release.list(queries[i]).items != expected[i].items;
          }
        }
      });
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
  }
}

namespace {

// Twelve products: cluster 7 has 0, 2, 4 and 6, cluster 3 has 1, 3 and 5; no model knows 7 to 11. Categories: "even" of
// 0 to 6 by twos and 8, "odd" of 1, 3, 5 and 7, "new" of 9 and 10; 11 has none. 10 is gone.
Bundle shop(const std::shared_ptr<Device>& device) {
  Bundle bundle;
  bundle.catalog = catalog_of(12);
  bundle.counts = {5, 3, 9, 1, 2, 8, 0, 0, 4, 6, 7, 9};
  bundle.attributes = Attributes(12);
  bundle.attributes.add(TextAttribute{
      .name = "category", .values = {"even", "odd", "new"}, .codes = {0, 1, 0, 1, 0, 1, 0, 1, 0, 2, 2, -1}});
  bundle.attributes.add(NumberAttribute{.name = "available", .values = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1}});
  bundle.route_by = {"category"};
  bundle.rules = R"({"build": [{"rule": "only_available"}],
                     "zones": {"odd": {"k": 2, "history": 1, "rules": [{"rule": "only_values", "attribute": "category",
                                                                        "values": ["odd"]}]}}})";
  for (const auto& [id, rows] : {std::pair<std::int64_t, std::vector<std::int32_t>>{7, {0, 2, 4, 6}}, {3, {1, 3, 5}}}) {
    Cluster cluster;
    cluster.id = id;
    cluster.rows = rows;
    cluster.model =
        model_of(Score::dot, device, 0, static_cast<std::int64_t>(rows.size()), static_cast<std::uint64_t>(id));
    bundle.clusters.push_back(std::move(cluster));
  }
  return bundle;
}

}  // namespace

TEST_CASE("routes: each answer comes from where it should, and says so") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Bundle bundle = shop(device);
    const Release release(shop(device));
    const auto list = [&](std::vector<std::int32_t> events, Query query = {}) {
      query.events = events;
      return release.list(query);
    };
    const auto by = [&](std::size_t cluster, std::vector<std::int32_t> history) {  // in rows of the model
      std::vector<std::int32_t> rows;
      for (const auto& [score, row] : expected_of(*bundle.clusters[cluster].model, {.events = std::move(history)}))
        rows.push_back(bundle.clusters[cluster].rows[row]);
      return rows;
    };
    const auto check = [&](const Listing& answer, Path path, std::int64_t cluster,
                           const std::vector<std::int32_t>& items) {
      CHECK(to_string(answer.path) == to_string(path));
      CHECK(answer.cluster == cluster);
      CHECK(answer.items == items);
    };
    check(list({1, 2, 3, 4}), Path::anchor, 7, by(0, {1, 2}));  // of its events, those that the model knows
    check(list({2, 1}), Path::anchor, 3, by(1, {0}));
    check(list({2, 1, 5, 8}), Path::group, 7, by(0, {1}));       // 8 is even, and so was 2
    check(list({1, 2, 5, 9}), Path::history, 3, by(1, {0, 2}));  // no model knows what is new
    check(list({1, 2, 9}), Path::history, 7, by(0, {1}));        // one each: the later one
    check(list({1, 2, -1}), Path::history, 7, by(0, {1}));
    check(list({2, 7}), Path::history, 7, by(0, {1}));  // 7 is odd, which nothing in the history is
    check(list({9, 7}), Path::category, -1, {5, 1, 3, 7});
    check(list({9}), Path::category, -1, {9});  // 10 is gone
    check(list({11}), Path::popular, -1, {2, 11, 5, 9, 0, 8, 1, 4, 3, 6, 7});
    check(list({}), Path::popular, -1, {2, 11, 5, 9, 0, 8, 1, 4, 3, 6, 7});
    check(list({9}, {.popular = false}), Path::none, -1, {});
    CHECK(list({11}).scores[0] == doctest::Approx(std::log(10.0)));
    check(list({4, 1, 2}, {.history = 1}), Path::anchor, 7, by(0, {1}));
    check(list({9, 7}, {.only = std::vector<std::int32_t>{3, 2, 7}, .restricted = true}), Path::category, -1, {3, 7});
    CHECK(list({1}).reason == "3 of 20: 3 candidates");

    const Listing zone = list({3, 1}, {.zone = "odd"});
    check(zone, Path::anchor, 3, [&] {
      auto rows = by(1, {0});
      rows.resize(2);
      return rows;
    }());
    check(list({4, 2}, {.zone = "odd"}), Path::anchor, 7, {});
    CHECK(list({4, 2}, {.zone = "odd"}).reason == "0 of 2: 4 candidates, only_values category leaves 0");
    CHECK_THROWS_WITH_AS(list({1}, {.zone = "home"}), "recommend: zone is 'home', expected one of odd",
                         std::invalid_argument);

    const auto rules = release.rules(R"([{"rule": "boost", "attribute": "category", "values": ["new"], "by": 100}])");
    CHECK(release.rules(R"([{"rule": "boost", "attribute": "category", "values": ["new"], "by": 100}])") == rules);
    CHECK(list({}, {.k = 2, .rules = rules.get()}).items == std::vector<std::int32_t>{9, 2});

    // A pin may come from elsewhere, but not from among what is gone; the group is what there is to choose from.
    const auto pins = release.rules(R"([{"rule": "pin", "products": [110, 102]}])");
    check(list({9}, {.rules = pins.get()}), Path::category, -1, {2, 9});
    check(list({2}, {.k = 2, .rules = pins.get()}), Path::anchor, 7, {2, by(0, {1})[by(0, {1})[0] == 2]});
    CHECK(list({9}).reason == "1 of 20: 2 candidates, only_available available leaves 1");
    const std::vector<std::int32_t> only{3, 2, 7};
    const Listing some = list({9, 7}, {.only = only, .restricted = true, .explain = true});
    CHECK(some.reason == "2 of 20: 4 candidates, only leaves 2");
    CHECK(some.explanation.starts_with(
        R"({"candidates":4,"rules":[{"path":"build[0]","rule":"only_available","removed":0},)"
        R"({"path":"only","rule":"only_products","removed":2}])"));
    CHECK(list({9}, {.explain = true}).explanation ==
          R"({"candidates":2,"rules":[{"path":"build[0]","rule":"only_available","removed":1}],)"
          R"("listed":[{"id":109}],"left":1,"missing":[{"id":110,"rank":1,"by":"build[0]"}]})");
  }
}

TEST_CASE("rules files that cannot be are refused with the path of the key") {
  const auto refused = [&](const std::string& rules, const char* why) {
    Bundle bundle = shop(open_device("cpu"));
    bundle.rules = rules;
    CHECK_THROWS_WITH_AS(Release(std::move(bundle)), doctest::Contains(why), std::invalid_argument);
  };
  refused("{", "rules.json is not JSON");
  refused("[]", "rules.json is [], expected an object");
  refused(R"({"zone": {}})", "rules.json.zone is unknown");
  refused(R"({"zones": []})", "zones is []");
  refused(R"({"zones": {"a": {"rule": []}}})", "zones.a.rule is unknown");
  refused(R"({"zones": {"a": {"k": 0}}})", "zones.a.k is 0, expected an integer of 1 or more");
  refused(R"({"zones": {"a": {"rules": [{"rule": "limit", "attribute": "colour", "max": 1}]}}})",
          "zones.a.rules[0].attribute is 'colour'");
  refused(R"({"build": [{"rule": "exclude_seen"}]})", "build[0].rule is 'exclude_seen'");
  refused(R"({"build": [{"rule": "limit", "attribute": "category", "max": 1}]})", "build[0].rule is 'limit'");
}

TEST_CASE("popular products come by falling clicks, however many, equals in order, with log(1 + clicks)") {
  constexpr std::int64_t V = 3000;
  std::mt19937_64 random(7);
  for (const std::int64_t most : {std::int64_t{0}, std::int64_t{1}, std::int64_t{2047}, std::int64_t{2048},
                                  std::int64_t{5'000'000}, std::numeric_limits<std::int64_t>::max()}) {
    std::vector<std::int64_t> clicks(V);
    for (auto& count : clicks)  // about as many of each length, so that every digit tells some apart
      count = static_cast<std::int64_t>(random() >> (1 + random() % 63)) & most;
    clicks[V / 2] = most;
    Bundle bundle;
    bundle.catalog = catalog_of(V);
    bundle.attributes = Attributes(V);
    bundle.counts = clicks;
    std::vector<std::int32_t> expected(V);
    std::iota(expected.begin(), expected.end(), 0);
    std::stable_sort(expected.begin(), expected.end(), [&](auto a, auto b) { return clicks[a] > clicks[b]; });
    const Listing listing = Release(std::move(bundle)).list({.k = V, .popular = true});
    CHECK(listing.path == Path::popular);
    CHECK(listing.items == expected);
    for (std::size_t i = 0; i < expected.size(); ++i)
      REQUIRE(listing.scores[i] == std::log1p(static_cast<float>(clicks[expected[i]])));
  }
}

TEST_CASE("damage of a model or its scan table is found when the bundle is opened, or by whoever loads it later") {
  const check::Folder folder;
  for (const char* kind : {".safetensors", ".scan.safetensors"}) {
    const Bundle bundle = shop(open_device("cpu"));
    save_bundle(folder / "bundle", bundle, {.scan_tables = true});
    const std::string name = concat(bundle.clusters[1].id, kind);
    const auto file = folder / "bundle" / "clusters" / name;
    std::string bytes = read_file(file);
    bytes.back() ^= 1;
    write_file(file, [&](std::ostream& out) { out << bytes; });
    const std::string why = concat(name, " has checksum");
    CHECK_THROWS_WITH_AS(BundleReader(folder / "bundle", open_device("cpu")), doctest::Contains(why.c_str()),
                         std::runtime_error);
    CHECK_THROWS_WITH_AS(Release(folder / "bundle", {.device = "cpu"}), doctest::Contains(why.c_str()),
                         std::runtime_error);
    const Release lazy(folder / "bundle", {.device = "cpu", .lazy = true});
    const auto ask_all = [&] {
      for (std::int32_t anchor = 0; anchor < 12; ++anchor) lazy.list({.events = {&anchor, 1}});
    };
    CHECK_THROWS_WITH_AS(ask_all(), doctest::Contains(why.c_str()), std::runtime_error);
  }
}

TEST_CASE("a release that is to stay on one thread starts no other, neither to load nor to list") {
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
  };
  const check::Folder folder;
  save_bundle(folder / "bundle", bundle_of(model_of(Score::dot, open_device("cpu"))), {.scan_tables = true});
  const int before = num_threads();
  set_num_threads(3);  // which ends those that there are
  const auto alone = threads();
  std::vector<std::int32_t> history{5, 6};
  const Query query{.events = history, .k = 9, .alone = true};
  const Release quiet(folder / "bundle", {.threads = 1});
  const Listing listing = quiet.list(query);
  CHECK(threads() == alone);
  const Release loud(folder / "bundle");
  CHECK(threads() > alone);
  Query shared = query;
  shared.alone = false;
  CHECK(listing.items == loud.list(shared).items);
  CHECK(listing.scores == loud.list(shared).scores);
  set_num_threads(before);
}

TEST_CASE("models are loaded when they are asked for, and go when memory is short") {
  const check::Folder folder;
  const auto device = open_device("cpu");
  save_bundle(folder / "bundle", shop(device));
  const Release whole(shop(device));
  std::vector<std::vector<std::int32_t>> anchors;
  for (std::int32_t i = 0; i < 600; ++i) anchors.push_back({i % 12});
  std::vector<Query> queries;
  for (const auto& events : anchors) queries.push_back({.events = events});
  for (const ReleaseOptions& options :
       {ReleaseOptions{.device = "cpu", .lazy = true}, ReleaseOptions{.device = "cpu", .memory = 1},
        ReleaseOptions{.device = "cpu"}}) {
    const Release release(folder / "bundle", options);
    save_bundle(folder / "bundle", shop(device));  // what it has opened stays what it was
    const auto together = release.list(queries);   // the first to ask for models, on all cores
    for (std::size_t i = 0; i < queries.size(); ++i) CHECK(together[i].get().items == whole.list(queries[i]).items);
    for (int round = 0; round < 2; ++round)
      for (std::int32_t anchor = 0; anchor < 12; ++anchor) {
        const std::vector<std::int32_t> events{anchor};
        CHECK(release.list({.events = events}).items == whole.list({.events = events}).items);
      }
  }
  Bundle other = shop(device);
  other.clusters[1].model = model_of(Score::dot, device, 0, 3, 99);
  const Release lazy(folder / "bundle", {.device = "cpu", .lazy = true});
  save_bundle(folder / "bundle", other);
  const std::vector<std::int32_t> events{1};
  CHECK(lazy.list({.events = events}).scores == whole.list({.events = events}).scores);
}

TEST_CASE("lists of successors count among what a model takes of memory") {
  const check::Folder folder;
  save_bundle(folder / "bundle", shop(open_device("cpu")));
  const auto models_of = [&](std::int64_t memory) {  // whose files are mapped
    const Release release(folder / "bundle", {.device = "cpu", .memory = memory});
    std::ifstream maps("/proc/self/maps");
    std::set<std::string> files;
    for (std::string line; std::getline(maps, line);)
      if (const auto at = line.find(folder.path().string()); at != std::string::npos) files.insert(line.substr(at));
    return files.size();
  };
  CHECK(models_of(100'000) == 2);
  CHECK(models_of(50'000) == 1);  // the rest of both would fit
}

TEST_CASE("a bundle is of one release, however often another takes its place") {
  const check::Folder folder;
  const auto device = open_device("cpu");
  const auto version = [&](std::uint64_t seed) {
    Bundle bundle = shop(device);
    for (Cluster& cluster : bundle.clusters) {
      const auto V = static_cast<std::int64_t>(cluster.rows.size());
      cluster.model = model_of(Score::dot, device, 0, V, seed);
      cluster.fingerprint = std::to_string(seed);
    }
    return bundle;
  };
  save_bundle(folder / "bundle", version(0));
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (std::uint64_t seed = 1; !done; ++seed) save_bundle(folder / "bundle", version(seed));
  });
  for (int i = 0; i < 200; ++i) {
    const Bundle bundle = load_bundle(folder / "bundle", device);
    for (const Cluster& cluster : bundle.clusters) {
      const auto V = static_cast<std::int64_t>(cluster.rows.size());
      CHECK(cluster.fingerprint == bundle.clusters[0].fingerprint);
      CHECK(cluster.model->download() ==
            model_of(Score::dot, device, 0, V, std::stoull(cluster.fingerprint))->download());
    }
  }
  done = true;
  writer.join();
}

TEST_CASE("popular lists with boosts are all products' scores and boosts, sorted") {
  std::mt19937 random(11);
  Bundle bundle = bundle_of(model_of(Score::dot, open_device("cpu")));
  for (auto& clicks : bundle.counts) clicks = static_cast<std::int64_t>(random() % 300);  // many of them equal
  TextAttribute brand{.name = "brand", .values = {"a", "b", "c"}, .codes = {}};
  for (std::int64_t v = 0; v < kProducts; ++v) brand.codes.push_back(static_cast<std::int32_t>(random() % 3));
  bundle.attributes.add(brand);
  const Release release(std::move(bundle));
  const std::vector<std::int32_t> exclude{1, 5, 9, 200, 201};
  const Listing plain = release.list({.exclude = exclude, .k = kProducts});
  REQUIRE(plain.path == Path::popular);
  for (const auto& [a, b] : {std::pair{0.5f, 0.0f}, {-0.5f, -0.25f}, {3.0f, -4.0f}, {0.01f, 0.02f}, {0.0f, -9.0f}}) {
    const auto rules =
        release.rules(concat(R"([{"rule": "boost", "attribute": "brand", "values": ["a"], "by": )", a,
                             R"(}, {"rule": "boost", "attribute": "brand", "values": ["b"], "by": )", b, "}]"));
    std::vector<std::pair<float, std::int32_t>> expected;  // (-score, row), best first
    for (std::size_t i = 0; i < plain.items.size(); ++i) {
      const std::int32_t code = brand.codes[plain.items[i]];
      expected.push_back({-(plain.scores[i] + (code == 0 ? a : code == 1 ? b : 0)), plain.items[i]});
    }
    std::sort(expected.begin(), expected.end());
    for (std::int64_t k : {std::int64_t{1}, std::int64_t{7}, std::int64_t{64}, kProducts}) {
      CAPTURE(a);
      CAPTURE(k);
      const Listing list = release.list({.exclude = exclude, .k = k, .rules = rules.get()});
      REQUIRE(list.items.size() == std::min<std::size_t>(k, expected.size()));
      for (std::size_t i = 0; i < list.items.size(); ++i) {
        CHECK(list.items[i] == expected[i].second);
        CHECK(list.scores[i] == -expected[i].first);
      }
    }
  }
}

TEST_CASE("one zone's boosts and long lists in a batch give what they give alone") {
  const auto device = open_device("cpu");
  Bundle bundle = bundle_of(model_of(Score::dot, device));
  std::mt19937 random(3);
  TextAttribute brand{.name = "brand", .values = {"a", "b", "c"}, .codes = {}};
  for (std::int64_t v = 0; v < kProducts; ++v) brand.codes.push_back(static_cast<std::int32_t>(random() % 3));
  bundle.attributes.add(brand);
  bundle.rules = R"({"zones": {"a": {"rules": [{"rule": "boost", "attribute": "brand", "values": ["a"], "by": 0.5}]},
                               "b": {"rules": [{"rule": "boost", "attribute": "brand", "values": ["b"], "by": -0.5}]}}})";
  const Release release(std::move(bundle));
  const auto asked_for = asked(400);
  std::vector<Query> queries = queries_of(asked_for);
  for (std::size_t i = 0; i < queries.size(); ++i) {
    queries[i].zone = i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "";
    queries[i].k = i % 50 == 7 ? kProducts : 20;
    queries[i].explain = i % 4 == 0;
  }
  const auto together = release.list(queries);
  const Release unshared(Bundle(release.bundle()));
  for (std::size_t i = 0; i < queries.size(); ++i) {
    const Listing alone = unshared.list(queries[i]);
    CHECK(together[i].get().items == alone.items);
    CHECK(together[i].get().scores == alone.scores);
    CHECK(together[i].get().explanation == alone.explanation);
  }
}

TEST_CASE("a query may do without diversification, and a zone says how long its lists are") {
  Bundle bundle = bundle_of(model_of(Score::cosine, open_device("cpu")));
  bundle.rules = R"({"zones": {"plain": {"k": 7}, "home": {}, "mixed": {"k": 7, "rules": [
      {"rule": "diversify", "by": "embedding", "strength": 0.9, "pool": 60}]}}})";
  const Release release(std::move(bundle));
  const std::vector<std::int32_t> events{3, 50};
  const auto listed = [&](const char* zone, bool diversify) {
    return release.list({.events = events, .zone = zone, .diversify = diversify}).items;
  };
  CHECK(listed("mixed", false) == listed("plain", true));
  CHECK(listed("mixed", true) != listed("plain", true));
  CHECK(listed("mixed", true).size() == 7);
  CHECK(release.list_size("mixed") == 7);
  CHECK(release.list_size("home") == 20);
  CHECK(release.list_size("") == 20);
  CHECK_THROWS_WITH_AS(release.list_size("nowhere"), doctest::Contains("nowhere"), std::invalid_argument);
}

TEST_CASE("lists too long to be shared stand between others in a batch") {
  constexpr std::int64_t kMany = 5000;
  const auto model = model_of(Score::cosine, open_device("cpu"), 0, kMany);
  const Release release(bundle_of(model)), unshared(bundle_of(model), {.most = 1});
  std::vector<std::vector<std::int32_t>> events;
  for (std::int32_t i = 0; i < 40; ++i) events.push_back({i, 37 * i});
  std::vector<Query> queries;
  for (std::size_t i = 0; i < events.size(); ++i)
    queries.push_back({.events = events[i], .k = i % 7 == 0 || i > 37 ? kMany : 5 + static_cast<std::int64_t>(i)});
  for (const Release* each : {&release, &unshared})
    for (int threads : {0, 1}) {
      const auto together = each->list(queries, threads);
      for (std::size_t i = 0; i < queries.size(); ++i) {
        const Listing alone = unshared.list(queries[i]);
        CHECK(static_cast<std::int64_t>(alone.items.size()) == queries[i].k);
        CHECK(together[i].get().items == alone.items);
        CHECK(together[i].get().scores == alone.scores);
      }
    }
}

TEST_CASE("what cannot be asked is refused, on every path") {
  const Release release(shop(open_device("cpu")));
  const std::vector<std::int32_t> bad{12}, known{1}, fresh{9}, none;
  for (const auto& events : {known, fresh, none})
    for (bool popular : {true, false}) {
      const Query query{.events = events, .popular = popular};
      for (auto list : {&Query::bought, &Query::exclude, &Query::only}) {
        Query other = query;
        other.*list = bad;
        other.restricted = true;
        CHECK_THROWS_WITH_AS(release.list(other), doctest::Contains("holds row 12, expected below 12"),
                             std::invalid_argument);
      }
    }
  CHECK_THROWS_WITH_AS(Release(shop(open_device("cpu")), {.most = 0}), "Scanner: most is 0, expected 1 or more",
                       std::invalid_argument);
  Bundle negative = shop(open_device("cpu"));
  negative.counts[3] = -5;
  CHECK_THROWS_WITH_AS(Release(std::move(negative)), "Bundle: counts hold -5, expected 0 or more",
                       std::invalid_argument);
}
