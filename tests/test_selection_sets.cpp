// What a selection keeps while it works: sets of places that are empty or a zone's own, counts, the pool's embeddings.
#include <bit>
#include <numeric>

#include "tests/selection.h"

using namespace stamp;
using namespace selection;

namespace {

// Products 0 to V - 1, all candidates but the first two, best first; `values` brands in turn.
Shop shop_of(int V, int values) {
  Shop shop;
  shop.attributes = Attributes(V);
  TextAttribute brand{.name = "brand", .values = {}, .codes = {}};
  NumberAttribute price{.name = "price", .values = {}};
  for (int value = 0; value < values; ++value) brand.values.push_back(concat("b", value));
  std::vector<std::int32_t> rows;
  for (int id = 0; id < V; ++id) {
    shop.catalog.add(id);
    brand.codes.push_back(id % values);
    price.values.push_back(static_cast<float>(id));
    shop.embeddings.push_back({1, static_cast<float>(id % 3)});
    if (id >= 2) rows.push_back(id);
    if (id >= 2) shop.scores.push_back(static_cast<float>(V - id));
  }
  shop.attributes.add(std::move(brand));
  shop.attributes.add(std::move(price));
  shop.make_candidates(std::move(rows));
  return shop;
}

// A zone whose fixed rules are worked out, as a bundle's are.
struct Zone {
  Rules rules;
  FixedRules fixed;
  RuleSource source;

  Zone(const Shop& shop, const std::string& json)
      : rules(Rules::parse(json, shop.catalog, shop.attributes)),
        fixed(rules.fixed(shop.candidates)),
        source{&rules, &fixed} {}
};

SelectionProblem problem_of(const Shop& shop, const Zone& zone) {
  SelectionProblem problem{.catalog = &shop.catalog,
                           .candidates = &shop.candidates,
                           .rules = {&zone.source, 1},
                           .visit = {.attributes = &shop.attributes},
                           .exclude = {},
                           .only = {},
                           .k = 3,
                           .embeddings = {}};
  return problem;
}

std::vector<std::int32_t> places(const PlaceSet& set, const Shop& shop) {
  std::vector<std::int32_t> in;
  for (std::int32_t place = 0; place < shop.candidates.size(); ++place)
    if (set.contains(place)) in.push_back(place);
  CHECK(set.count() == static_cast<std::int64_t>(in.size()));
  std::int64_t counted = 0;
  for (std::uint64_t word : set.bits()) counted += std::popcount(word);
  CHECK(counted == set.count());
  return in;
}

}  // namespace

TEST_CASE("nothing is written where nothing is excluded") {
  const Shop shop = shop_of(200, 10);
  Selection selection;
  // Rules that forbid nothing in this visit: products that are no candidates, an anchor that is unknown, values that
  // none has.
  const Zone zone(shop, R"([{"rule": "exclude_seen"}, {"rule": "different_value", "attribute": "brand"},
                            {"rule": "price_band", "attribute": "price", "from": 1, "to": 2},
                            {"rule": "exclude_values", "attribute": "brand", "values": ["of none"]},
                            {"rule": "limit", "attribute": "brand", "max": 1}, {"rule": "pin", "products": [0]}])");
  const Zone dense(shop, R"([{"rule": "price_band", "attribute": "price", "from": 0.5, "to": 1}])");
  for (int round = 0; round < 2; ++round) {  // after a request that did exclude, too
    SelectionProblem problem = problem_of(shop, zone);
    const std::vector<std::int32_t> seen{0, 1, Catalog::kUnknown};
    problem.visit.seen = seen;
    selection.prepare(problem);
    CHECK(selection.excluded().bits().empty());
    CHECK(selection.excluded().left() == 198);
    CHECK(selection.boosts().empty());

    problem = problem_of(shop, dense);
    problem.visit.anchor = 100;
    selection.prepare(problem);
    std::vector<std::int32_t> expected;
    for (std::int32_t place = 0; place < 198; ++place)
      if (place + 2 < 50 || place + 2 > 100) expected.push_back(place);
    CHECK(places(selection.excluded(), shop) == expected);
  }
}

TEST_CASE("a zone's set is pointed to, and stays what it is when requests exclude more") {
  const Shop shop = shop_of(200, 10);
  const Zone zone(shop, R"([{"rule": "exclude_values", "attribute": "brand", "values": ["b3", "b4"]},
                            {"rule": "boost", "attribute": "brand", "values": ["b5"], "by": 1}])");
  const Zone other(shop, R"([{"rule": "exclude_products", "products": [7]}])");
  const FixedRules before = zone.fixed;
  CHECK(zone.fixed.count == 40);
  Selection selection;
  for (int round = 0; round < 3; ++round) {
    SelectionProblem problem = problem_of(shop, zone);
    selection.prepare(problem);
    CHECK(selection.excluded().bits().data() == zone.fixed.excluded.data());
    CHECK(selection.boosts().data() == zone.fixed.boosts().data());
    CHECK(selection.excluded().count() == 40);

    // An exclusion of what the zone excludes asks for no set of its own; one of another product does.
    const std::vector<std::int32_t> own{13, 9, 9, 1, Catalog::kUnknown};
    problem.exclude = std::span(own).first(1);
    selection.prepare(problem);
    CHECK(selection.excluded().bits().data() == zone.fixed.excluded.data());
    problem.exclude = own;
    selection.prepare(problem);
    std::vector<std::int32_t> expected;
    for (std::int32_t place = 0; place < 198; ++place)
      if ((place + 2) % 10 == 3 || (place + 2) % 10 == 4 || place + 2 == 9) expected.push_back(place);
    CHECK(places(selection.excluded(), shop) == expected);
    CHECK(zone.fixed.excluded == before.excluded);
    CHECK(zone.fixed.boosts_of == before.boosts_of);

    problem = problem_of(shop, other);
    selection.prepare(problem);
    CHECK(places(selection.excluded(), shop) == std::vector<std::int32_t>{5});
    CHECK(selection.boosts().empty());
  }
}

TEST_CASE("what is left is counted from scan to scan") {
  const Shop shop = shop_of(400, 5);
  const Zone zone(shop, R"([{"rule": "limit", "attribute": "brand", "max": 2}])");
  SelectionProblem problem = problem_of(shop, zone);
  problem.k = 11;  // five values of two: ten
  const std::vector<std::int32_t> exclude{2, 3};
  problem.exclude = exclude;
  Selection selection;
  selection.prepare(problem);
  CHECK(selection.first_scan() >= 11);
  std::vector<Scored> list;
  int scans = 0;
  const Scan scan = [&](std::int64_t n, const PlaceSet& excluded, std::span<const float>, std::vector<Scored>& found) {
    found.clear();
    const auto out = places(excluded, shop);
    if (scans++ > 0) CHECK(out.size() == 398);  // all five values are full
    for (std::int32_t place = 0; place < shop.candidates.size(); ++place)
      if (!excluded.contains(place) && static_cast<std::int64_t>(found.size()) < n)
        found.push_back({place, shop.scores[place]});
  };
  scan(selection.first_scan(), selection.excluded(), {}, list);
  const SelectedProducts selected = selection.select(list, scan);
  CHECK(selected.rows == std::vector<std::int32_t>{4, 5, 6, 7, 8, 9, 10, 11, 12, 13});
  CHECK(selected.reason == "10 of 11: 398 candidates, exclude leaves 396, limit brand allows 2 of a value");
  CHECK(selection.excluded().left() == 0);
}

TEST_CASE("scans go on where limits hold back more than the first one lists, and only there") {
  constexpr int kProducts = 40'000, kAlike = 500;
  Shop shop = shop_of(kProducts, 10);
  const auto scans_and_rows = [&](const Shop& of, std::int64_t k) {
    Selection selection;
    const Answer answer =
        select(of, {.rules = R"([{"rule": "limit", "attribute": "brand", "max": 3}])", .k = k}, selection, false);
    return std::pair(answer.scans, answer.selected.rows);
  };
  std::vector<std::int32_t> expected(20);
  std::iota(expected.begin(), expected.end(), 2);
  CHECK(scans_and_rows(shop, 20) == std::pair(1, expected));

  TextAttribute brand{.name = "brand", .values = shop.attributes.texts()[0].values, .codes = {}};
  for (int id = 0; id < kProducts; ++id) brand.codes.push_back(id < kAlike ? 0 : id % 10);
  shop.attributes = Attributes(kProducts);
  shop.attributes.add(std::move(brand));
  shop.make_candidates(shop.candidates.rows());
  // The three best; then the first of nine other brands, in turn.
  expected = {2, 3, 4};
  for (int id = kAlike; expected.size() < 20; ++id)
    if (id % 10 != 0) expected.push_back(id);
  CHECK(scans_and_rows(shop, 20) == std::pair(2, expected));
  expected.resize(3);
  CHECK(scans_and_rows(shop, 3) == std::pair(1, expected));
}

TEST_CASE("limits of very many values, with nothing left of the request before") {
  const Shop shop = shop_of(3000, 700);
  Selection selection;  // one for all
  for (std::int64_t max : {1, 3, 2, 1}) {
    const std::string rules = concat(R"([{"rule": "limit", "attribute": "brand", "max": )", max, "}]");
    std::vector<std::int32_t> expected;
    for (std::int32_t row = 2; row < 3000; ++row)  // brands in turn; 0 and 1 are no candidates, so those come later
      if ((row - 2) / 700 < max) expected.push_back(row);
    CHECK(select(shop, {.rules = rules, .k = 2500}, selection, false).selected.rows == expected);
    expected.resize(5);
    CHECK(select(shop, {.rules = rules, .k = 5}, selection, false).selected.rows == expected);
  }
}

TEST_CASE("the embeddings of a pool and its pins are asked for at once") {
  const Shop shop = shop_of(50, 5);
  const Zone zone(shop, R"([{"rule": "pin", "products": [40, 1, 30]},
                            {"rule": "diversify", "by": "embedding", "strength": 0.5, "pool": 6}])");
  SelectionProblem problem = problem_of(shop, zone);
  problem.k = 8;
  problem.D = 2;
  std::vector<std::vector<std::int32_t>> asked;
  problem.embeddings = [&](std::span<const std::int32_t> wanted, std::vector<float>& rows) {
    asked.emplace_back(wanted.begin(), wanted.end());
    rows.clear();
    for (std::int32_t place : wanted) {
      const auto& row = shop.embeddings[shop.candidates.rows()[place]];
      rows.insert(rows.end(), row.begin(), row.end());
    }
  };
  Selection selection;
  selection.prepare(problem);
  std::vector<Scored> list;
  for (std::int32_t place = 0; place < selection.first_scan(); ++place) list.push_back({place, shop.scores[place]});
  const SelectedProducts selected = selection.select(list, {});
  CHECK(asked == std::vector<std::vector<std::int32_t>>{{0, 1, 2, 3, 4, 5, 38, 28}});  // product 1 is no candidate
  CHECK(selected.rows.size() == 8);
}

TEST_CASE("pools of any size are mixed by the cosines of their embeddings") {
  constexpr std::int64_t kD = 37;
  Shop shop = shop_of(150, 5);
  for (auto& row : shop.embeddings) row.resize(kD);
  const auto numbers = check::random(150 * kD, 1, 1);
  for (std::size_t i = 0; i < numbers.size(); ++i) shop.embeddings[i / kD][i % kD] = numbers[i];
  const auto cosine = [&](std::int32_t a, std::int32_t b) {
    double ab = 0, aa = 0, bb = 0;
    for (std::int64_t d = 0; d < kD; ++d) {
      const double x = shop.embeddings[a][d], y = shop.embeddings[b][d];
      ab += x * y, aa += x * x, bb += y * y;
    }
    return std::max(0.0, ab / (std::sqrt(aa) * std::sqrt(bb)));
  };
  Selection selection;
  for (const std::int32_t pool : {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 100}) {
    CAPTURE(pool);
    std::vector<std::int32_t> expected;  // rows 2 … pool + 1, whose scores fall by 1
    while (static_cast<std::int32_t>(expected.size()) < pool) {
      std::int32_t best = -1;
      double largest = -INFINITY;
      for (std::int32_t row = 2; row < pool + 2; ++row) {
        if (std::find(expected.begin(), expected.end(), row) != expected.end()) continue;
        double nearest = 0;
        for (std::int32_t other : expected) nearest = std::max(nearest, cosine(row, other));
        const double relevance = pool > 1 ? static_cast<double>(pool + 1 - row) / (pool - 1) : 1;
        if (const double value = 0.5 * relevance - 0.5 * nearest; value > largest) best = row, largest = value;
      }
      expected.push_back(best);
    }
    const std::string rules =
        concat(R"([{"rule": "diversify", "by": "embedding", "strength": 0.5, "pool": )", pool, "}]");
    CHECK(select(shop, {.rules = rules, .k = pool}, selection, false).selected.rows == expected);
  }
}
