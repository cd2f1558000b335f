// Lists under rules against a naive reading of docs/rules.md, which sorts all candidates and looks at one product at a
// time; reasons and explanations.
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "stamp/selection.h"
#include "tests/check.h"

using namespace stamp;
using Json = nlohmann::json;

namespace {

// Products 0 to V - 1 with attributes and embeddings, those that are candidates, and their scores.
struct Shop {
  Catalog catalog;
  Attributes attributes;
  std::vector<std::vector<float>> embeddings;  // [V] of D
  Candidates candidates;
  std::vector<float> scores;  // by place

  std::int64_t D() const { return static_cast<std::int64_t>(embeddings[0].size()); }
  std::optional<std::string> text(const std::string& name, int row) const {
    const auto& column = attributes.texts()[attributes.find_text(name)];
    if (column.codes[row] < 0) return {};
    return column.values[column.codes[row]];
  }
  std::optional<float> number(const std::string& name, int row) const {
    const float value = attributes.numbers()[attributes.find_number(name)].values[row];
    if (std::isnan(value)) return {};
    return value;
  }
  void make_candidates(std::vector<std::int32_t> rows) {
    candidates = {.rows = rows, .attributes = attributes.take(rows)};
  }
};

struct Request {
  std::string zone = "[]", rules = "[]";
  std::int32_t anchor = -1;
  std::vector<std::int32_t> seen = {}, bought = {}, exclude = {};
  std::optional<std::vector<std::int32_t>> only = {};
  std::int64_t k = 10;
  bool embeddings = true, min_score = true;
};

bool holds(const auto& values, const auto& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

std::vector<std::string> texts(const Json& values) {
  std::vector<std::string> all;
  for (const Json& value : values)
    all.push_back(value.is_string() ? value.get<std::string>() : std::to_string(value.get<int>()));
  return all;
}

bool naive_forbids(const Shop& shop, const Request& request, const Json& rule, std::int32_t row) {
  const std::string type = rule.at("rule"), name = rule.value("attribute", "available");
  const std::int32_t anchor = request.anchor;
  if (type == "exclude_products") return holds(rule.at("products"), Json(row));
  if (type == "only_products") return !holds(rule.at("products"), Json(row));
  if (type == "exclude_seen") return holds(request.seen, row);
  if (type == "exclude_bought") return holds(request.bought, row);
  if (type == "only_available") return shop.number(name, row).value_or(0) == 0;
  if (type == "exclude_values" || type == "only_values") {
    const auto value = shop.text(name, row);
    const bool named = value && holds(texts(rule.at("values")), *value);
    return type == "exclude_values" ? named : !named;
  }
  if (type == "same_value" || type == "different_value") {
    if (anchor < 0 || !shop.text(name, anchor)) return false;
    const bool same = shop.text(name, row) == shop.text(name, anchor);
    return type == "same_value" ? !same : same;
  }
  if (type == "price_band") {
    if (anchor < 0 || !shop.number(name, anchor)) return false;
    if (!shop.number(name, row)) return true;
    const double a = rule.at("from").get<double>() * *shop.number(name, anchor);
    const double b = rule.at("to").get<double>() * *shop.number(name, anchor);
    return *shop.number(name, row) < std::min(a, b) || *shop.number(name, row) > std::max(a, b);
  }
  return false;
}

// The path of the first rule that forbids a product, or "".
std::string naive_excluder(const Shop& shop, const Request& request, std::int32_t row) {
  for (const auto& [source, where] : {std::pair(request.zone, "zone"), std::pair(request.rules, "rules")}) {
    const Json rules = Json::parse(source);
    for (std::size_t i = 0; i < rules.size(); ++i)
      if (naive_forbids(shop, request, rules[i], row)) return concat(where, "[", i, "]");
  }
  if (holds(request.exclude, row)) return "exclude";
  return request.only && !holds(*request.only, row) ? "only" : "";
}

struct Listed {
  std::int32_t row;
  float score;
};

std::vector<Listed> naive_list(const Shop& shop, const Request& request) {
  std::vector<Json> rules;
  for (const std::string& source : {request.zone, request.rules})
    for (const Json& rule : Json::parse(source)) rules.push_back(rule);

  const auto forbidden = [&](std::int32_t row) { return !naive_excluder(shop, request, row).empty(); };
  std::vector<Listed> answer;
  const auto listed = [&](std::int32_t row) {
    return std::any_of(answer.begin(), answer.end(), [&](const Listed& item) { return item.row == row; });
  };
  const auto is_full = [&] { return static_cast<std::int64_t>(answer.size()) >= request.k; };
  // Pins.
  for (const Json& rule : rules)
    if (rule.at("rule") == "pin")
      for (std::int32_t row : rule.at("products"))
        if (row < shop.catalog.size() && !forbidden(row) && !listed(row) && !is_full()) answer.push_back({row, NAN});
  const auto pins = answer;

  // All others in order.
  std::vector<Listed> all;
  for (std::size_t place = 0; place < shop.scores.size(); ++place) {
    const std::int32_t row = shop.candidates.rows[place];
    float boost = 0;
    bool enough = true;
    for (const Json& rule : rules)
      if (rule.at("rule") == "boost")
        if (const auto value = shop.text(rule.at("attribute"), row); value && holds(texts(rule.at("values")), *value))
          boost += rule.at("by").get<float>();
    const float score = shop.scores[place] + boost;
    for (const Json& rule : rules)
      if (rule.at("rule") == "min_score" && request.min_score)
        enough = enough && score >= rule.at("score").get<float>();
    if (enough && !forbidden(row) && !listed(row)) all.push_back({row, score});
  }
  std::stable_sort(all.begin(), all.end(), [](const Listed& a, const Listed& b) { return a.score > b.score; });

  const auto allowed = [&](std::int32_t row) {
    return std::none_of(rules.begin(), rules.end(), [&](const Json& rule) {
      if (rule.at("rule") != "limit") return false;
      const auto value = shop.text(rule.at("attribute"), row);
      const auto same = std::count_if(answer.begin(), answer.end(), [&](const Listed& item) {
        return shop.text(rule.at("attribute"), item.row) == value;
      });
      return value && same >= rule.at("max").get<std::int64_t>();
    });
  };

  Json diversify;
  for (const Json& rule : rules)
    if (rule.at("rule") == "diversify") diversify = rule;
  const bool by_embedding = !diversify.is_null() && diversify.at("by") == "embedding";
  if (!diversify.is_null() && (request.embeddings || !by_embedding)) {
    const double strength = diversify.at("strength");
    std::vector<Listed> pool;
    for (const Listed& item : all)
      if (allowed(item.row) && pool.size() < diversify.value("pool", 100u)) pool.push_back(item);
    const auto similarity = [&](std::int32_t a, std::int32_t b) -> double {
      if (!by_embedding) {
        const auto value = shop.text(diversify.at("by"), a);
        return value && value == shop.text(diversify.at("by"), b);
      }
      if (shop.candidates.find(a) < 0 || shop.candidates.find(b) < 0) return 0;
      double dot = 0, aa = 0, bb = 0;
      for (std::int64_t d = 0; d < shop.D(); ++d) {
        const double x = shop.embeddings[a][d], y = shop.embeddings[b][d];
        dot += x * y, aa += x * x, bb += y * y;
      }
      return aa * bb == 0 ? 0 : std::max(0.0, dot / (std::sqrt(aa) * std::sqrt(bb)));
    };
    while (!is_full()) {
      const Listed* best = nullptr;
      double largest = -INFINITY;
      for (const Listed& item : pool) {
        if (listed(item.row) || !allowed(item.row)) continue;
        const double low = pool.back().score, high = pool.front().score;
        const double relevance = high > low ? (item.score - low) / (high - low) : 1;
        double nearest = 0;
        for (const Listed& other : answer) nearest = std::max(nearest, similarity(item.row, other.row));
        const double value = (1 - strength) * relevance - strength * nearest;
        if (value > largest) best = &item, largest = value;
      }
      if (!best) break;
      answer.push_back(*best);
    }
  }
  for (const Listed& item : all)
    if (!is_full() && !listed(item.row) && allowed(item.row)) answer.push_back(item);
  return answer;
}

// The library's answer, from scans that sort everything.
struct Answer {
  SelectedProducts selected;
  int scans = 0;  // beside those that explain
};

Answer select(const Shop& shop, const Request& request, Selection& selection, bool fixed, bool explain = false) {
  const Rules zone = Rules::parse(request.zone, shop.catalog, shop.attributes, "zone");
  const Rules own = Rules::parse(request.rules, shop.catalog, shop.attributes);
  const FixedRules worked_out = zone.fixed(shop.candidates);
  const RuleSource sources[] = {{&zone, fixed ? &worked_out : nullptr}, {&own, nullptr}};
  Answer answer;
  const Scan scan = [&](std::int64_t n, std::span<const std::uint64_t> excluded, std::span<const float> boosts,
                        std::vector<Scored>& list) {
    ++answer.scans;
    REQUIRE(n >= 1);
    list.clear();
    for (std::int32_t place = 0; place < shop.candidates.size(); ++place)
      if (!(excluded[place / 64] >> (place % 64) & 1))
        list.push_back({place, shop.scores[place] + (boosts.empty() ? 0 : boosts[place])});
    std::stable_sort(list.begin(), list.end(), [](const Scored& a, const Scored& b) { return a.score > b.score; });
    if (static_cast<std::int64_t>(list.size()) > n) list.resize(n);
  };
  SelectionProblem problem{
      .catalog = &shop.catalog,
      .candidates = &shop.candidates,
      .rules = sources,
      .visit = {&shop.attributes, request.anchor, request.seen, request.bought},
      .exclude = request.exclude,
      .only = request.only ? std::span<const std::int32_t>(*request.only) : std::span<const std::int32_t>(),
      .restricted = request.only.has_value(),
      .k = request.k,
      .min_score = request.min_score,
      .D = shop.D(),
      .embedding = {}};
  if (request.embeddings)
    problem.embedding = [&](std::int32_t place) { return shop.embeddings[shop.candidates.rows[place]].data(); };
  selection.prepare(problem);
  std::vector<Scored> first;
  if (selection.first_scan() > 0) scan(selection.first_scan(), selection.excluded(), selection.boosts(), first);
  answer.selected = selection.select(first, scan, explain);
  return answer;
}

bool same(const SelectedProducts& selected, const std::vector<Listed>& expected) {
  if (selected.rows.size() != expected.size() || selected.scores.size() != expected.size()) return false;
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (selected.rows[i] != expected[i].row ||
        !(selected.scores[i] == expected[i].score || (std::isnan(selected.scores[i]) && std::isnan(expected[i].score))))
      return false;
  return true;
}

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  int below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(engine_); }
  bool chance(double p) { return std::bernoulli_distribution(p)(engine_); }
  std::vector<std::int32_t> rows(int n, int V) {
    std::vector<std::int32_t> rows(n);
    for (auto& row : rows) row = below(V);
    return rows;
  }

  // Few values of everything, so that ties and full limits abound.
  Shop shop() {
    Shop shop;
    const int V = chance(0.1) ? 1 + below(3) : 1 + below(200);
    for (int id = 0; id < V; ++id) shop.catalog.add(id);
    shop.attributes = Attributes(V);
    TextAttribute colour{.name = "colour", .values = {"c0", "c1", "2", "3"}, .codes = {}}, brand = colour;
    brand.name = "brand";
    for (int value = 0; value < 20; ++value) brand.values.push_back(concat("b", value));
    NumberAttribute price{.name = "price", .values = {}}, available{.name = "available", .values = {}};
    for (int row = 0; row < V; ++row) {
      colour.codes.push_back(below(5) - 1);
      brand.codes.push_back(below(25) - 1);
      price.values.push_back(chance(0.2) ? NAN : static_cast<float>(below(8) - 1) / 4);
      available.values.push_back(chance(0.1) ? NAN : static_cast<float>(chance(0.8)));
      shop.embeddings.push_back({static_cast<float>(below(3) - 1), static_cast<float>(below(3)), 0.1f * below(4)});
    }
    shop.attributes.add(std::move(colour));
    shop.attributes.add(std::move(price));
    shop.attributes.add(std::move(brand));
    shop.attributes.add(std::move(available));
    std::vector<std::int32_t> rows;
    const double share = chance(0.5) ? 1 : 0.6;
    for (int row = 0; row < V; ++row)
      if (chance(share)) rows.push_back(row);
    shop.make_candidates(rows);
    const int levels = chance(0.2) ? 1 : 12;
    const bool by_brand = chance(0.3);  // the best are of one brand, so that limits hold back whole scans
    for (std::int32_t row : rows)
      shop.scores.push_back(0.3f *
                            static_cast<float>((by_brand ? shop.attributes.texts()[1].codes[row] : below(levels)) - 4));
    return shop;
  }

  // Exclusions are types 0 to 9.
  Json rule(int V, int first) {
    const auto values = [&] {
      Json values = Json::array();
      for (int i = below(4); i >= 0; --i) values.push_back(chance(0.5) ? Json(concat("c", below(3))) : Json(below(5)));
      return values;
    };
    const char* text = chance(0.5) ? "colour" : "brand";
    switch (first + below(18 - first)) {
      case 0:
        return {{"rule", "exclude_products"}, {"products", rows(below(20), V + 5)}};
      case 1:
        return {{"rule", "only_products"}, {"products", rows(V, V + 5)}};
      case 2:
        return {{"rule", "exclude_values"}, {"attribute", text}, {"values", values()}};
      case 3:
        return {{"rule", "only_values"}, {"attribute", text}, {"values", values()}};
      case 4:
        return {{"rule", "only_available"}};
      case 5:
        return {{"rule", "same_value"}, {"attribute", text}};
      case 6:
        return {{"rule", "different_value"}, {"attribute", text}};
      case 7:
        return {{"rule", "price_band"}, {"attribute", "price"}, {"from", 0.1 * below(10)}, {"to", 1 + 0.1 * below(20)}};
      case 8:
        return {{"rule", "exclude_seen"}};
      case 9:
        return {{"rule", "exclude_bought"}};
      case 10:
        return {{"rule", "boost"}, {"attribute", text}, {"values", values()}, {"by", 0.1 * (below(30) - 15)}};
      case 11:
      case 12:
        return {{"rule", "pin"}, {"products", rows(1 + below(6), V + 5)}};
      case 13:
      case 14: {
        Json rule{{"rule", "diversify"}, {"by", chance(0.5) ? "embedding" : text}, {"strength", 0.25 * below(5)}};
        if (chance(0.7)) rule["pool"] = 1 + below(30);
        return rule;
      }
      case 15:
        return {{"rule", "min_score"}, {"score", 0.3 * (below(8) - 5)}};
      default:
        return {{"rule", "limit"}, {"attribute", text}, {"max", 1 + below(4)}};
    }
  }

  Request request(int V) {
    const int first = chance(0.5) ? 0 : 10;
    const auto list = [&] {
      Json list = Json::array();
      for (int n = below(5); n > 0; --n) list.push_back(rule(V, first));
      return list.dump();
    };
    Request request{.zone = list(), .rules = list()};
    if (chance(0.8)) request.anchor = below(V);
    request.seen = rows(below(6), V);
    request.seen.push_back(Catalog::kUnknown);
    request.bought = rows(below(6), V);
    if (chance(0.3)) request.exclude = rows(below(10), V);
    if (chance(0.1)) request.only = rows(below(100), V);
    request.k = chance(0.1) ? 1000 : 1 + below(25);
    request.embeddings = chance(0.9);
    request.min_score = chance(0.8);
    return request;
  }

 private:
  std::mt19937 engine_;
};

}  // namespace

TEST_CASE("lists are what sorting everything gives, whatever the rules") {
  Random random(1);
  Selection selection;  // one for all: nothing of a request is left for the next
  int extended = 0, shorter = 0, empty = 0, pinned = 0, diversified = 0;
  for (int round = 0; round < 6000; ++round) {
    const Shop shop = random.shop();
    const Request request = random.request(static_cast<int>(shop.catalog.size()));
    const auto expected = naive_list(shop, request);
    const Answer answer = select(shop, request, selection, random.chance(0.5));
    CAPTURE(round);
    CAPTURE(request.zone);
    CAPTURE(request.rules);
    REQUIRE(same(answer.selected, expected));
    REQUIRE(answer.selected.reason.empty() == (static_cast<std::int64_t>(expected.size()) == request.k));
    extended += answer.scans > 1;
    shorter += expected.size() > 0 && static_cast<std::int64_t>(expected.size()) < request.k;
    empty += expected.empty();
    pinned += !expected.empty() && std::isnan(expected[0].score);
    Request plain = request;
    plain.embeddings = false;
    diversified += !same(answer.selected, naive_list(shop, plain));
  }
  // The rounds have seen all there is to see.
  CHECK(extended > 100);
  CHECK(shorter > 500);
  CHECK(empty > 100);
  CHECK(pinned > 500);
  CHECK(diversified > 50);
}

TEST_CASE("explanations account for every candidate and every product that is missing") {
  Random random(2);
  Selection selection;
  for (int round = 0; round < 1000; ++round) {
    const Shop shop = random.shop();
    const Request request = random.request(static_cast<int>(shop.catalog.size()));
    if (shop.scores.empty()) continue;
    const Answer answer = select(shop, request, selection, false, true);
    REQUIRE(same(answer.selected, naive_list(shop, request)));
    const Json json = Json::parse(answer.selected.explanation);
    std::int64_t left = json.at("candidates");
    CHECK(left == shop.candidates.size());
    for (const Json& rule : json.at("rules")) left -= rule.value("removed", 0);
    CHECK(json.at("left") == left);
    REQUIRE(json.at("listed").size() == answer.selected.rows.size());
    for (std::size_t i = 0; i < answer.selected.rows.size(); ++i) {
      const Json& entry = json.at("listed")[i];
      CHECK(entry.at("id") == answer.selected.rows[i]);
      CHECK(entry.contains("pinned") == std::isnan(answer.selected.scores[i]));
      if (entry.contains("moved")) CHECK(entry.at("moved").at("to") == i + 1);
    }
    std::vector<std::string> list_rules;
    for (const Json& rule : json.at("rules"))
      if (holds(std::vector<std::string>{"min_score", "limit", "diversify"}, rule.at("rule").get<std::string>()))
        list_rules.push_back(rule.at("path"));
    const auto plain = naive_list(shop, {.k = request.k});
    std::size_t missing = 0;
    for (std::size_t i = 0; i < plain.size(); ++i) {
      if (holds(answer.selected.rows, plain[i].row)) continue;
      REQUIRE(missing < json.at("missing").size());
      const Json& entry = json.at("missing")[missing++];
      CHECK(entry.at("id") == plain[i].row);
      CHECK(entry.at("rank") == i + 1);
      const std::string excluder = naive_excluder(shop, request, plain[i].row);
      if (!excluder.empty())
        CHECK(entry.at("by") == excluder);
      else
        CHECK((entry.at("by").is_null() || holds(list_rules, entry.at("by").get<std::string>())));
    }
    CHECK(missing == json.at("missing").size());
  }
}

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
  CHECK(
      answer.selected.reason ==
      "4 of 8: 8 candidates, exclude_products leaves 7, only leaves 6, limit colour allows 2 of a value, min_score of "
      "2.5 ends the list");
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
  const FixedRules of_others{.excluded = {0, 0}, .boosts = {}};
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
