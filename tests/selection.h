// A shop, a request of a list, and the library's answer from scans that sort everything.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>

#include "stamp/selection.h"
#include "tests/check.h"

namespace selection {

using namespace stamp;

// Products 0 to V - 1 with attributes and embeddings, those that are candidates, and their scores.
struct Shop {
  Catalog catalog;
  Attributes attributes;
  std::vector<std::vector<float>> embeddings;  // [V] of D
  Candidates candidates;
  std::vector<float> scores;              // by place
  std::vector<std::int64_t> clicks = {};  // [V], or empty where no model makes the scores
  float temperature = 1, tail_power = 1;

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
  void make_candidates(std::vector<std::int32_t> rows) { candidates = Candidates(std::move(rows), attributes); }
};

struct Request {
  std::string zone = "[]", rules = "[]";
  std::int32_t anchor = -1;
  std::vector<std::int32_t> seen = {}, bought = {}, exclude = {};
  std::optional<std::vector<std::int32_t>> only = {};
  std::int64_t k = 10;
  bool embeddings = true, min_score = true;
  TermPowers powers = {};
};

// Products are worth their price.
inline ProductTerms terms_of(const Shop& shop) {
  if (shop.clicks.empty()) return {};
  const auto prices = shop.candidates.numbers(shop.attributes.find_number("price"));
  return ProductTerms(shop.candidates, shop.clicks, prices, shop.temperature, shop.tail_power);
}

// The library's answer, from scans that sort everything.
struct Answer {
  SelectedProducts selected;
  int scans = 0;  // beside those that explain
};

inline Answer select(const Shop& shop, const Request& request, Selection& selection, bool fixed, bool explain = false) {
  const Rules zone = Rules::parse(request.zone, shop.catalog, shop.attributes, "zone");
  const Rules own = Rules::parse(request.rules, shop.catalog, shop.attributes);
  const FixedRules worked_out = zone.fixed(shop.candidates);
  const RuleSource sources[] = {{&zone, fixed ? &worked_out : nullptr}, {&own, nullptr}};
  const ProductTerms terms = terms_of(shop);
  std::vector<float> with_terms;
  if (fixed && !terms.empty()) {
    with_terms.assign(worked_out.boosts().begin(), worked_out.boosts().end());
    with_terms.resize(shop.scores.size());
    terms.add(request.powers, with_terms);
  }
  Answer answer;
  const Scan scan = [&](std::int64_t n, const PlaceSet& excluded, std::span<const float> boosts,
                        std::vector<Scored>& list) {
    ++answer.scans;
    REQUIRE(n >= 1);
    std::int64_t left = shop.candidates.size();
    for (std::uint64_t word : excluded.bits()) left -= std::popcount(word);
    REQUIRE(excluded.left() == left);
    list.clear();
    for (std::int32_t place = 0; place < shop.candidates.size(); ++place)
      if (!excluded.contains(place)) list.push_back({place, shop.scores[place] + (boosts.empty() ? 0 : boosts[place])});
    std::stable_sort(list.begin(), list.end(), [](const Scored& a, const Scored& b) { return a.score > b.score; });
    if (static_cast<std::int64_t>(list.size()) > n) list.resize(n);
  };
  SelectionProblem problem{
      .catalog = &shop.catalog,
      .candidates = &shop.candidates,
      .rules = sources,
      .visit = {.attributes = &shop.attributes,
                .anchor = request.anchor,
                .seen = request.seen,
                .bought = request.bought},
      .exclude = request.exclude,
      .only = request.only ? std::span<const std::int32_t>(*request.only) : std::span<const std::int32_t>(),
      .restricted = request.only.has_value(),
      .k = request.k,
      .terms = &terms,
      .powers = request.powers,
      .with_terms = with_terms,
      .min_score = request.min_score,
      .D = shop.D(),
      .embeddings = {}};
  if (request.embeddings)
    problem.embeddings = [&](std::span<const std::int32_t> places, std::vector<float>& rows) {
      rows.clear();
      for (std::int32_t place : places) {
        const auto& row = shop.embeddings[shop.candidates.rows()[place]];
        rows.insert(rows.end(), row.begin(), row.end());
      }
    };
  selection.prepare(problem);
  std::vector<Scored> first;
  if (selection.first_scan() > 0) scan(selection.first_scan(), selection.excluded(), selection.boosts(), first);
  answer.selected = selection.select(first, scan, explain);
  return answer;
}

}  // namespace selection
