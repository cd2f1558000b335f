// Lists of a release by value and against popularity, against brute force over the oracle's scores.
#include "stamp/score_terms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "stamp/release.h"
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;
using Json = nlohmann::json;

namespace {

constexpr std::int64_t kProducts = 400, kUnknown = 10;  // products of no model are the last ones
constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();
constexpr float kTemperature = 1.5f, kTailPower = 0.75f;

std::vector<float> first_prices() {
  std::vector<float> prices;
  for (std::int64_t row = 0; row < kProducts; ++row)
    prices.push_back(row % 11 == 0   ? kMissing
                     : row % 13 == 0 ? 0.0f
                     : row % 17 == 0 ? -3.0f
                                     : static_cast<float>(2 + row * 7 % 90));
  return prices;
}

std::int64_t clicks_of(std::int64_t row) { return row * 37 % 101; }

Bundle bundle_of(const std::vector<float>& prices, const std::shared_ptr<Device>& device) {
  Bundle bundle;
  TextAttribute kind{.name = "kind", .values = {"a", "b", "c"}, .codes = {}};
  for (std::int64_t row = 0; row < kProducts; ++row) {
    bundle.catalog.add(1000 + row);
    bundle.counts.push_back(clicks_of(row));
    kind.codes.push_back(static_cast<std::int32_t>(row % 3));
  }
  bundle.attributes = Attributes(kProducts);
  bundle.attributes.add(kind);
  bundle.attributes.add(NumberAttribute{.name = "price", .values = prices});
  bundle.attributes.add(NumberAttribute{.name = "stock", .values = std::vector<float>(kProducts, 1)});
  bundle.rules = R"({
    "build": [{"rule": "exclude_products", "products": [1005]}],
    "value": {"attribute": "price"},
    "zones": {
      "plain": {},
      "dear": {"value": 1},
      "rare": {"tail": 0.5},
      "both": {"value": 0.25, "tail": 1, "rules": [{"rule": "boost", "attribute": "kind", "values": ["c"], "by": 0.5}]}}})";
  Config config = Config::preset("official");
  config.dim = 9;
  config.item_std = 0.4f;
  config.weight_std = 0.3f;
  config.repeat_floors = 3;
  Cluster cluster;
  for (std::int32_t row = 0; row < kProducts - kUnknown; ++row) cluster.rows.push_back(row);
  cluster.model = std::make_shared<Model>(config, kProducts - kUnknown, device);
  cluster.model->set_floors(for_every_kind(std::vector{-1.0f, 1.0f, 0.5f}), {});
  cluster.model->set_calibration(kTemperature, kTailPower);
  cluster.config = config;
  bundle.clusters.push_back(std::move(cluster));
  return bundle;
}

// What each product of the model scores for a history, by the formula; product 5 is never listed.
std::vector<double> expected_scores(const Bundle& bundle, const std::vector<float>& prices,
                                    const std::vector<std::int32_t>& history, double value, double tail, bool boosts) {
  const Model& model = *bundle.clusters[0].model;
  reference::Case c{model.config(), model.V(), {}, {}, {}, {}, {}};
  for (auto& [name, values] : model.download()) c.weights[name].assign(values.begin(), values.end());
  c.batch.add_history(history);
  const auto z = reference::listed_scores(c, 0);
  float least = 1e38f;
  for (std::int32_t row = 0; row < model.V(); ++row)
    if (prices[row] > 0 && row != 5) least = std::min(least, prices[row]);
  if (least == 1e38f) least = 1;
  std::vector<double> scores;
  for (std::int32_t row = 0; row < model.V(); ++row) {
    const double price = prices[row] > 0 && std::isfinite(prices[row]) ? prices[row] : least;
    scores.push_back(z[row] + kTemperature * value * std::log(price) -
                     kTemperature * tail * kTailPower * std::log(1.0 + static_cast<double>(clicks_of(row))) +
                     (boosts && row % 3 == 2 ? 0.5 : 0));
  }
  return scores;
}

void check_list(const Listing& listing, const std::vector<double>& scores, std::size_t k) {
  std::vector<std::pair<double, std::int32_t>> expected;
  for (std::int32_t row = 0; row < std::ssize(scores); ++row)
    if (row != 5) expected.emplace_back(-scores[row], row);
  std::sort(expected.begin(), expected.end());
  REQUIRE(listing.items.size() == k);
  for (std::size_t i = 0; i < k; ++i) {
    CHECK(listing.scores[i] == doctest::Approx(-expected[i].first).epsilon(1e-4).scale(1e-2));
    CHECK(scores[listing.items[i]] == doctest::Approx(-expected[i].first).epsilon(1e-4).scale(1e-2));
  }
}

}  // namespace

TEST_CASE("lists are of the largest score and terms, whoever asks for them, on every device") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    auto prices = first_prices();
    Bundle bundle = bundle_of(prices, device);
    Release release(Bundle{bundle});
    std::mt19937 random(3);
    const std::vector<std::vector<std::int32_t>> histories{{1}, {7, 9, 7}, {200, 3, 3, 17, 200}};
    const struct {
      std::string zone;
      std::optional<double> value, tail;
      double expected_value, expected_tail;
    } ways[] = {{"", {}, {}, 0, 0},           {"", 0.5, {}, 0.5, 0},     {"plain", {}, 0.75, 0, 0.75},
                {"dear", {}, {}, 1, 0},       {"dear", 0.0, {}, 0, 0},   {"dear", {}, 0.25, 1, 0.25},
                {"rare", {}, {}, 0, 0.5},     {"both", {}, {}, 0.25, 1}, {"both", 1.0, 0.0, 1, 0},
                {"both", 0.25, 1.0, 0.25, 1}, {"both", 0.0, 0.0, 0, 0}};
    for (int round = 0; round < 4; ++round) {
      std::vector<Query> queries;
      std::vector<std::vector<double>> expected;
      for (const auto& history : histories)
        for (const auto& way : ways) {
          queries.push_back({.events = history, .k = 15, .zone = way.zone, .value = way.value, .tail = way.tail});
          expected.push_back(
              expected_scores(bundle, prices, history, way.expected_value, way.expected_tail, way.zone == "both"));
        }
      const auto together = release.list(queries);
      for (std::size_t i = 0; i < queries.size(); ++i) {
        CAPTURE(i);
        const Listing alone = release.list(queries[i]);
        check_list(alone, expected[i], 15);
        CHECK(together[i].get().items == alone.items);
        CHECK(together[i].get().scores == alone.scores);
      }
      // What is set while it is served counts at once, in what was worked out beforehand, too.
      std::vector<NumberChange> changes;
      for (int n = 0; n < 60; ++n) {
        const auto row = static_cast<std::int32_t>(random() % kProducts);
        prices[row] = std::array{kMissing, 0.0f, -1.0f, round == 1 ? 0.01f : 2.0f, 55.0f, 1e30f}[random() % 6];
        changes.push_back({row, 0, prices[row]});
        changes.push_back({row, 1, static_cast<float>(random() % 5)});  // which nothing looks at
      }
      release.set_numbers(changes);
    }
  }
}

TEST_CASE("few candidates, exclusions and long lists have the same terms") {
  const auto device = open_device("cpu");
  const auto prices = first_prices();
  const Bundle bundle = bundle_of(prices, device);
  const Release release(Bundle{bundle});
  const std::vector<std::int32_t> history{7, 9}, only{3, 8, 40, 77, 300, 301};
  const auto scores = expected_scores(bundle, prices, history, 0.5, 0.5, false);
  const Listing few =
      release.list({.events = history, .only = only, .restricted = true, .k = 6, .value = 0.5, .tail = 0.5});
  REQUIRE(few.items.size() == 6);
  for (std::size_t i = 0; i < 6; ++i) CHECK(few.scores[i] == doctest::Approx(scores[few.items[i]]).epsilon(1e-4));
  CHECK(std::is_sorted(few.scores.rbegin(), few.scores.rend()));
  check_list(release.list({.events = history, .k = kProducts - kUnknown - 1, .value = 0.5, .tail = 0.5}), scores,
             kProducts - kUnknown - 1);
}

TEST_CASE("values that are none count as the least that there is, and no score is NaN or infinite") {
  for (const auto& [prices, least] : {std::pair(std::vector<float>(kProducts, kMissing), 1.0f),
                                      {std::vector<float>(kProducts, 0.0f), 1.0f},
                                      {first_prices(), 2.0f}}) {
    CHECK(least_value(prices) == least);
    const Release release(bundle_of(prices, open_device("cpu")));
    const std::vector<std::int32_t> history{7};
    const Listing plain = release.list({.events = history, .k = 300});
    const Listing dear = release.list({.events = history, .k = 300, .value = 1.0, .tail = 1.0});
    REQUIRE(dear.items.size() == 300);
    for (const float score : dear.scores) CHECK(std::isfinite(score));
    if (least == 1) CHECK(release.list({.events = history, .k = 300, .value = 1.0}).items == plain.items);
  }
  CHECK(least_value({}) == 1);
  CHECK(least_value(std::vector<float>{INFINITY, kMissing, -2, 0}) == 1);
  CHECK(least_value(std::vector<float>{INFINITY, 1e-40f, 3}) == 1e-40f);
}

TEST_CASE("an explanation says what each product owes to its value and its popularity") {
  const Bundle bundle = bundle_of(first_prices(), open_device("cpu"));
  const Release release(Bundle{bundle});
  const std::vector<std::int32_t> history{7};
  const Listing listing = release.list({.events = history, .k = 5, .zone = "both", .explain = true});
  const Json json = Json::parse(listing.explanation);
  CHECK(json.at("terms") == Json{{"value", 0.25}, {"tail", 1.0}});
  const auto plain = expected_scores(bundle, first_prices(), history, 0, 0, false);
  const auto value = expected_scores(bundle, first_prices(), history, 0.25, 0, false);
  for (std::size_t i = 0; i < 5; ++i) {
    const Json& entry = json.at("listed")[i];
    const std::int32_t row = listing.items[i];
    CHECK(entry.contains("boost") == (row % 3 == 2));
    CHECK(entry.at("value").get<double>() == doctest::Approx(value[row] - plain[row]).epsilon(1e-4));
    CHECK(entry.at("tail").get<double>() <= 0);
    CHECK(listing.scores[i] == doctest::Approx(plain[row] + entry.value("boost", 0.0) +
                                               entry.at("value").get<double>() + entry.at("tail").get<double>())
                                   .epsilon(1e-4));
  }
  const std::vector<std::int32_t> nobody{kProducts - 1};
  const auto popular = [&](bool terms) {
    return release.list(
        {.events = nobody, .k = 5, .value = terms ? 1.0 : 0.0, .tail = terms ? 1.0 : 0.0, .explain = true});
  };
  CHECK(popular(true).path == Path::popular);
  CHECK(popular(true).items == popular(false).items);  // scores that no model makes have no terms
  CHECK(popular(true).scores == popular(false).scores);
  CHECK(Json::parse(popular(true).explanation).at("terms").at("does_not_apply") ==
        "the scores of this list are not a model's");
  CHECK_FALSE(Json::parse(popular(false).explanation).contains("terms"));
}

TEST_CASE("powers that cannot be are refused with their name, and a value that nobody knows with what there is") {
  const auto device = open_device("cpu");
  const std::vector<std::int32_t> history{7};
  Bundle bundle = bundle_of(first_prices(), device);
  {
    const Release release(Bundle{bundle});
    const auto refused = [&](std::optional<double> value, std::optional<double> tail, const char* why) {
      CHECK_THROWS_WITH_AS(release.list({.events = history, .value = value, .tail = tail}), why, std::invalid_argument);
    };
    refused(-0.1, {}, "recommend: value is -0.1, expected a number from 0 to 1");
    refused(1.5, {}, "recommend: value is 1.5, expected a number from 0 to 1");
    refused(NAN, {}, "recommend: value is nan, expected a number from 0 to 1");
    refused({}, 2, "recommend: tail is 2, expected a number from 0 to 1");
    refused(0, NAN, "recommend: tail is nan, expected a number from 0 to 1");
  }
  const auto bad = [&](const std::string& rules, const char* why) {
    bundle.rules = rules;
    CHECK_THROWS_WITH_AS(Release(Bundle{bundle}), why, std::invalid_argument);
  };
  bad(R"({"value": {"attribute": "margin"}})",
      "value.attribute is \"margin\", expected a number of the products, which have price, stock");
  bad(R"({"value": {"attribute": "kind"}})",
      "value.attribute is \"kind\", expected a number of the products, which have price, stock");
  bad(R"({"value": {}})", "value.attribute is null, expected a number of the products, which have price, stock");
  bad(R"({"value": "price"})", "value is \"price\", expected an object");
  bad(R"({"value": {"attribute": "price", "power": 1}})", "value.power is unknown");
  bad(R"({"zones": {"a": {"value": 0.5}}})",
      "zones.a.value is 0.5, but the bundle's rules name no number for it, as {\"value\": {\"attribute\": …}}; its "
      "products "
      "have price, stock");
  bad(R"({"zones": {"a": {"tail": 1.5}}})", "zones.a.tail is 1.5, expected a number from 0 to 1");
  bad(R"({"zones": {"a": {"tail": "much"}}})", "zones.a.tail is \"much\", expected a number from 0 to 1");
  bad(R"({"value": {"attribute": "price"}, "zones": {"a": {"value": -1}}})",
      "zones.a.value is -1, expected a number from 0 to 1");
  bundle.rules = "{}";
  const Release plain(Bundle{bundle});
  CHECK_THROWS_WITH_AS(
      plain.list({.events = history, .value = 0.5}),
      "recommend: value is 0.5, but the bundle's rules name no number for it, as {\"value\": {\"attribute\": "
      "…}}; its products have price, stock",
      std::invalid_argument);
  CHECK(plain.list({.events = history, .value = 0.0}).items == plain.list({.events = history}).items);
  CHECK(plain.list({.events = history, .tail = 1.0}).items != plain.list({.events = history}).items);
  bundle.attributes = Attributes(kProducts);
  const Release bare(Bundle{bundle});
  CHECK_THROWS_WITH_AS(bare.list({.events = history, .value = 0.5}), doctest::Contains("its products have none"),
                       std::invalid_argument);
}
