// Replay against plain loops over single queries: exclusions, zones, rules, batches, threads.
#include <cmath>
#include <cstring>
#include <random>

#include "stamp/popularity.h"
#include "stamp/replay.h"
#include "stamp/session_knn.h"
#include "tests/check.h"
#include "tests/shop.h"

using namespace stamp;

namespace {

// Visits laid end to end with unknown products among them, and a question after every event and before the first.
struct Visits {
  std::vector<std::int32_t> events;
  std::vector<std::int64_t> begin, end;

  explicit Visits(int visits, std::int64_t V = shop::kProducts) {
    std::mt19937 random(11);
    for (int v = 0; v < visits; ++v) {
      const auto start = static_cast<std::int64_t>(events.size());
      for (unsigned length = random() % 9, n = 0; n <= length; ++n) {
        begin.push_back(start);
        end.push_back(start + n);
        events.push_back(random() % 10 == 0 ? Catalog::kUnknown : static_cast<std::int32_t>(random() % V));
      }
    }
  }
  ReplayQuestions questions() const { return {events, begin, end}; }
};

// One query a question, by itself.
ReplayLists one_by_one(const Release& release, const Visits& visits, const ReplayOptions& options) {
  ReplayLists lists;
  for (std::size_t i = 0; i < visits.begin.size(); ++i) {
    const std::vector<std::int32_t> events(visits.events.begin() + visits.begin[i],
                                           visits.events.begin() + visits.end[i]);
    std::vector<std::int32_t> excluded;
    if (options.exclude == Exclude::seen) excluded = events;
    if (options.exclude == Exclude::anchor && !events.empty()) excluded = {events.back()};
    const auto rules = options.rules.empty() ? nullptr : release.rules(options.rules);
    const Listing listing = release.list(Query{.events = events,
                                               .exclude = excluded,
                                               .k = options.k,
                                               .history = options.history,
                                               .zone = options.zone,
                                               .rules = rules.get(),
                                               .popular = options.popular});
    for (std::int64_t j = 0; j < options.k; ++j) {
      const bool there = j < static_cast<std::int64_t>(listing.items.size());
      lists.items.push_back(there ? listing.items[j] : Catalog::kUnknown);
      lists.scores.push_back(there ? listing.scores[j] : NAN);
    }
  }
  return lists;
}

bool same(const ReplayLists& a, const ReplayLists& b) {
  return a.items == b.items && a.scores.size() == b.scores.size() &&
         std::memcmp(a.scores.data(), b.scores.data(), a.scores.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("a replay is what single queries give, to the bit, whatever the batches and threads") {
  const Release release(shop::bundle(1));
  const Visits visits(120);
  const std::vector<ReplayOptions> all = {
      {},
      {.k = 1},
      {.k = 7, .history = 2, .exclude = Exclude::anchor},
      {.k = 100, .exclude = Exclude::seen},
      {.k = 5, .zone = "red"},
      {.k = 9, .exclude = Exclude::anchor, .zone = "red", .rules = R"([{"rule": "pin", "products": ["sku-8", "sku-3"]},
         {"rule": "limit", "attribute": "colour", "max": 4}])"},
      {.k = 6, .rules = R"([{"rule": "diversify", "by": "embedding", "strength": 0.5}])"},
      {.k = 20, .popular = false},
      {.k = 6, .rules = R"([{"rule": "boost", "attribute": "colour", "values": ["blue"], "by": 3}])"},
  };
  for (ReplayOptions options : all) {
    CAPTURE(options.rules);
    set_num_threads(1);
    const ReplayLists expected = one_by_one(release, visits, options);
    for (int threads : {1, 2, 5})
      for (std::int64_t batch : {std::int64_t{1}, std::int64_t{33}, ReplayOptions{}.batch}) {
        CAPTURE(threads);
        CAPTURE(batch);
        set_num_threads(threads);
        options.batch = batch;
        CHECK(same(replay(release, visits.questions(), options), expected));
      }
  }
  set_num_threads(2);
}

TEST_CASE("a bundle that falls back, on neighbours or popularity, does so for many questions as for one") {
  const Visits past(80), visits(120);
  std::vector<std::int64_t> offsets = {0};
  for (std::size_t i = 1; i < past.begin.size(); ++i)
    if (past.begin[i] != past.begin[i - 1]) offsets.push_back(past.begin[i]);
  offsets.push_back(static_cast<std::int64_t>(past.events.size()));
  const auto sessions = Sessions(past.events, offsets).without_unknown();
  for (const auto& fallback : {fit_session_knn(sessions, shop::kProducts), fit_popularity(sessions, shop::kProducts)})
    for (bool models : {true, false}) {
      Bundle bundle = shop::bundle(1);
      if (models) bundle.clusters.pop_back();
      if (!models) bundle.clusters.clear();
      bundle.fallback = fallback;
      const Release release(std::move(bundle));
      for (const char* rules : {"", R"([{"rule": "boost", "attribute": "colour", "values": ["blue"], "by": 1}])"}) {
        const ReplayOptions options{.k = 12, .exclude = Exclude::anchor, .zone = *rules ? "" : "red", .rules = rules};
        set_num_threads(1);
        const ReplayLists expected = one_by_one(release, visits, options);
        for (int threads : {1, 2, 5}) {
          set_num_threads(threads);
          CHECK(same(replay(release, visits.questions(), options), expected));
        }
      }
    }
  set_num_threads(2);
}

TEST_CASE("a replay on every device is what single queries there give") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    Config config = Config::preset("official");
    config.dim = 17;
    config.item_std = 0.4f;
    const std::int64_t V = 70;
    Catalog catalog;
    for (std::int64_t id = 0; id < V; ++id) catalog.add(id);
    const Release release(
        bundle_of(std::make_shared<Model>(config, V, device), catalog, std::vector<std::int64_t>(V, 1)));
    const Visits visits(check::slow(*device) ? 4 : 40, V);
    const ReplayOptions options{.k = 8, .exclude = Exclude::anchor};
    const ReplayLists found = replay(release, visits.questions(), options);
    const ReplayLists expected = one_by_one(release, visits, options);
    CHECK(found.items == expected.items);
    CHECK(same(found, expected));
  }
}

TEST_CASE("edges: no questions, no events, a replay that is stopped, what cannot be asked") {
  const Release release(shop::bundle(1));
  const Visits visits(30);
  CHECK(replay(release, {}, {}).items.empty());

  const std::vector<std::int64_t> zero = {0};
  const ReplayLists empty = replay(release, {{}, zero, zero}, {.k = 3});  // the most popular products
  CHECK(empty.items == std::vector<std::int32_t>{59, 58, 57});
  const ReplayLists none = replay(release, {{}, zero, zero}, {.k = 3, .popular = false});
  CHECK(none.items == std::vector<std::int32_t>(3, Catalog::kUnknown));
  CHECK(std::isnan(none.scores[0]));

  std::vector<std::pair<std::int64_t, std::int64_t>> calls;
  const auto stopped = replay(release, visits.questions(), {.k = 4, .batch = 10}, [&](auto done, auto of) {
    calls.emplace_back(done, of);
    return done < 20;
  });
  const auto N = visits.questions().size();
  CHECK(calls == std::vector<std::pair<std::int64_t, std::int64_t>>{{10, N}, {20, N}});
  const auto whole = replay(release, visits.questions(), {.k = 4});
  CHECK(std::equal(stopped.items.begin(), stopped.items.begin() + 80, whole.items.begin()));
  CHECK(std::count(stopped.items.begin() + 80, stopped.items.end(), Catalog::kUnknown) ==
        static_cast<std::int64_t>(stopped.items.size()) - 80);

  const std::vector<std::int64_t> one = {1}, beyond = {static_cast<std::int64_t>(visits.events.size()) + 1};
  CHECK_THROWS_AS(replay(release, {visits.events, one, zero}, {}), std::invalid_argument);
  CHECK_THROWS_AS(replay(release, {visits.events, zero, beyond}, {}), std::invalid_argument);
  CHECK_THROWS_AS(replay(release, {visits.events, zero, {}}, {}), std::invalid_argument);
  CHECK_THROWS_AS(replay(release, visits.questions(), {.k = 0}), std::invalid_argument);
  for (const std::int64_t k : {std::int64_t{1'000'001}, std::numeric_limits<std::int64_t>::max() / 2}) {
    CHECK_THROWS_WITH_AS(replay(release, visits.questions(), {.k = k}), doctest::Contains("expected 1 to 1000000"),
                         std::invalid_argument);
    CHECK_THROWS_AS(time_requests(release, visits.questions(), {.k = k}, zero), std::invalid_argument);
  }
  CHECK_THROWS_AS(replay(release, visits.questions(), {.zone = "blue"}), std::invalid_argument);
  CHECK_THROWS_AS(replay(release, visits.questions(), {.batch = 0}), std::invalid_argument);
  CHECK_THROWS_AS(exclude_from_string("all"), std::invalid_argument);
  CHECK(exclude_from_string("seen") == Exclude::seen);
  const std::vector<std::int32_t> foreign = {shop::kProducts};
  CHECK_THROWS_AS(replay(release, {foreign, zero, one}, {}), std::invalid_argument);
}

TEST_CASE("single requests are timed one by one") {
  const Release release(shop::bundle(1));
  const Visits visits(10);
  const std::vector<std::int64_t> which = {0, 5, 5, visits.questions().size() - 1};
  const auto seconds = time_requests(release, visits.questions(), {}, which);
  REQUIRE(seconds.size() == which.size());
  for (double each : seconds) CHECK(each > 0);
  const std::vector<std::int64_t> outside = {visits.questions().size()};
  CHECK_THROWS_AS(time_requests(release, visits.questions(), {}, outside), std::invalid_argument);
}
