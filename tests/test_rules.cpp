// Rules: what is read and refused, what each forbids.
#include <bit>
#include <cmath>

#include "stamp/rules.h"
#include "tests/check.h"

using namespace stamp;

namespace {

constexpr float kNone = NAN;

// Products "a" to "f".
struct Shop {
  Catalog catalog{Catalog::Kind::strings};
  Attributes attributes{6};
  Shop() {
    for (const char* id : {"a", "b", "c", "d", "e", "f"}) catalog.add(std::string_view(id));
    attributes.add(TextAttribute{.name = "colour", .values = {"red", "blue", "7"}, .codes = {0, 1, 0, -1, 2, 1}});
    attributes.add(TextAttribute{.name = "brand", .values = {"x", "y"}, .codes = {0, 0, 1, 1, -1, 0}});
    attributes.add(NumberAttribute{.name = "price", .values = {10, 20, kNone, 5, 40, 15}});
    attributes.add(NumberAttribute{.name = "available", .values = {1, 0, 1, kNone, -1, 1}});
  }
  Rules parse(const std::string& json) const { return Rules::parse(json, catalog, attributes); }
  // The ids that a rule leaves of the whole catalog: by the bit set, and the same product by product.
  std::string left(const std::string& json, Visit visit = {}) const {
    visit.attributes = &attributes;
    const Rules rules = parse("[" + json + "]");
    const Rule& rule = rules.list().at(0);
    const Candidates all({0, 1, 2, 3, 4, 5}, attributes);
    PlaceSet set(all.size());
    forbid(rule, visit, all, set);
    std::vector<std::uint64_t> excluded(set.bits().begin(), set.bits().end());
    excluded.resize(all.words());
    CHECK(set.count() == std::popcount(excluded[0]));
    if (is_fixed_exclusion(rule)) CHECK(rules.fixed(all).excluded == excluded);
    CHECK(excluded[0] < 64);  // none beyond the last
    std::string ids;
    for (std::int32_t row = 0; row < 6; ++row) {
      CHECK(forbids(rule, visit, row) == static_cast<bool>(excluded[0] >> row & 1));
      if (!forbids(rule, visit, row)) ids += catalog.string(row);
    }
    return ids;
  }
};

std::string complaint(const Shop& shop, const std::string& json) {
  try {
    shop.parse(json);
    return "";
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("rules that cannot be are refused with their path") {
  const Shop shop;
  const std::string types =
      "exclude_products, only_products, exclude_values, only_values, only_available, same_value, different_value, "
      "price_band, exclude_seen, exclude_bought, limit, boost, pin, diversify, min_score";
  const std::pair<const char*, std::string> refused[] = {
      {R"({})", "rules is an object, expected a list of rules"},
      {R"([7])", "rules[0] is 7, expected an object"},
      {R"([{"rule": "exclude_seen"}, {}])", "rules[1].rule is missing, expected one of " + types},
      {R"([{"rule": "excl"}])", "rules[0].rule is 'excl', expected one of " + types},
      {R"([{"rule": 3}])", "rules[0].rule is 3, expected one of " + types},
      {R"([{"rule": "exclude_seen", "k": 1}])", "rules[0].k is not a key of exclude_seen, expected rule alone"},
      {R"([{"rule": "pin", "product": []}])", "rules[0].product is not a key of pin, expected one of rule, products"},
      {R"([{"rule": "pin"}])", "rules[0].products is missing, expected a list of product ids"},
      {R"([{"rule": "pin", "products": "a"}])", "rules[0].products is 'a', expected a list of product ids"},
      {R"([{"rule": "pin", "products": ["a", 7]}])",
       "rules[0].products[1] is 7, expected a string, as this catalog's ids are"},
      {R"([{"rule": "only_values", "attribute": "colr", "values": []}])",
       "rules[0].attribute is 'colr', expected one of brand, colour"},
      {R"([{"rule": "only_values", "attribute": "price", "values": []}])",
       "rules[0].attribute is 'price', expected one of brand, colour"},
      {R"([{"rule": "only_values", "values": []}])", "rules[0].attribute is missing, expected one of brand, colour"},
      {R"([{"rule": "same_value", "attribute": ["colour"]}])",
       "rules[0].attribute is a list, expected one of brand, colour"},
      {R"([{"rule": "only_values", "attribute": "colour"}])",
       "rules[0].values is missing, expected a list of strings or integers"},
      {R"([{"rule": "only_values", "attribute": "colour", "values": {"red": 1}}])",
       "rules[0].values is an object, expected a list of strings or integers"},
      {R"([{"rule": "only_values", "attribute": "colour", "values": ["red", 1.5]}])",
       "rules[0].values[1] is 1.5, expected a string or an integer"},
      {R"([{"rule": "only_available", "attribute": "brand"}])",
       "rules[0].attribute is 'brand', expected one of available, price"},
      {R"([{"rule": "price_band", "attribute": "price", "to": 1}])",
       "rules[0].from is missing, expected a number of 0 or more"},
      {R"([{"rule": "price_band", "attribute": "price", "from": -0.5, "to": 1}])",
       "rules[0].from is -0.5, expected a number of 0 or more"},
      {R"([{"rule": "price_band", "attribute": "price", "from": 0.5, "to": 0.25}])",
       "rules[0].to is 0.25, expected a number of from, 0.5, or more"},
      {R"([{"rule": "price_band", "attribute": "price", "from": 0, "to": "2"}])",
       "rules[0].to is '2', expected a number of from, 0, or more"},
      {R"([{"rule": "limit", "attribute": "brand", "max": 0}])", "rules[0].max is 0, expected an integer of 1 or more"},
      {R"([{"rule": "limit", "attribute": "brand", "max": 1.5}])",
       "rules[0].max is 1.5, expected an integer of 1 or more"},
      {R"([{"rule": "limit", "attribute": "brand", "max": true}])",
       "rules[0].max is true, expected an integer of 1 or more"},
      {R"([{"rule": "boost", "attribute": "brand", "values": ["x"], "by": 1e39}])",
       "rules[0].by is 1e+39, expected a number that single precision holds"},
      {R"([{"rule": "boost", "attribute": "brand", "values": ["x"], "by": null}])",
       "rules[0].by is null, expected a number that single precision holds"},
      {R"([{"rule": "diversify", "by": "price", "strength": 0.5}])",
       "rules[0].by is 'price', expected one of brand, colour"},
      {R"([{"rule": "diversify", "by": "embedding", "strength": 1.01}])",
       "rules[0].strength is 1.01, expected a number from 0 to 1"},
      {R"([{"rule": "diversify", "by": "embedding", "strength": 0.5, "pool": 10001}])",
       "rules[0].pool is 10001, expected an integer from 1 to 10000"},
      {R"([{"rule": "diversify", "by": "embedding", "strength": 0.5, "pool": 0}])",
       "rules[0].pool is 0, expected an integer from 1 to 10000"},
      {R"([{"rule": "min_score", "score": "0"}])",
       "rules[0].score is '0', expected a number that single precision holds"},
  };
  for (const auto& [json, message] : refused) {
    CAPTURE(json);
    CHECK(complaint(shop, json) == message);
  }
  CHECK(complaint(shop, "[").starts_with("rules is not JSON: "));
  CHECK(complaint(shop, R"([{"rule": "exclude_seen", "rule": "exclude_bought"}])") ==
        "rules is not JSON: key 'rule' stands twice");
  CHECK(complaint(shop, std::string(200'000, '[') + std::string(200'000, ']')) ==
        "rules is not JSON: it nests deeper than 100 levels");
  CHECK(complaint(shop, R"([{"rule": "min_score", "score": 1e999}])").starts_with("rules is not JSON: "));

  // `where` begins the path; ids are as the catalog's; a default that is not there is named as such.
  Catalog numbers;
  numbers.add(7);
  Attributes plain(1);
  const auto in_zone = [&](const std::string& json) { Rules::parse(json, numbers, plain, "zones.home.rules"); };
  CHECK_THROWS_WITH(in_zone(R"([{"rule": "pin", "products": ["7"]}])"),
                    "zones.home.rules[0].products[0] is '7', expected an integer, as this catalog's ids are");
  CHECK_THROWS_WITH(in_zone(R"([{"rule": "pin", "products": [9223372036854775808]}])"),
                    "zones.home.rules[0].products[0] is 9223372036854775808, expected an integer, as this catalog's "
                    "ids are");
  CHECK_THROWS_WITH(in_zone(R"([{"rule": "only_available"}])"),
                    "zones.home.rules[0].attribute is 'available' by default, expected an attribute of this kind, of "
                    "which the catalog has none");
  CHECK_THROWS_WITH_AS(Rules::parse("[]", numbers, Attributes(2)),
                       "rules: there are attributes of 2 products, expected 1 as in the catalog",
                       std::invalid_argument);
}

TEST_CASE("rules are resolved against the catalog") {
  const Shop shop;
  const Rules rules = shop.parse(R"([{"rule": "pin", "products": ["f", "gone", "a", "f"]},
                                     {"rule": "boost", "attribute": "colour", "values": ["blue", "pink", 7], "by": 2},
                                     {"rule": "diversify", "by": "embedding", "strength": 0.5},
                                     {"rule": "limit", "attribute": "brand", "max": 2.0},
                                     {"rule": "only_products", "products": ["nowhere"]}])");
  CHECK(rules.unknown_products() == 2);
  REQUIRE(rules.list().size() == 5);
  CHECK(rules.list()[0].rows == std::vector<std::int32_t>{5, 0});
  CHECK(rules.list()[1].path == "rules[1]");
  CHECK(rules.list()[1].named == std::vector<std::uint8_t>{0, 0, 1, 1});
  CHECK(rules.list()[2].column == -1);
  CHECK(rules.list()[2].pool == Rules::kDefaultPool);
  CHECK(rules.list()[3].max == 2);
  CHECK(to_string(rules.list()[3].type) == "limit");
  const Candidates some({0, 1, 4, 5}, shop.attributes);
  CHECK(some.find(4) == 2);
  CHECK(some.find(3) == -1);
  CHECK(some.find(-1) == -1);
  CHECK(*rules.fixed(some).boosts_of == std::vector<float>{0, 2, 2, 2});
  CHECK(rules.fixed(some).excluded == std::vector<std::uint64_t>{0b1111});
  CHECK(shop.parse("[]").fixed(some).boosts().empty());
}

TEST_CASE("candidates know the places of every value, and numbers by place") {
  std::mt19937 random(3);
  for (const int V : {1, 63, 64, 65, 300}) {
    TextAttribute brand{.name = "brand", .values = {}, .codes = {}};
    for (int value = 0; value < 40; ++value) brand.values.push_back(concat("b", value));
    NumberAttribute price{.name = "price", .values = {}};
    std::vector<std::int32_t> rows;
    for (int row = 0; row < V; ++row) {
      brand.codes.push_back(static_cast<std::int32_t>(random() % 30) - 1);  // some values are nobody's
      price.values.push_back(random() % 8 == 0 ? kNone : static_cast<float>(random() % 9));
      if (random() % 3 > 0) rows.push_back(row);
    }
    Attributes attributes(V);
    attributes.add(brand);
    attributes.add(price);
    const Candidates candidates(rows, attributes);
    CHECK(candidates.rows() == rows);
    for (std::int32_t code = -1; code < 41; ++code) {
      std::vector<std::int32_t> expected;
      for (std::size_t place = 0; place < rows.size(); ++place)
        if (code >= 0 && brand.codes[rows[place]] == code) expected.push_back(static_cast<std::int32_t>(place));
      const auto found = candidates.with_value(0, code);
      CHECK(std::vector<std::int32_t>(found.begin(), found.end()) == expected);
    }
    const auto numbers = candidates.numbers(0);
    REQUIRE(numbers.size() == rows.size());
    for (std::size_t place = 0; place < rows.size(); ++place)
      CHECK((numbers[place] == price.values[rows[place]] || std::isnan(price.values[rows[place]])));
  }
}

TEST_CASE("exclusions by bit set are those product by product, for any number of candidates") {
  std::mt19937 random(4);
  const float inf = std::numeric_limits<float>::infinity();
  const float prices[] = {kNone, inf, -inf, 0, -0.0f, 1, 2, 2.5f, 4, -3, std::numeric_limits<float>::denorm_min()};
  for (const int V : {1, 15, 17, 63, 64, 65, 127, 200, 1000}) {
    Catalog catalog;
    TextAttribute brand{.name = "brand", .values = {"x", "y", "z"}, .codes = {}};
    NumberAttribute price{.name = "price", .values = {}};
    std::vector<std::int32_t> rows;
    for (int row = 0; row < V; ++row) {
      catalog.add(row);
      brand.codes.push_back(static_cast<std::int32_t>(random() % 4) - 1);
      price.values.push_back(prices[random() % std::size(prices)]);
      if (random() % 5 > 0) rows.push_back(row);
    }
    Attributes attributes(V);
    attributes.add(brand);
    attributes.add(price);
    const Candidates candidates(rows, attributes);
    const Rules rules = Rules::parse(R"([
        {"rule": "only_available", "attribute": "price"},
        {"rule": "price_band", "attribute": "price", "from": 0.5, "to": 2},
        {"rule": "exclude_values", "attribute": "brand", "values": ["x", "z"]},
        {"rule": "only_values", "attribute": "brand", "values": ["y", "z"]},
        {"rule": "same_value", "attribute": "brand"},
        {"rule": "different_value", "attribute": "brand"}])",
                                     catalog, attributes);
    for (std::int32_t anchor = -1; anchor < std::min(V, 30); ++anchor) {
      const Visit visit{.attributes = &attributes, .anchor = anchor};
      PlaceSet all(candidates.size());  // one after the other, into what was there before
      for (const Rule& rule : rules.list()) {
        CAPTURE(rule.path);
        PlaceSet alone(candidates.size());
        forbid(rule, visit, candidates, alone);
        const std::int64_t before = all.count();
        std::int64_t count = 0, fresh = 0;
        for (std::int32_t place = 0; place < candidates.size(); ++place) {
          const bool expected = forbids(rule, visit, rows[place]);
          REQUIRE(alone.contains(place) == expected);
          count += expected;
          fresh += expected && !all.contains(place);
        }
        CHECK(alone.count() == count);
        forbid(rule, visit, candidates, all);
        CHECK(all.count() == before + fresh);
        if (!all.bits().empty() && candidates.size() % 64 != 0) {
          const std::uint64_t beyond = all.bits().back() >> (candidates.size() % 64);
          CHECK(beyond == 0);
        }
      }
    }
  }
}

TEST_CASE("what exclusions leave of a catalog") {
  const Shop shop;
  CHECK(shop.left(R"({"rule": "exclude_products", "products": ["b", "zzz"]})") == "acdef");
  CHECK(shop.left(R"({"rule": "exclude_products", "products": []})") == "abcdef");
  CHECK(shop.left(R"({"rule": "only_products", "products": ["e", "b", "zzz"]})") == "be");
  CHECK(shop.left(R"({"rule": "only_products", "products": []})") == "");
  CHECK(shop.left(R"({"rule": "exclude_values", "attribute": "colour", "values": ["red", 7, "pink"]})") == "bdf");
  CHECK(shop.left(R"({"rule": "only_values", "attribute": "colour", "values": ["red", 7, "pink"]})") == "ace");
  CHECK(shop.left(R"({"rule": "only_available"})") == "acef");
  CHECK(shop.left(R"({"rule": "only_available", "attribute": "price"})") == "abdef");
}

TEST_CASE("exclusions that look at the visit") {
  const Shop shop;
  const std::vector<std::int32_t> seen{3, -1, 0}, bought{5};
  const Visit visit{.anchor = 0, .seen = seen, .bought = bought};
  CHECK(shop.left(R"({"rule": "exclude_seen"})", visit) == "bcef");
  CHECK(shop.left(R"({"rule": "exclude_bought"})", visit) == "abcde");
  CHECK(shop.left(R"({"rule": "same_value", "attribute": "brand"})", visit) == "abf");
  CHECK(shop.left(R"({"rule": "different_value", "attribute": "brand"})", visit) == "cde");
  CHECK(shop.left(R"({"rule": "price_band", "attribute": "price", "from": 0.5, "to": 1.5})", visit) == "adf");
  CHECK(shop.left(R"({"rule": "price_band", "attribute": "price", "from": 1, "to": 1})", visit) == "a");
  // Negative numbers turn the band round: -2 to -0.5.
  CHECK(shop.left(R"({"rule": "price_band", "attribute": "available", "from": 0.5, "to": 2})", {.anchor = 4}) == "e");
  const auto idle = [&](const std::string& json, std::int32_t anchor) {
    CHECK(shop.left(json, {.anchor = anchor}) == "abcdef");
    const Rules rules = shop.parse("[" + json + "]");
    return does_not_apply(rules.list()[0], {.attributes = &shop.attributes, .anchor = anchor});
  };
  CHECK(idle(R"({"rule": "same_value", "attribute": "brand"})", -1) == "the anchor is unknown");
  CHECK(idle(R"({"rule": "same_value", "attribute": "brand"})", 4) == "the anchor has no brand");
  CHECK(idle(R"({"rule": "different_value", "attribute": "brand"})", 4) == "the anchor has no brand");
  CHECK(idle(R"({"rule": "price_band", "attribute": "price", "from": 0, "to": 1})", 2) == "the anchor has no price");
  CHECK(idle(R"({"rule": "exclude_seen"})", -1) == "");
}

TEST_CASE("a price band is exact to the last bit") {
  // The edge, 0.7 · 3 in double precision, lies between two floats.
  Catalog catalog;
  Attributes attributes(4);
  for (int id = 0; id < 4; ++id) catalog.add(id);
  const float edge = 0.7f * 3, below = std::nextafter(edge, 0.0f), above = std::nextafter(edge, 9.0f);
  attributes.add(NumberAttribute{.name = "price", .values = {3, below, edge, above}});
  const Rules rules = Rules::parse(R"([{"rule": "price_band", "attribute": "price", "from": 0.7, "to": 0.7},
      {"rule": "price_band", "attribute": "price", "from": 0.7, "to": 9}])",
                                   catalog, attributes);
  for (std::int32_t row = 0; row < 4; ++row) {
    const double price = attributes.numbers()[0].values[row];
    const Visit visit{.attributes = &attributes, .anchor = 0};
    CHECK(forbids(rules.list()[0], visit, row) == (price < 0.7 * 3.0 || price > 0.7 * 3.0));
    CHECK(forbids(rules.list()[1], visit, row) == (price < 0.7 * 3.0));
  }
}
