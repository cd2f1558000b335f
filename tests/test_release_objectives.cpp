// Lists of a release by objective, against brute force over the oracle's scores.
#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "stamp/recommender.h"
#include "stamp/replay.h"
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;
using Json = nlohmann::json;

namespace {

constexpr std::int64_t kClusters = 3, kOfCluster = 60, kUnknown = 10;  // products of no model are the last ones
constexpr std::int64_t kProducts = kClusters * kOfCluster + kUnknown;
constexpr float kTemperature = 1.5f, kTailPower = 0.75f;
const std::vector<std::string> kLearnt[] = {{"order"}, {"cart", "order"}, {}};  // by each model

Sessions sessions_of(std::int64_t V) {
  std::mt19937 random(7);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (int s = 0; s < 200; ++s) {
    for (unsigned n = 2 + random() % 5; n > 0; --n) items.push_back(static_cast<std::int32_t>(random() % V));
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return Sessions(items, offsets);
}

std::shared_ptr<Model> model_of(std::int64_t c, const std::shared_ptr<Device>& device) {
  Config config = Config::preset("tuned");
  config.dim = 9;
  config.item_std = 0.4f;
  config.weight_std = 0.5f;
  config.scale = 5;
  config.repeat_floors = 3;
  config.successor_floors = 2;
  config.second_floors = 1;
  config.seed = static_cast<std::uint64_t>(c) + 1;
  config.objectives = kLearnt[c];
  auto model = std::make_shared<Model>(config, kOfCluster, device);
  auto values = model->download();
  for (const char* name : {"attention.objectives", "mlp_session.objectives", "mlp_anchor.objectives"})
    if (const auto found = values.find(name); found != values.end())
      found->second = check::random(found->second.size(), 1.5f, static_cast<unsigned>(c) + 5);
  model->upload(values);
  std::vector<float> repeats, successors;  // as different as lists by one or the other would want
  for (std::int64_t k = 0; k <= config.K(); ++k) {
    const float high = static_cast<float>(2 * k) - 1;
    const auto of_one = for_every_kind(std::vector{high, -1 - high, k == 1 ? Model::kNoFloor : 0.5f});
    repeats.insert(repeats.end(), of_one.begin(), of_one.end());
    successors.insert(successors.end(), {-high, high, -high});
  }
  model->set_floors(repeats, successors);
  model->set_calibration(kTemperature, kTailPower);
  model->set_successors(std::make_shared<Successors>(sessions_of(kOfCluster), kOfCluster, kOfCluster, 2));
  return model;
}

constexpr const char* kRules = R"({"zones": {
  "plain": {},
  "orders": {"objective": {"order": 1}},
  "mixed": {"objective": {"click": 1, "order": 3}, "rules": [{"rule": "exclude_values", "attribute": "kind", "values": ["c"]}]}}})";

Bundle bundle_of(const std::shared_ptr<Device>& device) {
  Bundle bundle;
  TextAttribute kind{.name = "kind", .values = {"a", "b", "c"}, .codes = {}};
  for (std::int64_t row = 0; row < kProducts; ++row) {
    bundle.catalog.add(1000 + row);
    bundle.counts.push_back(row * 37 % 101);
    kind.codes.push_back(static_cast<std::int32_t>(row % 3));
  }
  bundle.attributes = Attributes(kProducts);
  bundle.attributes.add(kind);
  bundle.rules = kRules;
  for (std::int64_t c = 0; c < kClusters; ++c) {
    Cluster cluster;
    cluster.id = c;
    for (std::int64_t i = 0; i < kOfCluster; ++i) cluster.rows.push_back(static_cast<std::int32_t>(c * kOfCluster + i));
    cluster.model = model_of(c, device);
    bundle.clusters.push_back(std::move(cluster));
  }
  return bundle;
}

// What the products of cluster c score for a history of its rows, where `shares` are wanted of what it has learnt.
std::vector<double> expected_scores(const Bundle& bundle, std::size_t c, const std::vector<std::int32_t>& history,
                                    const std::vector<float>& shares) {
  const Model& model = *bundle.clusters[c].model;
  reference::Case oracle{model.config(), model.V(), {}, {}, {}, {}, {}};
  for (auto& [name, values] : model.download()) oracle.weights[name].assign(values.begin(), values.end());
  oracle.shares = reference::successor_shares(sessions_of(kOfCluster), kOfCluster);
  oracle.batch.add_history(history);
  oracle.batch.preferences = shares;
  return reference::listed_scores(oracle, 0);
}

void check_list(const Listing& listing, const std::vector<double>& scores, std::size_t c, bool without_kind_c) {
  std::vector<double> expected;
  for (std::int64_t i = 0; i < kOfCluster; ++i)
    if (!without_kind_c || (static_cast<std::int64_t>(c) * kOfCluster + i) % 3 != 2) expected.push_back(scores[i]);
  std::sort(expected.rbegin(), expected.rend());
  REQUIRE(listing.items.size() == 12);
  CHECK(listing.cluster == static_cast<std::int64_t>(c));
  for (std::size_t i = 0; i < listing.items.size(); ++i) {
    CHECK(listing.scores[i] == doctest::Approx(expected[i]).epsilon(1e-4).scale(1e-2));
    CHECK(scores[listing.items[i] - static_cast<std::int64_t>(c) * kOfCluster] ==
          doctest::Approx(expected[i]).epsilon(1e-4).scale(1e-2));
  }
}

// How a list is asked for, and the shares that each model then serves.
struct Way {
  std::string zone;
  std::optional<Objective> objective;
  std::array<std::vector<float>, kClusters> shares;
};

const std::vector<Way> kWays = {
    {"", {}, {{{0}, {0, 0}, {}}}},
    {"", Objective{}, {{{0}, {0, 0}, {}}}},
    {"", {{{"order", 2}}}, {{{1}, {0, 1}, {}}}},
    {"", {{{"click", 7}, {"order", 3}}}, {{{0.3f}, {0, 0.3f}, {}}}},
    {"", {{{"cart", 1}, {"order", 1}}}, {{{0.5f}, {0.5f, 0.5f}, {}}}},  // the first model lists half for clicks
    {"plain", {}, {{{0}, {0, 0}, {}}}},
    {"plain", {{{"cart", 0.2}, {"click", 0.3}, {"order", 0.5}}}, {{{0.5f}, {0.2f, 0.5f}, {}}}},
    {"orders", {}, {{{1}, {0, 1}, {}}}},
    {"orders", {{{"click", 5}}}, {{{0}, {0, 0}, {}}}},
    {"orders", Objective{}, {{{0}, {0, 0}, {}}}},
    {"orders", {{{"cart", 1e-9}}}, {{{0}, {1, 0}, {}}}},
    {"mixed", {}, {{{0.75f}, {0, 0.75f}, {}}}},
    {"mixed", {{{"order", 0.1}, {"click", 0}}}, {{{1}, {0, 1}, {}}}}};

Query query_of(const Way& way, const std::vector<std::int32_t>& events) {
  return {.events = events, .k = 12, .zone = way.zone, .objective = way.objective ? &*way.objective : nullptr};
}

}  // namespace

TEST_CASE("lists are of the largest scores for what they are to serve, whoever asks for it, on every device") {
  const std::vector<std::vector<std::int32_t>> histories{{1}, {7, 9, 7}, {20, 3, 3, 17, 20}};
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Bundle bundle = bundle_of(device);
    const Release release(Bundle{bundle});
    CHECK(release.objectives() == std::vector<std::string>{"order", "cart"});
    std::vector<std::vector<std::int32_t>> events;  // [clusters · histories]
    for (std::size_t c = 0; c < kClusters; ++c)
      for (const auto& history : histories) {
        events.push_back(history);
        for (std::int32_t& event : events.back()) event += static_cast<std::int32_t>(c * kOfCluster);
      }
    std::vector<Query> queries;  // those of one model are one pass, whatever each is to serve
    for (const auto& visit : events)
      for (const Way& way : kWays) queries.push_back(query_of(way, visit));
    const auto together = release.list(queries), on_one_thread = release.list(queries, 1);
    for (std::size_t i = 0; i < queries.size(); ++i) {
      const std::size_t w = i % kWays.size(), c = i / kWays.size() / histories.size();
      CAPTURE(w);
      CAPTURE(c);
      const Listing alone = release.list(queries[i]);
      const auto& history = histories[i / kWays.size() % histories.size()];
      check_list(alone, expected_scores(bundle, c, history, kWays[w].shares[c]), c, kWays[w].zone == "mixed");
      for (const auto& lists : {&together, &on_one_thread}) {
        CHECK((*lists)[i].get().items == alone.items);
        CHECK((*lists)[i].get().scores == alone.scores);
      }
    }
  }
}

TEST_CASE("what is wanted makes a difference, and few candidates, repeated scans and terms serve it too") {
  const std::vector<std::int32_t> history{7, 9, 7}, only{3, 8, 40};
  const Objective orders{{"order", 1}};
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Bundle bundle = bundle_of(device);
    const Release release(Bundle{bundle});
    const auto clicks = release.list({.events = history, .k = 12});
    CHECK(release.list({.events = history, .k = 12, .objective = &orders}).items != clicks.items);
    const auto scores = expected_scores(bundle, 0, history, {1});
    const Listing few =
        release.list({.events = history, .only = only, .restricted = true, .k = 3, .objective = &orders});
    REQUIRE(few.items.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) CHECK(few.scores[i] == doctest::Approx(scores[few.items[i]]).epsilon(1e-4));
    // So that the first scan leaves too few, and another follows.
    const auto rules = release.rules(R"([{"rule": "limit", "attribute": "kind", "max": 1}])");
    const Listing limited = release.list({.events = history, .k = 3, .rules = rules.get(), .objective = &orders});
    REQUIRE(limited.items.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
      double best = -1e9;
      for (std::int64_t row = 0; row < kOfCluster; ++row)
        if (row % 3 == limited.items[i] % 3) best = std::max(best, scores[row]);
      CHECK(limited.scores[i] == doctest::Approx(best).epsilon(1e-4));
    }
    auto against_popularity = scores;
    for (std::int64_t row = 0; row < kOfCluster; ++row)
      against_popularity[row] -=
          kTemperature * 0.5 * kTailPower * std::log(1.0 + static_cast<double>(bundle.counts[row]));
    check_list(release.list({.events = history, .k = 12, .tail = 0.5, .objective = &orders}), against_popularity, 0,
               false);
  }
}

TEST_CASE(
    "models that are loaded when they are asked for serve the same, and are not loaded to know what they learnt") {
  const check::Folder folder;
  const Bundle bundle = bundle_of(open_device("cpu"));
  save_bundle(folder / "bundle", bundle);
  const Release whole(Bundle{bundle});
  const Recommender lazy(folder / "bundle", {.device = "cpu", .lazy = true});
  CHECK(lazy.release()->objectives() == whole.objectives());
  for (const Way& way : kWays)
    for (const std::int32_t row : {7, 67, 127}) {
      const std::vector<std::int32_t> events{row, row + 2, row};
      const std::vector<Id> ids{Id{1000 + std::int64_t{row}}, Id{1002 + std::int64_t{row}},
                                Id{1000 + std::int64_t{row}}};
      const Listing expected = whole.list(query_of(way, events));
      const Request request{.events = ids, .k = 12, .zone = way.zone, .objective = way.objective};
      CHECK(lazy.recommend(request).scores == expected.scores);
      CHECK(lazy.recommend(std::span(&request, 1))[0].get().scores == expected.scores);
    }
  const auto file = folder / "bundle/clusters/0.safetensors";
  const std::string damaged(std::filesystem::file_size(file), 'x');
  std::ofstream(file) << damaged;
  const Release unread(folder / "bundle", {.device = "cpu", .lazy = true});
  CHECK(unread.objectives() == whole.objectives());
  const std::vector<std::int32_t> events{7};
  CHECK_THROWS_AS(unread.list({.events = events}), std::runtime_error);
  Bundle unwanted = bundle;
  unwanted.rules = R"({"zones": {"home": {"objective": {"stars": 1}}}})";
  save_bundle(folder / "unwanted", unwanted);
  CHECK_THROWS_WITH_AS(Release(folder / "unwanted", {.device = "cpu", .lazy = true}),
                       "zones.home: objective names 'stars', expected some of 'click', 'order', 'cart'",
                       std::invalid_argument);
}

TEST_CASE("a replay asks for the objective that it is told, or for its zone's") {
  const Release release(bundle_of(open_device("cpu")));
  const std::vector<std::int32_t> events{7, 9, 7, 61, 130, 185};
  const std::vector<std::int64_t> begin{0, 0, 3, 4, 5}, end{2, 3, 4, 5, 6};
  for (const Way& way : kWays) {
    const ReplayLists lists =
        replay(release, {events, begin, end}, {.k = 12, .zone = way.zone, .objective = way.objective});
    for (std::size_t i = 0; i < begin.size(); ++i) {
      const std::vector<std::int32_t> visit(events.begin() + begin[i], events.begin() + end[i]);
      const Listing expected = release.list(query_of(way, visit));
      const std::vector<std::int32_t> found(lists.items.begin() + i * 12, lists.items.begin() + (i + 1) * 12);
      CHECK(found == expected.items);
    }
  }
}

TEST_CASE("an explanation says what the list is to serve, and what of it the model has not learnt") {
  const Release release(bundle_of(open_device("cpu")));
  const auto explained = [&](std::int32_t event, std::string_view zone, const Objective* objective) {
    const std::vector<std::int32_t> events{event};
    return Json::parse(
        release.list({.events = events, .k = 3, .zone = zone, .objective = objective, .explain = true}).explanation);
  };
  const Objective both{{"cart", 1}, {"click", 2}, {"order", 0}}, clicks{{"click", 3}, {"order", 0}};
  CHECK_FALSE(explained(1, "", nullptr).contains("objective"));
  CHECK_FALSE(explained(1, "orders", &clicks).contains("objective"));
  CHECK(explained(1, "orders", nullptr).at("objective") == Json{{"weights", {{"order", 1.0}}}});
  CHECK(explained(61, "", &both).at("objective") == Json{{"weights", {{"cart", 1.0}, {"click", 2.0}, {"order", 0.0}}}});
  CHECK(explained(1, "", &both).at("objective").at("does_not_apply") ==
        "the model has not learnt cart, which counts as clicks");
  CHECK(explained(130, "orders", nullptr).at("objective").at("does_not_apply") ==
        "the model has not learnt order, which counts as clicks");
  CHECK(explained(kProducts - 1, "orders", nullptr).at("objective").at("does_not_apply") ==
        "the scores of this list are not a model's");
}

TEST_CASE("objectives that cannot be are refused with their name, of a request and of a zone") {
  Bundle bundle = bundle_of(open_device("cpu"));
  const std::vector<std::int32_t> history{7};
  const struct {
    Objective objective;
    const char* why;
  } bad[] = {{{{"orders", 1}}, "objective names 'orders', expected some of 'click', 'order', 'cart'"},
             {{{"order", -0.5}}, "objective has -0.5 for 'order', expected 0 or more"},
             {{{"click", NAN}}, "objective has nan for 'click', expected 0 or more"},
             {{{"click", INFINITY}, {"order", 1}}, "objective has inf for 'click', expected 0 or more"},
             {{{"click", 0}, {"order", 0}}, "objective's weights are all 0, expected one above 0"},
             {{{"click", 1e308}, {"order", 1e308}}, "objective's weights add up to inf, expected what is finite"}};
  {
    const Release release(Bundle{bundle});
    for (const auto& [objective, why] : bad) {
      const std::string message = concat("recommend: ", why);
      CHECK_THROWS_WITH_AS(release.list({.events = history, .objective = &objective}), message.c_str(),
                           std::invalid_argument);
    }
  }
  const auto refused = [&](const std::string& objective, const char* why) {
    bundle.rules = R"({"zones": {"a": {"objective": )" + objective + "}}}";
    const std::string message = concat("zones.a: ", why);
    CHECK_THROWS_WITH_AS(Release(Bundle{bundle}), message.c_str(), std::invalid_argument);
  };
  refused(R"({"orders": 1})", bad[0].why);
  refused(R"({"order": -0.5})", bad[1].why);
  refused(R"({"click": 0})", bad[4].why);
  refused(R"({"click": "much"})", "objective has \"much\" for 'click', expected 0 or more");
  refused(R"({"click": null})", "objective has null for 'click', expected 0 or more");
  refused("{}", R"(objective is {}, expected weights by name, as {"click": 0.7, "order": 0.3})");
  refused("[1]", R"(objective is [1], expected weights by name, as {"click": 0.7, "order": 0.3})");
  refused("null", R"(objective is null, expected weights by name, as {"click": 0.7, "order": 0.3})");
  CHECK_THROWS_WITH_AS(objective_from_json("recommend", "{"), doctest::Contains("recommend: objective is not JSON: "),
                       std::invalid_argument);

  bundle.rules = "{}";
  bundle.clusters.resize(1);
  bundle.clusters[0].model = model_of(2, open_device("cpu"));
  const Release plain(Bundle{bundle});
  const Objective orders{{"order", 1}}, clicks{{"click", 1}};
  CHECK(plain.objectives().empty());
  CHECK(plain.list({.events = history, .objective = &clicks}).scores == plain.list({.events = history}).scores);
  CHECK_THROWS_WITH_AS(plain.list({.events = history, .objective = &orders}),
                       "recommend: objective names 'order', expected none but 'click', as nothing else was learnt",
                       std::invalid_argument);
}
