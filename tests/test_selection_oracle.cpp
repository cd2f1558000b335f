// Lists under random rules against a naive reading of docs/rules.md, which sorts all candidates and looks at one
// product at a time; and what explanations must account for.
#include <nlohmann/json.hpp>

#include "tests/selection.h"

using namespace stamp;
using namespace selection;
using Json = nlohmann::json;

namespace {

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

// What value and tail add to each candidate, in single precision, as scores are.
std::vector<float> naive_terms(const Shop& shop, const Request& request) {
  std::vector<float> terms(shop.scores.size());
  if (shop.clicks.empty()) return terms;
  const auto worth = [&](std::int32_t row) { return std::max(shop.number("price", row).value_or(0), 0.0f); };
  float least = INFINITY;
  for (const std::int32_t row : shop.candidates.rows())
    if (worth(row) > 0) least = std::min(least, worth(row));
  if (std::isinf(least)) least = 1;
  const auto by_value = static_cast<float>(request.powers.value * shop.temperature);
  const auto by_tail = static_cast<float>(request.powers.tail * shop.temperature * shop.tail_power);
  for (std::size_t place = 0; place < terms.size(); ++place) {
    const std::int32_t row = shop.candidates.rows()[place];
    terms[place] = by_value * std::log(worth(row) > 0 ? worth(row) : least) -
                   by_tail * std::log1p(static_cast<float>(shop.clicks[row]));
  }
  return terms;
}

std::vector<Listed> naive_list(const Shop& shop, const Request& request) {
  std::vector<Json> rules;
  for (const std::string& source : {request.zone, request.rules})
    for (const Json& rule : Json::parse(source)) rules.push_back(rule);
  const std::size_t of_zone = Json::parse(request.zone).size();

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
  const auto terms = naive_terms(shop, request);
  std::vector<Listed> all;
  for (std::size_t place = 0; place < shop.scores.size(); ++place) {
    const std::int32_t row = shop.candidates.rows()[place];
    float boost = 0;
    bool enough = true;
    for (std::size_t i = 0; i <= rules.size(); ++i) {
      if (i == of_zone) boost += terms[place];
      if (i == rules.size() || rules[i].at("rule") != "boost") continue;
      const Json& rule = rules[i];
      if (const auto value = shop.text(rule.at("attribute"), row); value && holds(texts(rule.at("values")), *value))
        boost += rule.at("by").get<float>();
    }
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
    if (chance(0.7)) {
      for (int row = 0; row < V; ++row) shop.clicks.push_back(below(4) * below(30));
      shop.temperature = 0.5f + 0.25f * static_cast<float>(below(4));
      shop.tail_power = 0.25f * static_cast<float>(below(6));
    }
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
    if (chance(0.5)) request.powers.value = 0.25 * below(5);
    if (chance(0.5)) request.powers.tail = 0.25 * below(5);
    return request;
  }

 private:
  std::mt19937 engine_;
};

}  // namespace

TEST_CASE("lists are what sorting everything gives, whatever the rules") {
  Random random(1);
  Selection selection;  // one for all: nothing of a request is left for the next
  int extended = 0, shorter = 0, empty = 0, pinned = 0, diversified = 0, by_value = 0, by_tail = 0;
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
    Request without = request;
    without.powers.value = 0;
    by_value += !same(answer.selected, naive_list(shop, without));
    without.powers = {.value = request.powers.value, .tail = 0};
    by_tail += !same(answer.selected, naive_list(shop, without));
  }
  // The rounds have seen all there is to see.
  CHECK(extended > 100);
  CHECK(shorter > 500);
  CHECK(empty > 100);
  CHECK(pinned > 500);
  CHECK(diversified > 50);
  CHECK(by_value > 500);
  CHECK(by_tail > 500);
}

TEST_CASE("a min_score ends a list where it keeps out a product that the limits allow") {
  Random random(3);
  Selection selection;
  int ended = 0, kept_out_by_limits = 0;
  for (int round = 0; round < 6000; ++round) {
    const Shop shop = random.shop();
    const Json limit{{"rule", "limit"}, {"attribute", "colour"}, {"max", 1 + random.below(4)}};
    const Json least{{"rule", "min_score"}, {"score", 0.3 * (random.below(8) - 5)}};
    const Request request{.zone = Json{least}.dump(), .rules = Json{limit}.dump(), .k = 1 + random.below(25)};
    const SelectedProducts selected = select(shop, request, selection, random.chance(0.5)).selected;
    if (selected.reason.empty()) continue;
    CAPTURE(round);
    int below = 0, allowed = 0;
    for (std::size_t place = 0; place < shop.scores.size(); ++place) {
      if (shop.scores[place] >= least.at("score").get<float>()) continue;
      const auto colour = shop.text("colour", shop.candidates.rows()[place]);
      const auto listed = std::count_if(selected.rows.begin(), selected.rows.end(),
                                        [&](std::int32_t row) { return shop.text("colour", row) == colour; });
      ++below;
      allowed += !colour || listed < limit.at("max").get<std::int64_t>();
    }
    REQUIRE((selected.reason.find("ends the list") != std::string::npos) == (allowed > 0));
    ended += allowed > 0;
    kept_out_by_limits += below > 0 && allowed == 0;
  }
  CHECK(ended > 100);
  CHECK(kept_out_by_limits > 100);
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
    CHECK(json.contains("terms") == request.powers.any());
    if (request.powers.any()) CHECK(json.at("terms").contains("does_not_apply") == shop.clicks.empty());
    for (const Json& rule : json.at("rules")) left -= rule.value("removed", 0);
    CHECK(json.at("left") == left);
    REQUIRE(json.at("listed").size() == answer.selected.rows.size());
    const auto terms = naive_terms(shop, request);
    for (std::size_t i = 0; i < answer.selected.rows.size(); ++i) {
      const Json& entry = json.at("listed")[i];
      CHECK(entry.at("id") == answer.selected.rows[i]);
      CHECK(entry.contains("pinned") == std::isnan(answer.selected.scores[i]));
      if (entry.contains("moved")) CHECK(entry.at("moved").at("to") == i + 1);
      const float term = entry.value("value", 0.0f) + entry.value("tail", 0.0f);
      if (!entry.contains("pinned")) {
        const auto place = shop.candidates.find(answer.selected.rows[i]);
        CHECK(term == doctest::Approx(terms[place]));
        CHECK(answer.selected.scores[i] == doctest::Approx(shop.scores[place] + term + entry.value("boost", 0.0f)));
      }
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
