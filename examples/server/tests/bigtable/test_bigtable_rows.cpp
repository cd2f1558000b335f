// How visits lie in a table: keys of rows, cells of events, and the way back.
#include <doctest/doctest.h>

#include <set>
#include <stdexcept>

#include "config.h"
#include "rows.h"

using namespace server;
using namespace server::bigtable;

namespace {

// What Bigtable would answer: cells by qualifier, the latest version first.
Row row_of(const std::vector<Cells::Mutations>& all) {
  std::set<std::tuple<std::string, std::int64_t, std::string>> cells;
  for (const auto& mutations : all)
    for (const auto& mutation : mutations)
      cells.emplace(mutation.set_cell().column_qualifier(), -mutation.set_cell().timestamp_micros(),
                    mutation.set_cell().value());
  Row row{"v", {}};
  for (const auto& [qualifier, timestamp, value] : cells)
    row.cells.push_back({"visits", qualifier, -timestamp, value, {}});
  return row;
}

}  // namespace

TEST_CASE("keys of rows by their form") {
  CHECK(RowKeys("{visitor}").of("ann") == "ann");
  CHECK(RowKeys("v#{visitor}").of("ann") == "v#ann");
  // printf ann | sha256sum
  CHECK(RowKeys("{hash:4}#{visitor}").of("ann") == "4991#ann");
  CHECK(RowKeys("{hash:64}{visitor}").of("ann").size() == 67);
  CHECK(RowKeys("{visitor_reversed}#").of("ab\xc3\xa4z") ==
        "z\xc3\xa4"
        "ba#");
  for (const char* wrong : {"", "v", "{hash:4}", "{visitor", "visitor}", "{user}{visitor}", "{hash:0}{visitor}",
                            "{hash:65}{visitor}", "{hash:}{visitor}", "{hash:4x}{visitor}", "{}{visitor}"}) {
    CAPTURE(wrong);
    CHECK_THROWS_WITH_AS(RowKeys{wrong}, doctest::Contains("visits.bigtable.row_key"), std::invalid_argument);
  }
}

TEST_CASE("a row begins with its latest event, and of those of one time with the one that was written last") {
  Cells cells{BigtableOptions()};
  const auto first = cells.set({{2000, "search", "a"}, {5000, "detail-page-view", "b"}, {2000, "add#to-cart", "c"}});
  const auto second = cells.set({{2000, "detail-page-view", "d"}, {1000, "search", ""}});
  for (const auto& mutation : first) CHECK(mutation.set_cell().timestamp_micros() % 1000 == 0);
  const Row row = row_of({first, second});
  const std::vector<Event> expected{{1000, "search", ""},
                                    {2000, "search", "a"},
                                    {2000, "add#to-cart", "c"},
                                    {2000, "detail-page-view", "d"},
                                    {5000, "detail-page-view", "b"}};
  CHECK(cells.events(row, 100, 0) == expected);
  CHECK(cells.events(row, 2, 0) == std::vector<Event>(expected.end() - 2, expected.end()));
  CHECK(cells.events(row, 100, 2000) == std::vector<Event>(expected.begin() + 1, expected.end()));
  CHECK(row.cells.front().value == "b");
  CHECK(row.cells.back().value == "");
}

TEST_CASE("a mutation that is sent twice is one cell, an event that is written twice is two") {
  Cells cells{BigtableOptions()};
  const Event event{1000, "search", "a"};
  const auto once = cells.set({event});
  CHECK(row_of({once, once}).cells.size() == 1);
  CHECK(row_of({once, cells.set({event})}).cells.size() == 2);
  Cells other{BigtableOptions()};  // another server
  CHECK(row_of({once, other.set({event})}).cells.size() == 2);
}

TEST_CASE("cells of others are events where the configuration names them, else left out") {
  BigtableOptions options;
  options.other_columns = {"view=detail-page-view", "a=b=purchase-complete"};
  const Cells cells(options);
  Row row{"v",
          {{"other family", "view", 1000000, "no", {}},
           {"visits", "a=b", 4000000, "bought", {}},
           {"visits", "event#", 1000000, "no", {}},
           {"visits", "event#000000000000000000000000000000z#search", 1000000, "no", {}},
           {"visits", "event#0000000000000000000000000000000-search", 1000000, "no", {}},
           {"visits", "event#0000000000000000000000000000000#search", 2000000, "\xff not UTF-8", {}},
           {"visits", "event#0000000000000000000000000000000#search", 3000000, "ours", {}},
           {"visits", "score", 1000000, "no", {}},
           {"visits", "view", 5000000, "late", {}},
           {"visits", "view", 1000000, "early", {}}}};
  CHECK(cells.events(row, 100, 0) == std::vector<Event>{{1000, "detail-page-view", "early"},
                                                        {3000, "search", "ours"},
                                                        {4000, "purchase-complete", "bought"},
                                                        {5000, "detail-page-view", "late"}});
  CHECK(Cells(BigtableOptions()).events(row, 100, 0) == std::vector<Event>{{3000, "search", "ours"}});
}

TEST_CASE("what cannot be is refused by name") {
  Cells cells{BigtableOptions()};
  CHECK_THROWS_WITH_AS(cells.set({{-1, "search", "a"}}), doctest::Contains("-1"), std::invalid_argument);
  CHECK_THROWS_AS(cells.set({{std::int64_t{1} << 48, "search", "a"}}), std::invalid_argument);
  for (const char* other : {"view", "=type", "view=", "event#1=type"}) {
    CAPTURE(other);
    BigtableOptions options;
    options.other_columns = {other};
    CHECK_THROWS_WITH_AS(Cells{options}, doctest::Contains("visits.bigtable.other_columns"), std::invalid_argument);
  }
  BigtableOptions options;
  options.family = "";
  CHECK_THROWS_WITH_AS(Cells{options}, doctest::Contains("visits.bigtable.family"), std::invalid_argument);
}
