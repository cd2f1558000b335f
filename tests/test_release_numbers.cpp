// Numbers that are set while a release is served, against releases of bundles that had them from the start.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <thread>

#include "stamp/release.h"
#include "tests/check.h"

using namespace stamp;

namespace {

constexpr std::int64_t kProducts = 300, kClusters = 3;
constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();

using Columns = std::vector<std::vector<float>>;  // price, available, sellable; by row

Columns first_columns() {
  Columns columns(3);
  for (std::int64_t row = 0; row < kProducts; ++row) {
    columns[0].push_back(row % 11 == 0 ? kMissing : static_cast<float>(5 + row % 40));
    columns[1].push_back(row % 4 == 0 ? 0.0f : 1.0f);
    columns[2].push_back(row % 6 == 0 ? kMissing : static_cast<float>(row % 3));
  }
  return columns;
}

// Products of no cluster are the last ones of each kind; rules of every sort that looks at numbers.
Bundle bundle_of(const Columns& columns) {
  Bundle bundle;
  TextAttribute kind{.name = "kind", .values = {"a", "b", "c", "gone"}, .codes = {}};
  for (std::int64_t row = 0; row < kProducts; ++row) {
    bundle.catalog.add(1000 + row);
    bundle.counts.push_back(row * 37 % 101);
    kind.codes.push_back(row % 50 == 7 ? 3 : static_cast<std::int32_t>(row % 3));
  }
  bundle.attributes = Attributes(kProducts);
  bundle.attributes.add(kind);
  bundle.attributes.add(NumberAttribute{.name = "price", .values = columns[0]});
  bundle.attributes.add(NumberAttribute{.name = "available", .values = columns[1]});
  bundle.attributes.add(NumberAttribute{.name = "sellable", .values = columns[2]});
  bundle.route_by = {"kind"};
  bundle.rules = R"({
    "build": [{"rule": "only_available"}, {"rule": "exclude_values", "attribute": "kind", "values": ["gone"]}],
    "value": {"attribute": "price"},
    "zones": {
      "plain": {"k": 10},
      "dear": {"value": 0.5, "tail": 0.25, "rules": [{"rule": "boost", "attribute": "kind", "values": ["a"], "by": 0.5}]},
      "strict": {"rules": [{"rule": "only_available", "attribute": "sellable"},
                           {"rule": "exclude_values", "attribute": "kind", "values": ["b"]},
                           {"rule": "boost", "attribute": "kind", "values": ["c"], "by": 0.5}]},
      "near": {"rules": [{"rule": "price_band", "attribute": "price", "from": 0.5, "to": 1.5},
                         {"rule": "pin", "products": [1001, 1007, 1100, 1205]}]}}})";
  for (std::int64_t c = 0; c < kClusters; ++c) {
    Cluster cluster;
    cluster.id = c;
    for (std::int64_t row = c; row < kProducts - 30; row += kClusters)
      cluster.rows.push_back(static_cast<std::int32_t>(row));
    Config config = Config::preset("official");
    config.dim = 8;
    config.item_std = 0.4f;
    config.weight_std = 0.3f;
    config.seed = static_cast<std::uint64_t>(c) + 1;
    cluster.model = std::make_shared<Model>(config, static_cast<std::int64_t>(cluster.rows.size()), open_device("cpu"));
    bundle.clusters.push_back(std::move(cluster));
  }
  return bundle;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {  // pins and what is missing are NaN
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

// A bundle that comes from a file may have its columns in another order.
void set(Release& release, std::vector<NumberChange> changes) {
  for (NumberChange& change : changes)
    change.column =
        release.bundle().attributes.find_number(std::array{"price", "available", "sellable"}[change.column]);
  release.set_numbers(changes);
}

std::vector<NumberChange> random_changes(std::mt19937& random, std::size_t n) {
  std::vector<NumberChange> changes;
  for (std::size_t i = 0; i < n; ++i) {
    const auto column = static_cast<std::int32_t>(random() % 3);
    const float value = random() % 9 == 0 ? kMissing
                        : column == 0     ? static_cast<float>(random() % 60)
                                          : static_cast<float>(random() % 2);
    changes.push_back({static_cast<std::int32_t>(random() % kProducts), column, value});
  }
  return changes;
}

void check_same(const Release& served, const Release& expected, std::mt19937& random) {
  const auto own = R"([{"rule": "price_band", "attribute": "price", "from": 0.8, "to": 1.2},
                       {"rule": "pin", "products": [1003, 1012]}])";
  for (const char* zone : {"", "plain", "strict", "near", "dear"})
    for (int i = 0; i < 5; ++i) {
      std::vector<std::int32_t> events;
      for (int n = i; n > 0; --n) events.push_back(static_cast<std::int32_t>(random() % kProducts));
      if (i == 1) events = {static_cast<std::int32_t>(kProducts - 1 - random() % 30)};  // that no model knows
      const auto list = [&](const Release& release) {
        const auto rules = release.rules(own);
        return release.list({.events = events,
                             .k = i % 2 ? 0 : 400,
                             .zone = zone,
                             .rules = i == 3 ? rules.get() : nullptr,
                             .explain = true});
      };
      const Listing a = list(served), b = list(expected);
      CAPTURE(zone);
      CAPTURE(i);
      CHECK(a.items == b.items);
      CHECK(same(a.scores, b.scores));
      CHECK(to_string(a.path) == to_string(b.path));
      CHECK(a.reason == b.reason);
      CHECK(a.explanation == b.explanation);
    }
}

}  // namespace

TEST_CASE("numbers that are set are as good as the bundle's own, in every rule and on every path") {
  std::mt19937 random(3);
  Columns columns = first_columns();
  const check::Folder folder;
  save_bundle(folder / "bundle", bundle_of(columns), {.scan_tables = true});
  Release served(bundle_of(columns)), eager(folder / "bundle", {.device = "cpu"});
  Release lazy(folder / "bundle", {.device = "cpu", .lazy = true}),
      tight(folder / "bundle", {.device = "cpu", .memory = 1});
  for (int round = 0; round < 25; ++round) {
    const auto changes = random_changes(random, round % 5 == 4 ? 2 * kProducts : 1 + random() % 20);
    for (Release* release : {&served, &eager, &lazy, &tight}) set(*release, changes);
    for (const NumberChange& change : changes) columns[change.column][change.row] = change.value;
    const Release expected(bundle_of(columns));
    for (const Release* release : {&served, &eager, &lazy, &tight}) check_same(*release, expected, random);
    const auto now = served.numbers();
    CHECK((*now)[0].name == "price");
    for (std::size_t column = 0; column < columns.size(); ++column) CHECK(same((*now)[column].values, columns[column]));
  }
}

TEST_CASE("a product that a build's only_available left out comes back, and what others exclude does not") {
  const Columns columns = first_columns();
  Release release(bundle_of(columns));
  const std::vector<std::int32_t> events{1};
  const auto listed = [&](std::int32_t row) {
    const auto items = release.list({.events = events, .k = 400}).items;
    return std::count(items.begin(), items.end(), row) == 1;
  };
  CHECK_FALSE(listed(4));  // of the same cluster, and not available
  release.set_numbers(std::vector<NumberChange>{{4, 1, 1}, {7, 1, 1}});
  CHECK(listed(4));
  CHECK_FALSE(listed(7));  // "gone"
  release.set_numbers(std::vector<NumberChange>{{4, 1, kMissing}});
  CHECK_FALSE(listed(4));
}

TEST_CASE("numbers that cannot be set change nothing") {
  Release release(bundle_of(first_columns()));
  const auto before = release.numbers();
  const auto refused = [&](NumberChange change, const char* why) {
    CHECK_THROWS_WITH_AS(release.set_numbers(std::vector<NumberChange>{{4, 1, 1}, change}), why, std::invalid_argument);
  };
  refused({-1, 0, 1}, "set_numbers: row is -1, expected 0 or more, below 300");
  refused({300, 0, 1}, "set_numbers: row is 300, expected 0 or more, below 300");
  refused({0, 3, 1}, "set_numbers: column is 3, expected one of the 3 of numbers that the catalog has");
  refused({0, -1, 1}, "set_numbers: column is -1, expected one of the 3 of numbers that the catalog has");
  release.set_numbers({});
  CHECK(release.numbers() == before);
}

TEST_CASE("lists are right while numbers change") {
  // Products of even rows can be had in the one state, those of odd rows in the other; of what is listed each can be
  // had in one of them, and all that there are in either are listed.
  const Columns columns = first_columns();
  Release release(bundle_of(columns));
  std::vector<NumberChange> states[2];
  for (std::int32_t row = 0; row < kProducts; ++row)
    for (int state : {0, 1}) states[state].push_back({row, 1, row % 2 == state ? 1.0f : 0.0f});
  release.set_numbers(states[0]);
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0}, lists{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t)
    readers.emplace_back([&, t] {
      for (std::int32_t anchor = t; !done; anchor = (anchor + 1) % kProducts) {
        const auto items = release.list({.events = {&anchor, 1}, .k = 400}).items;
        std::set<int> parities;
        for (const std::int32_t row : items) parities.insert(row % 2);
        wrong += parities.size() != 1;
        ++lists;
      }
    });
  for (int i = 1; i <= 200 || lists < 200; ++i) release.set_numbers(states[i % 2]);
  done = true;
  for (auto& reader : readers) reader.join();
  CHECK(wrong == 0);
}
