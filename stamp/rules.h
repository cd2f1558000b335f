// Business rules as data: which products a list may hold, which come first, how it is mixed. docs/rules.md says what
// each means and how several go together; stamp/selection.h applies them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stamp/attributes.h"
#include "stamp/catalog.h"
#include "stamp/place_set.h"

namespace stamp {

// The products that one scan can list, by place, with an index of what rules ask of them. Places follow the rows, so
// that ties go to the lower row.
class STAMP_API Candidates {
 public:
  Candidates() : Candidates({}, Attributes()) {}
  // `attributes` of the whole catalog; they are not needed any more afterwards. Numbers as they are there.
  Candidates(std::vector<std::int32_t> rows, const Attributes& attributes);

  const std::vector<std::int32_t>& rows() const { return index_->rows; }  // [n] of the catalog, ascending
  std::int64_t size() const { return static_cast<std::int64_t>(rows().size()); }
  std::size_t words() const { return (rows().size() + 63) / 64; }  // of a bit set over places
  std::int32_t find(std::int32_t row) const;                       // its place, or -1
  // The places whose product has a value of a text attribute, by the catalog's column and code, ascending.
  std::span<const std::int32_t> with_value(std::int32_t column, std::int32_t code) const;
  // [n] the catalog's column of numbers, by place.
  std::span<const float> numbers(std::int32_t column) const { return numbers_[column]; }
  void set_number(std::int32_t column, std::int32_t place, float value) { numbers_[column][place] = value; }

 private:
  struct Values {
    std::vector<std::int32_t> codes;   // that candidates have, ascending: few of a catalog's may be left in a cluster
    std::vector<std::int32_t> begin;   // [codes + 1] of their places
    std::vector<std::int32_t> places;  // by code, ascending each
  };
  struct Index {
    std::vector<std::int32_t> rows;
    std::vector<Values> values;  // of each text attribute
  };
  std::shared_ptr<const Index> index_;  // copies share it
  std::vector<std::vector<float>> numbers_;
};

// What rules look at. Catalog rows; Catalog::kUnknown entries are skipped.
struct Visit {
  const Attributes* attributes = nullptr;                 // of the whole catalog
  const std::vector<NumberAttribute>* numbers = nullptr;  // as they stand now; null: as they stand in `attributes`
  std::int32_t anchor = Catalog::kUnknown;
  std::span<const std::int32_t> seen{}, bought{};
};

// One rule, resolved against a catalog. Beside type and path, members hold what the keys of that name say, in the rules
// that have them.
struct STAMP_API Rule {
  // Those whose exclusions hold for every visit, those that look at the visit, those that make the list of the rest.
  enum class Type {
    exclude_products,
    only_products,
    exclude_values,
    only_values,
    only_available,
    same_value,
    different_value,
    price_band,
    exclude_seen,
    exclude_bought,
    limit,
    boost,
    pin,
    diversify,
    min_score
  };

  Type type{};
  std::string path;                 // where it stands, "zones.home.rules[2]" say
  std::vector<std::int32_t> rows;   // `products`, each once, in the order given
  std::string attribute;            // `attribute`, or `by` of diversify
  std::int32_t column = -1;         // of Attributes::texts() or numbers(); -1 for embeddings
  std::vector<std::uint8_t> named;  // [1 + values] whether `values` names a value, by its code + 1; 0 for kMissing
  double from = 0, to = 0;
  std::int64_t max = 0;
  float by = 0;
  double strength = 0;
  std::int64_t pool = 0;
  float score = 0;
};

STAMP_API std::string_view to_string(Rule::Type type);

// Whether a rule forbids products, each for itself and whatever the scores; and whether it does so in every visit.
STAMP_API bool is_exclusion(const Rule& rule);
STAMP_API bool is_fixed_exclusion(const Rule& rule);

// Why a rule has nothing to say of a visit ("the anchor is unknown"); empty where it has.
STAMP_API std::string does_not_apply(const Rule& rule, const Visit& visit);

// Whether an exclusion forbids a product, a candidate or not.
STAMP_API bool forbids(const Rule& rule, const Visit& visit, std::int32_t row);
// Adds the places of the candidates that an exclusion forbids.
STAMP_API void forbid(const Rule& rule, const Visit& visit, const Candidates& candidates, PlaceSet& excluded);

// boosts [n] += what a boost adds to the score of each candidate.
STAMP_API void add_boost(const Rule& rule, const Candidates& candidates, std::span<float> boosts);
// Whether it boosts a product.
STAMP_API bool is_boosted(const Rule& rule, const Attributes& attributes, std::int32_t row);

// What rules do to candidates whatever the visit, worked out once.
struct FixedRules {
  std::vector<std::uint64_t> excluded;                          // [candidates.words()]
  std::int64_t count = 0;                                       // of bits that are set in `excluded`
  // Shared by copies: [words] what rules exclude that look at no number, null where none looks at one; [n] boosts, null
  // when no rule boosts.
  std::shared_ptr<const std::vector<std::uint64_t>> for_good = {};
  std::shared_ptr<const std::vector<float>> boosts_of = {};

  std::span<const float> boosts() const { return boosts_of ? std::span(*boosts_of) : std::span<const float>(); }
};

// A list of rules.
class STAMP_API Rules {
 public:
  static constexpr std::int64_t kDefaultPool = 100, kMaxPool = 10000;

  Rules() = default;  // no rule

  // `json` is a list of objects (bindings/stamp/serving/rules.schema.json); `where` begins the paths of its rules.
  // Throws std::invalid_argument with the path of what is wrong: "rules[2].attribute is 'colr', expected one of brand,
  // colour". Products that the catalog has not are counted and left out; values that no product has match none.
  static Rules parse(const std::string& json, const Catalog& catalog, const Attributes& attributes,
                     const std::string& where = "rules");

  const std::vector<Rule>& list() const { return list_; }
  std::int64_t unknown_products() const { return unknown_products_; }
  void append(const Rules& others);
  template <class Predicate>
  Rules those(const Predicate& predicate) const {  // of which it is true
    Rules some;
    std::copy_if(list_.begin(), list_.end(), std::back_inserter(some.list_), predicate);
    return some;
  }
  // Its exclusions that are fixed, and all its boosts.
  FixedRules fixed(const Candidates& candidates) const;
  // Whether what is fixed depends on a column of numbers, and its exclusions of one candidate, worked out again.
  bool fixed_by(std::int32_t number_column) const;
  void renew(FixedRules& fixed, const Candidates& candidates, std::int32_t place, const Visit& visit) const;

 private:
  std::vector<Rule> list_;
  std::int64_t unknown_products_ = 0;
};

// The rules of the build, "build" of a rules.json. Throws std::invalid_argument with the path of the key.
STAMP_API Rules build_rules(const std::string& rules, const Catalog& catalog, const Attributes& attributes);
// Those of them that look at numbers, which may change while lists are made: they apply to every list.
STAMP_API Rules changing(const Rules& build);
// [V] whether a product can be recommended: 0 of those that the others exclude, for good.
STAMP_API std::vector<std::uint8_t> recommendable(const Rules& build, const Attributes& attributes);

}  // namespace stamp
