#include "stamp/selection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/cpu/simd.h"
#include "stamp/internal/json.h"

namespace stamp {

namespace {

using Type = Rule::Type;

// "limit brand", or "exclude" for the request's own lists.
std::string label(const Rule& rule) {
  if (rule.path == "exclude" || rule.path == "only") return rule.path;
  return rule.attribute.empty() ? std::string(to_string(rule.type)) : concat(to_string(rule.type), " ", rule.attribute);
}

Json to_json(const Id& id) {
  return std::visit([](const auto& value) { return Json(value); }, id);
}

constexpr const char* kNoModel = "the scores of this list are not a model's";

// What limits may hold back is asked for with the list as long as that adds about a tenth to the scan: an entry of a
// list takes as long as scanning 400 products. Where they hold back more, another scan, without the values that are
// full, finds what is missing sooner than a longer list would have.
constexpr std::int64_t kProductsAnEntry = 4096;

struct Product {
  std::int32_t row, place;  // place -1: not a candidate
};

// For each product of a pool, the largest similarity to what is listed.
class Similarity {
 public:
  Similarity(const SelectionProblem& problem, const Rule& rule, std::span<const Scored> pool,
             std::span<const Product> listed)
      : problem_(problem), rule_(rule), largest_(pool.size()) {
    for (const Scored& scored : pool) rows_.push_back(problem.candidates->rows()[scored.place]);
    if (rule.column >= 0) {
      for (const Product& product : listed) choose_value(product.row);
      return;
    }
    std::vector<std::int32_t> places;
    for (const Scored& scored : pool) places.push_back(scored.place);
    for (const Product& product : listed)
      if (product.place >= 0) places.push_back(product.place);  // the others have no embedding
    problem.embeddings(places, embeddings_);
    const auto n = static_cast<std::int64_t>(pool.size());
    columns_.resize(static_cast<std::size_t>(problem.D * n));
    cpu::simd().transpose(n, problem.D, embeddings_.data(), problem.D, columns_.data(), n);
    dots_.resize(pool.size());
    for (std::size_t i = 0; i < places.size(); ++i) lengths_.push_back(length(embedding(i)));
    for (std::size_t i = pool.size(); i < places.size(); ++i) choose_embedding(i);
  }

  double operator[](std::size_t p) const { return largest_[p]; }

  // Product p of the pool is listed.
  void choose(std::size_t p) {
    if (rule_.column >= 0)
      choose_value(rows_[p]);
    else
      choose_embedding(p);
  }

 private:
  // 1 for the same value.
  void choose_value(std::int32_t row) {
    const auto& codes = problem_.visit.attributes->texts()[rule_.column].codes;
    if (codes[row] == TextAttribute::kMissing) return;
    for (std::size_t p = 0; p < largest_.size(); ++p)
      if (codes[rows_[p]] == codes[row]) largest_[p] = 1;
  }

  // The cosine, where it is above 0.
  void choose_embedding(std::size_t i) {
    cpu::simd().dots(static_cast<std::int64_t>(dots_.size()), problem_.D, columns_.data(), embedding(i), dots_.data());
    for (std::size_t p = 0; p < dots_.size(); ++p)
      if (const double lengths = lengths_[i] * lengths_[p]; lengths > 0)
        largest_[p] = std::max(largest_[p], dots_[p] / lengths);
  }

  const float* embedding(std::size_t i) const { return embeddings_.data() + static_cast<std::int64_t>(i) * problem_.D; }
  double length(const float* x) const {
    double sum = 0;
    for (std::int64_t d = 0; d < problem_.D; ++d) sum += double{x[d]} * x[d];
    return std::sqrt(sum);
  }

  const SelectionProblem& problem_;
  const Rule& rule_;
  std::vector<double> largest_;
  std::vector<std::int32_t> rows_;
  std::vector<float> embeddings_;  // [pool and listed,D]
  std::vector<float> columns_;     // [D,pool]
  std::vector<double> lengths_;    // [pool and listed]
  std::vector<double> dots_;       // [pool]
};

}  // namespace

std::size_t ValueCounts::find(std::int32_t code) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = (static_cast<std::uint32_t>(code) * std::uint64_t{0x9e3779b97f4a7c15}) >> 32 & mask;
  while (slots_[slot].count > 0 && slots_[slot].code != code) slot = (slot + 1) & mask;
  return slot;
}

void ValueCounts::add(std::int32_t code) {
  Slot& slot = slots_[find(code)];
  slot.code = code;
  if (++slot.count > 1 || ++used_ * 2 <= slots_.size()) return;
  const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(2 * slots_.size()));
  for (const Slot& moved : old)
    if (moved.count > 0) slots_[find(moved.code)] = moved;
}

void Selection::prepare(const SelectionProblem& problem) {
  const std::int64_t V = problem.catalog->size();
  require(problem.k >= 1, "recommend: k is ", problem.k, ", expected 1 or more");
  require(problem.visit.attributes && problem.visit.attributes->V() == V, "recommend: expected the attributes of ", V,
          " products");
  const auto check_rows = [&](std::span<const std::int32_t> rows, const char* where) {
    for (std::int32_t row : rows)
      require(row >= Catalog::kUnknown && row < V, "recommend: ", where, " holds row ", row, ", expected below ", V);
  };
  check_rows({&problem.visit.anchor, 1}, "the anchor");
  check_rows(problem.visit.seen, "seen");
  check_rows(problem.visit.bought, "bought");
  check_rows(problem.exclude, "exclude");
  check_rows(problem.only, "only");
  for (const RuleSource& source : problem.rules)
    if (source.fixed)
      require(source.fixed->excluded.size() == problem.candidates->words(), "recommend: rules were worked out for ",
              source.fixed->excluded.size(), " words of candidates, there are ", problem.candidates->words());
  require(!problem.outside || problem.outside->n() == problem.candidates->size(), "recommend: outside is of ",
          problem.outside ? problem.outside->n() : 0, " candidates, there are ", problem.candidates->size());
  require(problem.recommendable.empty() || static_cast<std::int64_t>(problem.recommendable.size()) == V,
          "recommend: recommendable is of ", problem.recommendable.size(), " products, expected ", V);

  problem_ = problem;
  prepare_exclusions();
  prepare_boosts();
  prepare_pins();
  prepare_list_rules();

  const auto n = static_cast<std::int64_t>(pins_.size());
  const std::int64_t left = excluded_.left(), wanted = std::min(problem.k - std::min(n, problem.k), left);
  asked_ = wanted;
  if (!limits_.empty()) asked_ += std::min(wanted / 4 + left / kProductsAnEntry, 3 * wanted);
  if (wanted > 0 && diversify_ && can_diversify()) asked_ = std::max(asked_, diversify_->pool);
  asked_ = std::min(asked_, left);
}

void Selection::exclude_outside(PlaceSet& excluded) const {
  excluded.reset(problem_.candidates->size());
  if (problem_.outside) excluded.add(problem_.outside->bits(), problem_.outside->count());
}

void Selection::prepare_exclusions() {
  const Candidates& candidates = *problem_.candidates;
  exclude_outside(excluded_);
  rules_.clear();
  const auto add = [&](const Rule& rule, bool fixed) {
    rules_.push_back(&rule);
    if (is_exclusion(rule) && !(fixed && is_fixed_exclusion(rule))) forbid(rule, problem_.visit, candidates, excluded_);
  };
  for (const RuleSource& source : problem_.rules) {
    if (source.fixed) excluded_.add(source.fixed->excluded, source.fixed->count);
    for (const Rule& rule : source.rules->list()) add(rule, source.fixed != nullptr);
  }
  const auto own = [&](Rule& rule, Type type, const char* path, std::span<const std::int32_t> rows) {
    rule.type = type;
    rule.path = path;
    rule.rows.assign(rows.begin(), rows.end());
    add(rule, false);
  };
  if (!problem_.exclude.empty()) own(exclude_, Type::exclude_products, "exclude", problem_.exclude);
  if (problem_.restricted) own(only_, Type::only_products, "only", problem_.only);
}

void Selection::prepare_boosts() {
  const auto n = problem_.candidates->rows().size();
  boosts_ = {};
  const auto sum = [&]() -> std::span<float> {  // what there is so far, to be added to
    if (boosts_.empty())
      summed_boosts_.assign(n, 0);
    else if (boosts_.data() != summed_boosts_.data())
      summed_boosts_.assign(boosts_.begin(), boosts_.end());
    boosts_ = summed_boosts_;
    return summed_boosts_;
  };
  const auto add_terms = [&] {
    if (!has_terms()) return;
    if (problem_.with_terms.empty())
      problem_.terms->add(problem_.powers, sum());
    else
      boosts_ = problem_.with_terms;
  };
  for (const RuleSource& source : problem_.rules) {
    if (source.fixed && boosts_.empty()) {
      boosts_ = source.fixed->boosts();
    } else {
      for (const Rule& rule : source.rules->list())
        if (rule.type == Type::boost) add_boost(rule, *problem_.candidates, sum());
    }
    if (&source == problem_.rules.data()) add_terms();
  }
}

void Selection::prepare_pins() {
  pins_.clear();
  const auto stands = [&](std::int32_t row) {
    return std::any_of(pins_.begin(), pins_.end(), [&](const Pin& pin) { return pin.row == row; });
  };
  const auto forbidden = [&](std::int32_t row) {
    if (!problem_.recommendable.empty() && !problem_.recommendable[row]) return true;
    return std::any_of(rules_.begin(), rules_.end(),
                       [&](const Rule* rule) { return is_exclusion(*rule) && forbids(*rule, problem_.visit, row); });
  };
  for (const Rule* rule : rules_) {
    if (rule->type != Type::pin) continue;
    for (std::int32_t row : rule->rows) {
      if (static_cast<std::int64_t>(pins_.size()) == problem_.k) return;
      if (!stands(row) && !forbidden(row)) pins_.push_back({row, problem_.candidates->find(row), rule});
    }
  }
}

void Selection::prepare_list_rules() {
  for (const Pin& pin : pins_)
    if (pin.place >= 0) excluded_.add(pin.place);
  diversify_ = min_score_ = nullptr;
  std::size_t limits = 0;
  for (const Rule* rule : rules_) {
    if (rule->type == Type::diversify && problem_.diversify) diversify_ = rule;
    if (rule->type == Type::min_score && problem_.min_score && (!min_score_ || rule->score > min_score_->score))
      min_score_ = rule;
    if (rule->type != Type::limit) continue;
    if (limits == limits_.size()) limits_.emplace_back();
    Limit& limit = limits_[limits++];
    limit.rule = rule;
    limit.listed.clear();
  }
  limits_.resize(limits);
}

const Selection::Limit* Selection::full_limit(std::int32_t row) const {
  for (const Limit& limit : limits_) {
    const std::int32_t code = problem_.visit.attributes->texts()[limit.rule->column].codes[row];
    if (code != TextAttribute::kMissing && limit.listed.of(code) >= limit.rule->max) return &limit;
  }
  return nullptr;
}

// The best candidate that was not looked at and that no limit holds back; false when there is none.
bool Selection::next(const Scan& scan, Scored& scored) {
  do {
    while (at_ < list_.size() && !ended_) {
      scored = list_[at_++];
      if (full_limit(problem_.candidates->rows()[scored.place])) continue;
      if (!min_score_ || scored.score >= min_score_->score) return true;
      ended_ = true;  // those after it score no more
    }
  } while (scan_again(scan));
  return false;
}

// Goes on below a list that is used up: without what it held, and without values that limits allow no more of.
bool Selection::scan_again(const Scan& scan) {
  if (ended_ || static_cast<std::int64_t>(list_.size()) < asked_) return false;
  for (const Scored& scored : list_) excluded_.add(scored.place);
  for (const Limit& limit : limits_)
    limit.listed.for_each([&](std::int32_t code, std::int64_t listed) {
      if (listed >= limit.rule->max) excluded_.add(problem_.candidates->with_value(limit.rule->column, code));
    });
  asked_ = std::min(2 * asked_, excluded_.left());
  list_.clear();
  at_ = 0;
  if (asked_ > 0) scan(asked_, excluded_, boosts_, list_);
  return !list_.empty();
}

void Selection::take(std::int32_t row, float score, SelectedProducts& selected) {
  selected.rows.push_back(row);
  selected.scores.push_back(score);
  for (Limit& limit : limits_) {
    const std::int32_t code = problem_.visit.attributes->texts()[limit.rule->column].codes[row];
    if (code != TextAttribute::kMissing) limit.listed.add(code);
  }
}

// Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998): time after time the product of the pool with the
// largest (1 - strength) · relevance - strength · (largest similarity to what is chosen), the earlier one of equals.
void Selection::diversify(const Scan& scan, SelectedProducts& selected) {
  const auto& rows = problem_.candidates->rows();
  Scored scored;
  while (static_cast<std::int64_t>(pool_.size()) < diversify_->pool && next(scan, scored)) pool_.push_back(scored);
  if (pool_.empty()) return;
  std::vector<Product> pinned;
  for (const Pin& pin : pins_) pinned.push_back({pin.row, pin.place});
  Similarity similarity(problem_, *diversify_, pool_, pinned);

  const double worst = pool_.back().score, range = pool_.front().score - worst;
  const auto marginal = [&](std::size_t p) {
    const double relevance = range > 0 ? (pool_[p].score - worst) / range : 1;
    return (1 - diversify_->strength) * relevance - diversify_->strength * similarity[p];
  };
  std::vector<std::size_t> open(pool_.size());
  for (std::size_t p = 0; p < open.size(); ++p) open[p] = p;
  while (static_cast<std::int64_t>(selected.rows.size()) < problem_.k) {
    std::erase_if(open, [&](std::size_t p) { return full_limit(rows[pool_[p].place]) != nullptr; });
    if (open.empty()) return;
    auto best = open.begin();
    double largest = marginal(*best);
    for (auto other = best + 1; other != open.end(); ++other)
      if (const double value = marginal(*other); value > largest) best = other, largest = value;
    const Scored& choice = pool_[*best];
    take(rows[choice.place], choice.score, selected);
    similarity.choose(*best);
    open.erase(best);
  }
}

SelectedProducts Selection::select(std::span<const Scored> first, const Scan& scan, bool explain) {
  list_.assign(first.begin(), first.end());
  at_ = 0;
  ended_ = false;
  pool_.clear();
  SelectedProducts selected;
  const auto most = std::min<std::int64_t>(problem_.k, static_cast<std::int64_t>(pins_.size()) + excluded_.left());
  selected.rows.reserve(static_cast<std::size_t>(most));
  selected.scores.reserve(static_cast<std::size_t>(most));
  for (const Pin& pin : pins_) take(pin.row, std::numeric_limits<float>::quiet_NaN(), selected);
  const auto full = [&] { return static_cast<std::int64_t>(selected.rows.size()) == problem_.k; };
  if (!full() && diversify_ && can_diversify()) diversify(scan, selected);
  for (Scored scored; !full() && next(scan, scored);)
    take(problem_.candidates->rows()[scored.place], scored.score, selected);
  if (!full()) selected.reason = reason(selected.rows.size());
  if (explain) selected.explanation = explanation(selected, scan);
  return selected;
}

template <class F>
void Selection::for_exclusions(F&& f) const {
  PlaceSet excluded;
  exclude_outside(excluded);
  for (const Rule* rule : rules_) {
    if (!is_exclusion(*rule)) continue;
    forbid(*rule, problem_.visit, *problem_.candidates, excluded);
    f(*rule, excluded.left());
  }
}

std::string Selection::reason(std::size_t listed) const {
  const std::int64_t n = candidates();
  std::string text = concat(listed, " of ", problem_.k, ": ", n, " candidates");
  std::int64_t before = n;
  for_exclusions([&](const Rule& rule, std::int64_t left) {
    if (left < before) text += concat(", ", label(rule), " leaves ", left);
    before = left;
  });
  for (const Limit& limit : limits_) {
    bool full = false;
    limit.listed.for_each([&](std::int32_t, std::int64_t listed) { full |= listed >= limit.rule->max; });
    if (full) text += concat(", ", label(*limit.rule), " allows ", limit.rule->max, " of a value");
  }
  if (ended_) text += concat(", ", label(*min_score_), " of ", min_score_->score, " ends the list");
  return text;
}

// Why not all of the objective is served; empty where it is.
std::string Selection::idle_objectives() const {
  if (!problem_.terms) return kNoModel;
  std::string names;
  for (const auto& [name, weight] : *problem_.objective)
    if (weight > 0 && name != kClick &&
        std::find(problem_.learnt.begin(), problem_.learnt.end(), name) == problem_.learnt.end())
      names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "" : concat("the model has not learnt ", names, ", which counts as clicks");
}

std::string Selection::explanation(const SelectedProducts& selected, const Scan& scan) const {
  const Candidates& scanned = *problem_.candidates;
  Json json{{"candidates", candidates()}, {"rules", Json::array()}, {"listed", Json::array()}};
  if (problem_.powers.any()) {
    Json terms{{"value", problem_.powers.value}, {"tail", problem_.powers.tail}};
    if (!has_terms()) terms["does_not_apply"] = kNoModel;
    json["terms"] = terms;
  }
  if (problem_.objective && !is_clicks_alone(*problem_.objective)) {
    Json weights = Json::object();
    for (const auto& [name, weight] : *problem_.objective) weights[name] = weight;
    Json objective{{"weights", weights}};
    if (const std::string idle = idle_objectives(); !idle.empty()) objective["does_not_apply"] = idle;
    json["objective"] = objective;
  }

  std::vector<std::int64_t> removed;
  std::int64_t before = candidates();
  for_exclusions([&](const Rule&, std::int64_t left) {
    removed.push_back(before - left);
    before = left;
  });
  json["left"] = before;
  auto exclusion = removed.begin();
  for (const Rule* rule : rules_) {
    Json entry{{"path", rule->path}, {"rule", to_string(rule->type)}};
    std::string idle = does_not_apply(*rule, problem_.visit);
    if (rule->type == Type::diversify) {
      if (rule != diversify_)
        idle = problem_.diversify ? "a later diversify takes its place" : "the request does without";
      if (rule == diversify_ && !can_diversify()) idle = "there are no embeddings";
    }
    if (rule->type == Type::min_score && rule != min_score_)
      idle = problem_.min_score ? "another min_score asks for as much or more" : kNoModel;
    if (!idle.empty()) entry["does_not_apply"] = idle;
    if (is_exclusion(*rule)) entry["removed"] = *exclusion++;
    json["rules"].push_back(entry);
  }

  for (std::size_t i = 0; i < selected.rows.size(); ++i) {
    const std::int32_t row = selected.rows[i], place = scanned.find(row);
    Json entry{{"id", to_json(problem_.catalog->id(row))}};
    if (i < pins_.size()) {
      entry["pinned"] = pins_[i].rule->path;
    } else {
      float boost = 0;
      for (const Rule* rule : rules_)
        if (is_boosted(*rule, *problem_.visit.attributes, row)) boost += rule->by;
      if (boost != 0) entry["boost"] = boost;
      if (has_terms()) {
        if (problem_.powers.value != 0) entry["value"] = problem_.terms->of_value(place, problem_.powers);
        if (problem_.powers.tail != 0) entry["tail"] = problem_.terms->of_tail(place, problem_.powers);
      }
      const auto in_pool = std::find_if(pool_.begin(), pool_.end(), [&](const Scored& s) { return s.place == place; });
      const auto from = pins_.size() + static_cast<std::size_t>(in_pool - pool_.begin());
      if (in_pool != pool_.end() && from != i) entry["moved"] = Json{{"from", from + 1}, {"to", i + 1}};
    }
    json["listed"].push_back(entry);
  }

  // What would have been listed without any rule or term, and the first thing that kept it out.
  json["missing"] = Json::array();
  std::vector<Scored> plain;
  PlaceSet outside;
  exclude_outside(outside);
  if (candidates() > 0) scan(std::min(problem_.k, candidates()), outside, {}, plain);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const std::int32_t row = scanned.rows()[plain[i].place];
    if (std::find(selected.rows.begin(), selected.rows.end(), row) != selected.rows.end()) continue;
    const float score = plain[i].score + (boosts_.empty() ? 0 : boosts_[plain[i].place]);
    const auto excluder = std::find_if(rules_.begin(), rules_.end(), [&](const Rule* rule) {
      return is_exclusion(*rule) && forbids(*rule, problem_.visit, row);
    });
    const Limit* limit = full_limit(row);
    const bool in_pool = std::any_of(pool_.begin(), pool_.end(), [&](auto& s) { return s.place == plain[i].place; });
    Json by;  // null: others came first, boosted, pinned, of more value, less popular or diversified ones
    if (excluder != rules_.end())
      by = (*excluder)->path;
    else if (min_score_ && score < min_score_->score)
      by = min_score_->path;
    else if (limit)
      by = limit->rule->path;
    else if (in_pool)
      by = diversify_->path;
    json["missing"].push_back(Json{{"id", to_json(problem_.catalog->id(row))}, {"rank", i + 1}, {"by", by}});
  }
  return json.dump();
}

}  // namespace stamp
