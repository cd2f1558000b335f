// Bundles that fall back on a baseline: its lists through the rules, and who answers first.
#include <atomic>
#include <set>
#include <thread>

#include "stamp/files.h"
#include "stamp/release.h"
#include "tests/baselines.h"

using namespace stamp;
using namespace baselines;

namespace {

Bundle bundle_with(std::shared_ptr<const Baseline> fallback) {
  Bundle bundle;
  for (std::int64_t id = 0; id < fallback->V(); ++id) bundle.catalog.add(100 + id);
  bundle.counts.assign(static_cast<std::size_t>(fallback->V()), 1);
  bundle.attributes = Attributes(fallback->V());
  TextAttribute colour{.name = "colour", .values = {"red", "blue", "green"}, .codes = {}};
  for (std::int64_t v = 0; v < fallback->V(); ++v) colour.codes.push_back(static_cast<std::int32_t>(v % 3));
  bundle.attributes.add(std::move(colour));
  bundle.fallback = std::move(fallback);
  return bundle;
}

}  // namespace

TEST_CASE("a bundle without models lists what its baseline scores, through the rules") {
  const Sessions sessions = random_sessions(400, kProducts, 14);
  for (const auto& baseline : all_baselines(sessions, kProducts)) {
    CAPTURE(baseline->kind());
    const Release release(bundle_with(baseline));
    const auto colour = [](std::int32_t row) { return row % 3; };
    const auto only_red = release.rules(R"([{"rule": "only_values", "attribute": "colour", "values": ["red"]}])");
    const auto one_each = release.rules(R"([{"rule": "limit", "attribute": "colour", "max": 1}])");
    const auto boost = release.rules(R"([{"rule": "boost", "attribute": "colour", "values": ["blue"], "by": 1000}])");
    for (const Rows& history : histories(30, kProducts, 15)) {
      const Rows all = ranked(*baseline, history);
      if (all.empty()) continue;
      Query query{.events = history, .k = 20, .popular = false};
      const Listing plain = release.list(query);
      CHECK(to_string(plain.path) == "fallback");
      CHECK(plain.cluster == -1);
      CHECK(plain.items == Rows(all.begin(), all.begin() + std::min<std::ptrdiff_t>(20, std::ssize(all))));
      for (std::size_t i = 0; i < plain.items.size(); ++i)
        CHECK(plain.scores[i] == static_cast<float>(scored(*baseline, history).at(plain.items[i])));
      CHECK(plain.reason.empty() == (all.size() >= 20));
      if (all.size() < 20)
        CHECK(plain.reason == concat(all.size(), " of 20: ", all.size(), " candidates; the fallback scores ",
                                     all.size(), " of the catalog"));

      const auto expect = [&](const Query& asked, auto&& keep) {
        Rows expected;
        for (std::int32_t row : all)
          if (static_cast<std::int64_t>(expected.size()) < asked.k && keep(row, expected)) expected.push_back(row);
        CHECK(release.list(asked).items == expected);
      };
      query.rules = only_red.get();
      expect(query, [&](std::int32_t row, const Rows&) { return colour(row) == 0; });
      query.rules = one_each.get();
      expect(query, [&](std::int32_t row, const Rows& before) {
        return std::none_of(before.begin(), before.end(), [&](auto other) { return colour(other) == colour(row); });
      });
      query.rules = nullptr;
      const Rows first(all.begin(), all.begin() + std::min<std::ptrdiff_t>(3, std::ssize(all)));
      query.exclude = first;
      expect(query, [&](std::int32_t row, const Rows&) { return std::count(first.begin(), first.end(), row) == 0; });
      query.exclude = {};
      query.only = first;
      query.restricted = true;
      expect(query, [&](std::int32_t row, const Rows&) { return std::count(first.begin(), first.end(), row) == 1; });
      query.restricted = false;

      query.rules = boost.get();
      query.explain = true;
      Rows boosted;
      for (bool blue : {true, false})
        for (std::int32_t row : all)
          if ((colour(row) == 1) == blue) boosted.push_back(row);
      boosted.resize(std::min<std::size_t>(20, boosted.size()));
      const Listing listing = release.list(query);
      CHECK(std::set(listing.items.begin(), listing.items.end()) == std::set(boosted.begin(), boosted.end()));
      CHECK(listing.explanation.starts_with(concat(R"({"candidates":)", all.size(), ",")));
    }
    const Rows nothing;
    const Listing empty = release.list(Query{.events = nothing, .popular = false});
    CHECK((empty.path == Path::none) == baseline->needs_history());
    if (baseline->needs_history())
      CHECK(empty.reason == "neither a model nor the fallback has anything for these events");
    CHECK(release.list(Query{.events = nothing}).path == (baseline->needs_history() ? Path::popular : Path::fallback));
  }
}

TEST_CASE("models go before the fallback, and it goes before popular products") {
  const auto device = open_device("cpu");
  const Sessions sessions({0, 1, 2, 3, 4, 5, 4, 5}, {0, 4, 6, 8});
  Bundle bundle = bundle_with(fit_association_rules(sessions, 6));
  bundle.route_by = {"colour"};
  Config config;
  config.dim = 4;
  Cluster cluster;
  cluster.rows = {0, 1};
  cluster.model = std::make_shared<Model>(config, 2, device);
  cluster.config = config;
  bundle.clusters.push_back(std::move(cluster));
  const check::Folder folder;
  save_bundle(folder.path() / "bundle", bundle);
  const auto file = folder.path() / "bundle" / "fallback.safetensors";
  {
    const Release release(folder.path() / "bundle", {.device = "cpu"});
    const auto path = [&](const Rows& events) { return to_string(release.list(Query{.events = events}).path); };
    CHECK(path({0}) == "anchor");
    CHECK(path({2, 0, 5}) == "history");
    CHECK(path({2, 5}) == "fallback");
    CHECK(release.list(Query{.events = Rows{5}}).items == Rows{4});
    CHECK(path({-1}) == "popular");
    CHECK(release.bundle().fallback->kind() == std::string("association_rules"));
  }
  std::string bytes = read_file(file);
  bytes.back() ^= 1;
  write_file(file, [&](std::ostream& out) { out << bytes; });
  CHECK_THROWS_WITH_AS(BundleReader(folder.path() / "bundle"), doctest::Contains("fallback.safetensors has checksum"),
                       std::runtime_error);
  std::filesystem::remove(file);
  CHECK_THROWS_WITH_AS(BundleReader(folder.path() / "bundle"), doctest::Contains("fallback.safetensors is missing"),
                       std::runtime_error);
  Bundle other = bundle_with(fit_association_rules(sessions, 6));
  other.fallback = fit_association_rules(sessions, 7);
  CHECK_THROWS_WITH_AS(other.validate(), "Bundle: the fallback knows a catalog of 7 products, expected 6",
                       std::invalid_argument);
}

TEST_CASE("where the fallback has nothing for a visit, popular products answer") {
  // 0 is alone in its session, and without `remind` its own products are not listed; 3 is never clicked.
  const auto fallback = fit_session_knn(Sessions({0, 1, 2}, {0, 1, 3}), 4, {.remind = false});
  for (const bool routed : {true, false}) {
    Bundle bundle = bundle_with(fallback);
    if (routed) bundle.route_by = {"colour"};
    const Release release(std::move(bundle));
    const Rows one{1}, nothing{0}, unclicked{3}, none;
    const std::vector<Query> queries{{.events = one},
                                     {.events = nothing},
                                     {.events = nothing, .popular = false},
                                     {.events = unclicked},
                                     {.events = none}};
    const std::vector<Path> paths{Path::fallback, routed ? Path::category : Path::popular, Path::none,
                                  routed ? Path::category : Path::popular, Path::popular};
    const auto together = release.list(queries);
    for (std::size_t i = 0; i < queries.size(); ++i) {
      CAPTURE(i);
      const Listing alone = release.list(queries[i]);
      CHECK(to_string(alone.path) == to_string(paths[i]));
      CHECK(alone.items.empty() == (paths[i] == Path::none));
      CHECK(to_string(together[i].get().path) == to_string(alone.path));
      CHECK(together[i].get().items == alone.items);
    }
    CHECK(together[2].get().reason == "neither a model nor the fallback has anything for these events");
    if (routed) CHECK(together[1].get().items == Rows{0, 3});  // its colour
  }
}

TEST_CASE("queries that cannot be have errors of their own, and spoil no other's list") {
  const Release release(bundle_with(fit_session_knn(random_sessions(50, kProducts, 18), kProducts)));
  const Rows events{0}, foreign{kProducts};
  const Listing expected = release.list(Query{.events = events});
  std::vector<Query> queries(600, Query{.events = events});
  queries[590].zone = "nowhere";
  queries[20].k = -1;
  queries[10].events = foreign;
  for (int threads : {0, 1}) {
    const auto answers = release.list(queries, threads);
    REQUIRE(answers.size() == queries.size());
    for (std::size_t i = 0; i < queries.size(); ++i)
      if (i != 10 && i != 20 && i != 590)
        CHECK((answers[i].get().items == expected.items && answers[i].get().scores == expected.scores));
    CHECK_THROWS_WITH_AS(answers[10].get(), "recommend: events holds row 60, expected below 60", std::invalid_argument);
    CHECK_THROWS_WITH_AS(answers[20].get(), "recommend: k is -1, expected 1 or more", std::invalid_argument);
    CHECK_THROWS_WITH_AS(answers[590].get(), "recommend: zone is 'nowhere', expected none, this bundle has no zones",
                         std::invalid_argument);
  }
}

TEST_CASE("many threads ask one fallback, alone and in batches") {
  const Sessions sessions = random_sessions(500, kProducts, 16);
  const Release release(bundle_with(fit_session_knn(sessions, kProducts)));
  const auto asked = histories(700, kProducts, 17);
  std::vector<Query> queries;
  for (const Rows& history : asked) queries.push_back({.events = history, .k = 10, .explain = history.size() % 3 == 0});
  std::vector<Listing> alone;
  for (const Query& query : queries) alone.push_back(release.list(query));
  std::atomic<int> wrong = 0;
  const auto same = [](const Listing& a, const Listing& b) {
    return a.items == b.items && a.scores == b.scores && a.reason == b.reason && a.explanation == b.explanation;
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      if (t == 0) {
        const auto together = release.list(queries);
        for (std::size_t i = 0; i < queries.size(); ++i) wrong += !same(together[i].get(), alone[i]);
        return;
      }
      for (std::size_t i = static_cast<std::size_t>(t); i < queries.size(); i += 3)
        wrong += !same(release.list(queries[i]), alone[i]);
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}
