#include "stamp/rules.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <unordered_set>
#include <utility>

#include "kernels/cpu/simd.h"
#include "stamp/internal/json.h"

namespace stamp {

namespace {

using Type = Rule::Type;

struct Signature {
  Type type;
  std::string_view name;
  std::vector<std::string_view> keys;  // beside "rule"
};

const std::vector<Signature>& signatures() {
  static const auto& all = *new std::vector<Signature>{
      // never destroyed: threads may run when the process exits
      {Type::exclude_products, "exclude_products", {"products"}},
      {Type::only_products, "only_products", {"products"}},
      {Type::exclude_values, "exclude_values", {"attribute", "values"}},
      {Type::only_values, "only_values", {"attribute", "values"}},
      {Type::only_available, "only_available", {"attribute"}},
      {Type::same_value, "same_value", {"attribute"}},
      {Type::different_value, "different_value", {"attribute"}},
      {Type::price_band, "price_band", {"attribute", "from", "to"}},
      {Type::exclude_seen, "exclude_seen", {}},
      {Type::exclude_bought, "exclude_bought", {}},
      {Type::limit, "limit", {"attribute", "max"}},
      {Type::boost, "boost", {"attribute", "values", "by"}},
      {Type::pin, "pin", {"products"}},
      {Type::diversify, "diversify", {"by", "strength", "pool"}},
      {Type::min_score, "min_score", {"score"}},
  };
  return all;
}

std::string listed(std::span<const std::string_view> names) {
  std::string text;
  for (std::string_view name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

std::string describe(const Json& value) {
  if (value.is_string()) return concat("'", value.text(), "'");
  if (value.is_object()) return "an object";
  return value.is_array() ? "a list" : value.dump();
}

// JSON has numbers only: 5.0 is an integer too, as JSON Schema has it.
std::optional<std::int64_t> integer(const Json& value) {
  if (value.is_unsigned() && value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) return {};
  if (value.is_integer()) return value.get<std::int64_t>();
  if (!value.is_number()) return {};
  const double number = value.get<double>();
  if (number != std::floor(number) || number < -0x1p63 || number >= 0x1p63) return {};
  return static_cast<std::int64_t>(number);
}

// Reads one rule. Every complaint begins with the path of what it is about.
class Reader {
 public:
  Reader(const Json& json, std::string path, const Catalog& catalog, const Attributes& attributes)
      : json_(json), catalog_(catalog), attributes_(attributes) {
    rule_.path = std::move(path);
  }

  Rule read() {
    require(json_.is_object(), rule_.path, " is ", describe(json_), ", expected an object");
    const Signature& signature = read_type();
    for (const auto& [key, value] : json_.members())
      if (key != "rule" && std::find(signature.keys.begin(), signature.keys.end(), key) == signature.keys.end())
        throw std::invalid_argument(
            concat(at(key), " is not a key of ", signature.name, ", expected ",
                   signature.keys.empty() ? "rule alone" : concat("one of rule, ", listed(signature.keys))));
    switch (rule_.type = signature.type) {
      case Type::exclude_products:
      case Type::only_products:
      case Type::pin:
        read_products();
        break;
      case Type::exclude_values:
      case Type::only_values:
        read_text("attribute");
        read_values();
        break;
      case Type::only_available:
        read_number_attribute("available");
        break;
      case Type::same_value:
      case Type::different_value:
        read_text("attribute");
        break;
      case Type::price_band:
        read_number_attribute(nullptr);
        rule_.from = read_number("from", 0, kAny, "a number of 0 or more");
        rule_.to = read_number("to", rule_.from, kAny, concat("a number of from, ", rule_.from, ", or more"));
        break;
      case Type::exclude_seen:
      case Type::exclude_bought:
        break;
      case Type::limit:
        read_text("attribute");
        rule_.max = read_integer("max", std::numeric_limits<std::int64_t>::max(), "an integer of 1 or more");
        break;
      case Type::boost:
        read_text("attribute");
        read_values();
        rule_.by = read_float("by");
        break;
      case Type::diversify:
        if (const Json* by = json_.find("by"); by && *by == "embedding")
          rule_.attribute = "embedding";
        else
          read_text("by");
        rule_.strength = read_number("strength", 0, 1, "a number from 0 to 1");
        rule_.pool = Rules::kDefaultPool;
        if (json_.find("pool"))
          rule_.pool = read_integer("pool", Rules::kMaxPool, concat("an integer from 1 to ", Rules::kMaxPool));
        break;
      case Type::min_score:
        rule_.score = read_float("score");
        break;
    }
    return std::move(rule_);
  }

  std::int64_t unknown_products() const { return unknown_products_; }

 private:
  static constexpr double kAny = std::numeric_limits<double>::max();

  std::string at(const std::string& key) const { return concat(rule_.path, ".", key); }

  const Json& get(const char* key, const std::string& expected) const {
    const Json* found = json_.find(key);
    require(found, at(key), " is missing, expected ", expected);
    return *found;
  }

  const Signature& read_type() const {
    const Json* value = json_.find("rule");
    std::vector<std::string_view> names;
    for (const Signature& signature : signatures()) {
      if (value && *value == signature.name) return signature;
      names.push_back(signature.name);
    }
    throw std::invalid_argument(
        concat(at("rule"), " is ", value ? describe(*value) : "missing", ", expected one of ", listed(names)));
  }

  const Json& get_list(const char* key, const std::string& of) const {
    const Json& value = get(key, concat("a list of ", of));
    require(value.is_array(), at(key), " is ", describe(value), ", expected a list of ", of);
    return value;
  }

  void read_products() {
    const bool integers = catalog_.kind() == Catalog::Kind::integers;
    const Json& products = get_list("products", "product ids");
    std::unordered_set<std::int32_t> known;
    for (std::size_t i = 0; i < products.size(); ++i) {
      const auto number = integer(products[i]);
      require(integers ? number.has_value() : products[i].is_string(), at("products"), "[", i, "] is ",
              describe(products[i]), ", expected ", integers ? "an integer" : "a string",
              ", as this catalog's ids are");
      const std::int32_t row = integers ? catalog_.find(*number) : catalog_.find(std::string_view(products[i].text()));
      if (row == Catalog::kUnknown)
        ++unknown_products_;
      else if (known.insert(row).second)
        rule_.rows.push_back(row);
    }
  }

  void read_values() {
    const Json& values = get_list("values", "strings or integers");
    std::unordered_set<std::string> wanted;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto number = integer(values[i]);
      require(number || values[i].is_string(), at("values"), "[", i, "] is ", describe(values[i]),
              ", expected a string or an integer");
      wanted.insert(number ? std::to_string(*number) : values[i].text());
    }
    const auto& known = attributes_.texts()[rule_.column].values;
    rule_.named.assign(1 + known.size(), 0);
    for (std::size_t code = 0; code < known.size(); ++code) rule_.named[1 + code] = wanted.contains(known[code]);
  }

  // The column that a key names; `fallback` where the key may be absent.
  template <class Column>
  void read_column(const char* key, const char* fallback, const std::vector<Column>& columns) {
    std::vector<std::string_view> names;
    for (const Column& column : columns) names.push_back(column.name);
    std::sort(names.begin(), names.end());
    const std::string expected =
        names.empty() ? "an attribute of this kind, of which the catalog has none" : concat("one of ", listed(names));
    const bool absent = fallback && !json_.find(key);
    const Json value = absent ? Json(fallback) : get(key, expected);
    const auto found =
        std::find_if(columns.begin(), columns.end(), [&](const Column& column) { return value == column.name; });
    require(found != columns.end(), at(key), " is ", describe(value), absent ? " by default" : "", ", expected ",
            expected);
    rule_.attribute = found->name;
    rule_.column = static_cast<std::int32_t>(found - columns.begin());
  }
  void read_text(const char* key) { read_column(key, nullptr, attributes_.texts()); }
  void read_number_attribute(const char* fallback) { read_column("attribute", fallback, attributes_.numbers()); }

  double read_number(const char* key, double low, double high, const std::string& expected) const {
    const Json& value = get(key, expected);
    require(value.is_number() && value.get<double>() >= low && value.get<double>() <= high, at(key), " is ",
            describe(value), ", expected ", expected);
    return value.get<double>();
  }

  // What scores are compared with and added to: in their precision.
  float read_float(const char* key) const {
    constexpr double kLargest = std::numeric_limits<float>::max();
    return static_cast<float>(read_number(key, -kLargest, kLargest, "a number that single precision holds"));
  }

  std::int64_t read_integer(const char* key, std::int64_t high, const std::string& expected) const {
    const Json& value = get(key, expected);
    const auto number = integer(value);
    require(number && *number >= 1 && *number <= high, at(key), " is ", describe(value), ", expected ", expected);
    return *number;
  }

  const Json& json_;
  const Catalog& catalog_;
  const Attributes& attributes_;
  Rule rule_;
  std::int64_t unknown_products_ = 0;
};

// Whether what a rule excludes in every visit changes with numbers.
bool is_changing(const Rule& rule) { return rule.type == Type::only_available; }

bool contains(std::span<const std::int32_t> rows, std::int32_t row) {
  return std::find(rows.begin(), rows.end(), row) != rows.end();
}

// The products that a rule names one by one.
std::span<const std::int32_t> named_products(const Rule& rule, const Visit& visit) {
  switch (rule.type) {
    case Type::exclude_seen:
      return visit.seen;
    case Type::exclude_bought:
      return visit.bought;
    default:
      return rule.rows;
  }
}

std::int32_t anchor_code(const Rule& rule, const Visit& visit) {
  return visit.anchor == Catalog::kUnknown ? TextAttribute::kMissing
                                           : visit.attributes->texts()[rule.column].codes[visit.anchor];
}

float number_of(const Rule& rule, const Visit& visit, std::int32_t row) {
  return (visit.numbers ? *visit.numbers : visit.attributes->numbers())[rule.column].values[row];
}

float anchor_number(const Rule& rule, const Visit& visit) {
  return visit.anchor == Catalog::kUnknown ? std::numeric_limits<float>::quiet_NaN()
                                           : number_of(rule, visit, visit.anchor);
}

// The least float that is not below x, and the largest that is not above: comparing with them is comparing with x.
float ceil_float(double x) {
  const float nearest = static_cast<float>(
      std::clamp(x, -double{std::numeric_limits<float>::max()}, double{std::numeric_limits<float>::max()}));
  return nearest < x ? std::nextafter(nearest, std::numeric_limits<float>::infinity()) : nearest;
}
float floor_float(double x) { return -ceil_float(-x); }

struct Band {
  float low, high;
};
// The numbers that a price_band lists; none where it does not apply.
std::optional<Band> band(const Rule& rule, const Visit& visit) {
  const double anchor = anchor_number(rule, visit);
  if (!std::isfinite(anchor)) return {};
  const auto [least, largest] = std::minmax({rule.from * anchor, rule.to * anchor});  // numbers may be negative
  return Band{.low = ceil_float(least), .high = floor_float(largest)};
}

// Calls f(code) for each value that a rule names.
template <class F>
void for_named(const Rule& rule, F&& f) {
  const auto named = std::span(rule.named).subspan(1);
  const std::uint8_t* end = named.data() + named.size();
  for (const std::uint8_t* at = named.data(); at < end; ++at) {
    at = static_cast<const std::uint8_t*>(std::memchr(at, 1, static_cast<std::size_t>(end - at)));
    if (!at) return;
    f(static_cast<std::int32_t>(at - named.data()));
  }
}

void mark(std::span<const float> values, Band band, bool inside, PlaceSet& places) {
  places.add_marked([&](std::uint64_t* bits) {
    return cpu::simd().mark(static_cast<std::int64_t>(values.size()), values.data(), band.low, band.high, inside, bits);
  });
}

}  // namespace

Candidates::Candidates(std::vector<std::int32_t> of, const Attributes& attributes) {
  auto index = std::make_shared<Index>(Index{.rows = std::move(of), .values = {}});
  const auto& rows = index->rows;
  for (const TextAttribute& text : attributes.texts()) {
    std::vector<std::int32_t> next(text.values.size() + 1);  // by code + 1: how many there are, then where they go
    for (std::int32_t row : rows) ++next[1 + text.codes[row]];
    Values values;
    std::int32_t begin = 0;
    for (std::size_t code = 0; code < text.values.size(); ++code) {
      const std::int32_t count = std::exchange(next[1 + code], begin);
      if (count == 0) continue;
      values.codes.push_back(static_cast<std::int32_t>(code));
      values.begin.push_back(begin);
      begin += count;
    }
    values.begin.push_back(begin);
    values.places.resize(static_cast<std::size_t>(begin));
    for (std::size_t place = 0; place < rows.size(); ++place)
      if (const std::int32_t code = text.codes[rows[place]]; code != TextAttribute::kMissing)
        values.places[next[1 + code]++] = static_cast<std::int32_t>(place);
    index->values.push_back(std::move(values));
  }
  index_ = std::move(index);
  for (const NumberAttribute& number : attributes.numbers()) {
    auto& taken = numbers_.emplace_back();
    taken.reserve(index_->rows.size());
    for (std::int32_t row : index_->rows) taken.push_back(number.values[row]);
  }
}

std::span<const std::int32_t> Candidates::with_value(std::int32_t column, std::int32_t code) const {
  const Values& values = index_->values[column];
  const auto found = std::lower_bound(values.codes.begin(), values.codes.end(), code);
  if (found == values.codes.end() || *found != code) return {};
  const auto i = static_cast<std::size_t>(found - values.codes.begin());
  return std::span(values.places).subspan(values.begin[i], values.begin[i + 1] - values.begin[i]);
}

std::int32_t Candidates::find(std::int32_t row) const {
  const auto found = std::lower_bound(rows().begin(), rows().end(), row);
  return found == rows().end() || *found != row ? -1 : static_cast<std::int32_t>(found - rows().begin());
}

std::string_view to_string(Rule::Type type) {
  return std::find_if(signatures().begin(), signatures().end(), [&](const auto& s) { return s.type == type; })->name;
}

bool is_exclusion(const Rule& rule) { return rule.type < Type::limit; }

bool is_fixed_exclusion(const Rule& rule) { return rule.type < Type::same_value; }

std::string does_not_apply(const Rule& rule, const Visit& visit) {
  const bool text = rule.type == Type::same_value || rule.type == Type::different_value;
  if (!text && rule.type != Type::price_band) return "";
  if (visit.anchor == Catalog::kUnknown) return "the anchor is unknown";
  const bool missing =
      text ? anchor_code(rule, visit) == TextAttribute::kMissing : !std::isfinite(anchor_number(rule, visit));
  return missing ? concat("the anchor has no ", rule.attribute) : "";
}

bool forbids(const Rule& rule, const Visit& visit, std::int32_t row) {
  const auto code = [&] { return visit.attributes->texts()[rule.column].codes[row]; };
  const auto number = [&] { return number_of(rule, visit, row); };
  switch (rule.type) {
    case Type::exclude_products:
    case Type::exclude_seen:
    case Type::exclude_bought:
      return contains(named_products(rule, visit), row);
    case Type::only_products:
      return !contains(named_products(rule, visit), row);
    case Type::exclude_values:
      return rule.named[1 + code()];
    case Type::only_values:
      return !rule.named[1 + code()];
    case Type::only_available:
      return !(std::abs(number()) > 0);
    case Type::same_value:
      return anchor_code(rule, visit) != TextAttribute::kMissing && code() != anchor_code(rule, visit);
    case Type::different_value:
      return anchor_code(rule, visit) != TextAttribute::kMissing && code() == anchor_code(rule, visit);
    case Type::price_band: {
      const auto listed = band(rule, visit);
      return listed && !(number() >= listed->low && number() <= listed->high);
    }
    default:
      return false;
  }
}

void forbid(const Rule& rule, const Visit& visit, const Candidates& candidates, PlaceSet& excluded) {
  const auto for_products = [&](auto&& f) {
    for (std::int32_t row : named_products(rule, visit))
      if (const std::int32_t place = candidates.find(row); place >= 0) f(std::span(&place, 1));
  };
  const auto for_values = [&](auto&& f) {
    for_named(rule, [&](std::int32_t code) { f(candidates.with_value(rule.column, code)); });
  };
  const auto add = [&](std::span<const std::int32_t> places) { excluded.add(places); };
  switch (rule.type) {
    case Type::exclude_products:
    case Type::exclude_seen:
    case Type::exclude_bought:
      return for_products(add);
    case Type::only_products:
      return excluded.add_all_but(for_products);
    case Type::exclude_values:
      return for_values(add);
    case Type::only_values:
      return excluded.add_all_but(for_values);
    case Type::only_available: {
      constexpr float kInfinity = std::numeric_limits<float>::infinity();
      mark(candidates.numbers(rule.column), {-kInfinity, kInfinity}, false, excluded);  // NaN
      return mark(candidates.numbers(rule.column), {0, 0}, true, excluded);
    }
    case Type::same_value:
    case Type::different_value: {
      const std::int32_t code = anchor_code(rule, visit);
      if (code == TextAttribute::kMissing) return;
      const auto places = candidates.with_value(rule.column, code);
      return rule.type == Type::different_value ? add(places)
                                                : excluded.add_all_but([&](auto&& keep) { keep(places); });
    }
    case Type::price_band:
      if (const auto listed = band(rule, visit)) mark(candidates.numbers(rule.column), *listed, false, excluded);
      return;
    default:
      return;
  }
}

void add_boost(const Rule& rule, const Candidates& candidates, std::span<float> boosts) {
  for_named(rule, [&](std::int32_t code) {
    for (std::int32_t place : candidates.with_value(rule.column, code)) boosts[place] += rule.by;
  });
}

bool is_boosted(const Rule& rule, const Attributes& attributes, std::int32_t row) {
  return rule.type == Type::boost && rule.named[1 + attributes.texts()[rule.column].codes[row]];
}

Rules Rules::parse(const std::string& text, const Catalog& catalog, const Attributes& attributes,
                   const std::string& where) {
  require(attributes.V() == catalog.size(), where, ": there are attributes of ", attributes.V(), " products, expected ",
          catalog.size(), " as in the catalog");
  Json json;
  try {
    json = Json::parse(text);
  } catch (const JsonError& error) {
    throw std::invalid_argument(concat(where, " is not JSON: ", error.what()));
  }
  require(json.is_array(), where, " is ", describe(json), ", expected a list of rules");
  Rules rules;
  for (std::size_t i = 0; i < json.size(); ++i) {
    Reader reader(json[i], concat(where, "[", i, "]"), catalog, attributes);
    rules.list_.push_back(reader.read());
    rules.unknown_products_ += reader.unknown_products();
  }
  return rules;
}

void Rules::append(const Rules& others) {
  list_.insert(list_.end(), others.list_.begin(), others.list_.end());
  unknown_products_ += others.unknown_products_;
}

FixedRules Rules::fixed(const Candidates& candidates) const {
  const auto bits_of = [&](const PlaceSet& set) {
    std::vector<std::uint64_t> bits(set.bits().begin(), set.bits().end());
    bits.resize(candidates.words());
    return bits;
  };
  FixedRules fixed;
  PlaceSet excluded(candidates.size());
  std::vector<float> boosts;
  for (const Rule& rule : list_) {
    if (is_fixed_exclusion(rule) && !is_changing(rule)) forbid(rule, Visit(), candidates, excluded);
    if (rule.type == Type::boost) {
      boosts.resize(candidates.rows().size());
      add_boost(rule, candidates, boosts);
    }
  }
  if (std::any_of(list_.begin(), list_.end(), is_changing)) {
    fixed.for_good = std::make_shared<const std::vector<std::uint64_t>>(bits_of(excluded));
    for (const Rule& rule : list_)
      if (is_changing(rule)) forbid(rule, Visit(), candidates, excluded);
  }
  fixed.excluded = bits_of(excluded);
  fixed.count = excluded.count();
  if (!boosts.empty()) fixed.boosts_of = std::make_shared<const std::vector<float>>(std::move(boosts));
  return fixed;
}

bool Rules::fixed_by(std::int32_t number_column) const {
  return std::any_of(list_.begin(), list_.end(), [&](const Rule& rule) {
    return is_changing(rule) && rule.column == number_column;
  });
}

void Rules::renew(FixedRules& fixed, const Candidates& candidates, std::int32_t place, const Visit& visit) const {
  const std::int32_t row = candidates.rows()[place];
  std::uint64_t& word = fixed.excluded[place / 64];
  const std::uint64_t bit = std::uint64_t{1} << (place % 64);
  const bool is_excluded = ((*fixed.for_good)[place / 64] & bit) != 0 ||
                           std::any_of(list_.begin(), list_.end(), [&](const Rule& rule) {
                             return is_changing(rule) && forbids(rule, visit, row);
                           });
  if (is_excluded == ((word & bit) != 0)) return;
  word ^= bit;
  fixed.count += is_excluded ? 1 : -1;
}

Rules build_rules(const std::string& rules, const Catalog& catalog, const Attributes& attributes) {
  Json file;
  try {
    file = Json::parse(rules);
  } catch (const JsonError& error) {
    throw std::invalid_argument(concat("rules.json is not JSON: ", error.what()));
  }
  require(file.is_object(), "rules.json is ", file.dump(), ", expected an object");
  Rules build = Rules::parse(file.value("build", Json::array()).dump(), catalog, attributes, "build");
  for (const Rule& rule : build.list())
    require(is_fixed_exclusion(rule), rule.path, ".rule is '", to_string(rule.type),
            "', which depends on the visit or on scores; expected one that excludes products whatever the visit");
  return build;
}

Rules changing(const Rules& build) {
  return build.those(is_changing);
}

std::vector<std::uint8_t> recommendable(const Rules& build, const Attributes& attributes) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(attributes.V()));
  std::iota(rows.begin(), rows.end(), 0);
  const FixedRules fixed = build.those(std::not_fn(is_changing)).fixed(Candidates(std::move(rows), attributes));
  std::vector<std::uint8_t> left(static_cast<std::size_t>(attributes.V()));
  for (std::size_t row = 0; row < left.size(); ++row) left[row] = !(fixed.excluded[row / 64] >> (row % 64) & 1);
  return left;
}

}  // namespace stamp
