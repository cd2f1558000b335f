// Lists under rules of a small shop, worked out by hand; reasons, explanations and what is refused.
#include <nlohmann/json.hpp>

#include "tests/selection.h"

using namespace stamp;
using namespace selection;
using Json = nlohmann::json;

namespace {

// Eight candidates of ten products, best first; colours red, blue, red, blue, …, brand missing.
Shop small() {
  Shop shop;
  shop.attributes = Attributes(10);
  TextAttribute colour{.name = "colour", .values = {"red", "blue"}, .codes = {}};
  TextAttribute brand{.name = "brand", .values = {"x"}, .codes = std::vector<std::int32_t>(10, -1)};
  for (int id = 0; id < 10; ++id) {
    shop.catalog.add(id);
    colour.codes.push_back(id % 2);
    shop.embeddings.push_back({1, static_cast<float>(id % 2)});
  }
  shop.attributes.add(std::move(colour));
  shop.attributes.add(std::move(brand));
  shop.make_candidates({0, 1, 2, 3, 4, 5, 6, 7});
  for (int i = 0; i < 8; ++i) shop.scores.push_back(8.0f - static_cast<float>(i));
  return shop;
}

std::string ids(const SelectedProducts& selected) {
  std::string ids;
  for (std::int32_t row : selected.rows) ids += std::to_string(row);
  return ids;
}

}  // namespace

TEST_CASE("rules of a zone and of a request together") {
  const Shop shop = small();
  Selection selection;
  const auto list = [&](const std::string& zone, const std::string& rules, std::int64_t k) {
    return select(shop, {.zone = zone, .rules = rules, .k = k}, selection, true).selected;
  };
  CHECK(ids(list("[]", "[]", 3)) == "012");
  CHECK(ids(list(R"([{"rule": "limit", "attribute": "colour", "max": 2}])", "[]", 8)) == "0123");
  // Boosts add up, the zone's first; pins follow one another, each once, those beyond the candidates too.
  const auto boosted = list(R"([{"rule": "boost", "attribute": "colour", "values": ["blue"], "by": 1.5}])",
                            R"([{"rule": "boost", "attribute": "colour", "values": ["blue"], "by": 1}])", 3);
  CHECK(ids(boosted) == "103");
  CHECK(boosted.scores == std::vector<float>{9.5f, 8, 7.5f});
  const auto pinned =
      list(R"([{"rule": "pin", "products": [9, 5]}])", R"([{"rule": "pin", "products": [5, 8, 77]}])", 5);
  CHECK(ids(pinned) == "95801");
  CHECK(std::isnan(pinned.scores[1]));
  CHECK(pinned.scores[3] == 8);
  // Pins count towards limits, which remove none of them; exclusions do.
  CHECK(ids(list(R"([{"rule": "limit", "attribute": "colour", "max": 1}])", R"([{"rule": "pin", "products": [4, 2]}])",
                 4)) == "421");
  CHECK(ids(list(R"([{"rule": "exclude_values", "attribute": "colour", "values": ["red"]}])",
                 R"([{"rule": "pin", "products": [4, 9]}])", 3)) == "913");
  CHECK(ids(list("[]", R"([{"rule": "pin", "products": [4, 2, 3]}])", 2)) == "42");
  // The largest min_score, the last diversify.
  CHECK(ids(list(R"([{"rule": "min_score", "score": 6}])", R"([{"rule": "min_score", "score": 3}])", 8)) == "012");
  CHECK(ids(list(R"([{"rule": "diversify", "by": "colour", "strength": 1}])",
                 R"([{"rule": "diversify", "by": "colour", "strength": 0}])", 3)) == "012");
  // Of the pool of four, first one of each colour; the rest follows in order.
  CHECK(ids(list(R"([{"rule": "diversify", "by": "colour", "strength": 0.9, "pool": 4}])", "[]", 6)) == "012345");
  CHECK(ids(list(R"([{"rule": "diversify", "by": "colour", "strength": 0.9, "pool": 4}])",
                 R"([{"rule": "pin", "products": [6]}])", 4)) == "6102");
}

TEST_CASE("a list that is short says why") {
  const Shop shop = small();
  Selection selection;
  const auto reason = [&](const std::string& rules, std::int64_t k) {
    return select(shop, {.rules = rules, .exclude = {0, 9}, .k = k}, selection, false).selected.reason;
  };
  CHECK(reason("[]", 7) == "");
  CHECK(reason("[]", 9) == "7 of 9: 8 candidates, exclude leaves 7");
  CHECK(reason(R"([{"rule": "only_values", "attribute": "colour", "values": ["red"]},
                   {"rule": "exclude_seen"},
                   {"rule": "exclude_values", "attribute": "colour", "values": ["red"]}])",
               20) == "0 of 20: 8 candidates, only_values colour leaves 4, exclude_values colour leaves 0");
  CHECK(
      reason(
          R"([{"rule": "limit", "attribute": "colour", "max": 1}, {"rule": "limit", "attribute": "brand", "max": 1}])",
          3) == "2 of 3: 8 candidates, exclude leaves 7, limit colour allows 1 of a value");
  CHECK(reason(R"([{"rule": "min_score", "score": 5.5}])", 3) ==
        "2 of 3: 8 candidates, exclude leaves 7, min_score of 5.5 ends the list");
  const auto counts =
      select(shop, {.rules = R"([{"rule": "min_score", "score": 5.5}])", .k = 8, .min_score = false}, selection, false);
  CHECK(ids(counts.selected) == "01234567");
  Shop nothing = small();
  nothing.make_candidates({});
  nothing.scores.clear();
  CHECK(select(nothing, {.k = 2}, selection, true).selected.reason == "0 of 2: 0 candidates");
  CHECK(ids(select(nothing, {.rules = R"([{"rule": "pin", "products": [3]}])", .k = 2}, selection, true).selected) ==
        "3");
}

TEST_CASE("an explanation names what each rule did") {
  const Shop shop = small();
  Selection selection;
  const Request request{.zone = R"([{"rule": "same_value", "attribute": "brand"},
                                    {"rule": "boost", "attribute": "colour", "values": ["blue"], "by": 0.5},
                                    {"rule": "diversify", "by": "embedding", "strength": 0.5},
                                    {"rule": "min_score", "score": 2.5}])",
                        .rules = R"([{"rule": "exclude_products", "products": [1]},
                                     {"rule": "limit", "attribute": "colour", "max": 2},
                                     {"rule": "diversify", "by": "colour", "strength": 0.9, "pool": 4},
                                     {"rule": "pin", "products": [4]}])",
                        .anchor = 3,
                        .only = {{0, 1, 2, 3, 4, 5, 6}},
                        .k = 8};
  const Answer answer = select(shop, request, selection, true, true);
  CHECK(ids(answer.selected) == "4305");
  // The one product that scores below 2.5 would not be listed if it scored more.
  CHECK(answer.selected.reason ==
        "4 of 8: 8 candidates, exclude_products leaves 7, only leaves 6, limit colour allows 2 of a value");
  CHECK(Json::parse(answer.selected.explanation) == Json::parse(R"({
    "candidates": 8, "left": 6,
    "rules": [
      {"path": "zone[0]", "rule": "same_value", "removed": 0, "does_not_apply": "the anchor has no brand"},
      {"path": "zone[1]", "rule": "boost"},
      {"path": "zone[2]", "rule": "diversify", "does_not_apply": "a later diversify takes its place"},
      {"path": "zone[3]", "rule": "min_score"},
      {"path": "rules[0]", "rule": "exclude_products", "removed": 1},
      {"path": "rules[1]", "rule": "limit"},
      {"path": "rules[2]", "rule": "diversify"},
      {"path": "rules[3]", "rule": "pin"},
      {"path": "only", "rule": "only_products", "removed": 1}],
    "listed": [{"id": 4, "pinned": "rules[3]"}, {"id": 3, "boost": 0.5, "moved": {"from": 4, "to": 2}},
               {"id": 0, "moved": {"from": 2, "to": 3}}, {"id": 5, "boost": 0.5, "moved": {"from": 5, "to": 4}}],
    "missing": [{"id": 1, "rank": 2, "by": "rules[0]"}, {"id": 2, "rank": 3, "by": "rules[1]"},
                {"id": 6, "rank": 7, "by": "zone[3]"}, {"id": 7, "rank": 8, "by": "only"}]})"));

  const Json without = Json::parse(
      select(shop, {.zone = request.zone, .k = 1, .embeddings = false, .min_score = false}, selection, true, true)
          .selected.explanation);
  CHECK(without.at("rules")[0].at("does_not_apply") == "the anchor is unknown");
  CHECK(without.at("rules")[2].at("does_not_apply") == "there are no embeddings");
  CHECK(without.at("rules")[3].at("does_not_apply") == "the scores of this list are not a model's");
  CHECK(without.at("missing").empty());
}

TEST_CASE("one scan suffices where nothing holds products back") {
  const Shop shop = small();
  Selection selection;
  const auto scans = [&](const std::string& rules, std::int64_t k) {
    return select(shop, {.rules = rules, .k = k}, selection, false).scans;
  };
  CHECK(scans("[]", 3) == 1);
  CHECK(scans(R"([{"rule": "exclude_values", "attribute": "colour", "values": ["red"]}])", 4) == 1);
  CHECK(scans(R"([{"rule": "diversify", "by": "embedding", "strength": 0.3}])", 3) == 1);
  CHECK(scans(R"([{"rule": "limit", "attribute": "colour", "max": 3}])", 2) == 1);
  CHECK(scans(R"([{"rule": "pin", "products": [1, 2]}])", 2) == 0);
}

TEST_CASE("requests that cannot be are refused") {
  const Shop shop = small();
  Selection selection;
  const auto complaint = [&](const Request& request) -> std::string {
    try {
      select(shop, request, selection, false);
      return "";
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
  };
  CHECK(complaint({.k = 0}) == "recommend: k is 0, expected 1 or more");
  CHECK(complaint({.anchor = 10}) == "recommend: the anchor holds row 10, expected below 10");
  CHECK(complaint({.exclude = {3, 11}}) == "recommend: exclude holds row 11, expected below 10");
  CHECK(complaint({.only = {{-2}}}) == "recommend: only holds row -2, expected below 10");
  const Rules rules;
  const FixedRules of_others{.excluded = {0, 0}};
  const RuleSource source{&rules, &of_others};
  SelectionProblem problem{};
  problem.catalog = &shop.catalog;
  problem.candidates = &shop.candidates;
  problem.rules = {&source, 1};
  problem.k = 1;
  CHECK_THROWS_WITH_AS(selection.prepare(problem), "recommend: expected the attributes of 10 products",
                       std::invalid_argument);
  problem.visit.attributes = &shop.attributes;
  CHECK_THROWS_AS(selection.prepare(problem), std::invalid_argument);
}
