// From scans to lists: applies rules to what a device finds. Exact: a list is what sorting all candidates would give
// (docs/rules.md), whatever little of them is scanned.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "stamp/objective.h"
#include "stamp/score_terms.h"

namespace stamp {

struct Scored {
  std::int32_t place;
  float score;  // boosts and terms included
};

// Lists the n candidates of the largest score + boost, terms among the boosts, all in single precision, that are not in
// `excluded`: best first, ties always in one order (by lower place, but where a fallback has its own), NaN never; all
// that there are where those are fewer than n. `boosts` is [candidates], or empty where nothing is boosted. `list`
// comes with anything in it.
using Scan = std::function<void(std::int64_t n, const PlaceSet& excluded, std::span<const float> boosts,
                                std::vector<Scored>& list)>;

// Rules of one source, a zone's or a request's.
struct RuleSource {
  const Rules* rules = nullptr;
  const FixedRules* fixed = nullptr;  // rules->fixed(candidates), where it was worked out beforehand
};

struct SelectionProblem {
  const Catalog* catalog = nullptr;
  const Candidates* candidates = nullptr;
  const PlaceSet* outside = nullptr;                 // places that this list cannot choose from, or null
  std::span<const std::uint8_t> recommendable = {};  // [V] 0 for what is never listed, not even pinned; or empty
  std::span<const RuleSource> rules;                 // they apply in this order
  Visit visit;
  std::span<const std::int32_t> exclude;  // catalog rows of the request's own, kUnknown entries skipped
  std::span<const std::int32_t> only;     // likewise, when restricted
  bool restricted = false;
  std::int64_t k = 0;
  bool diversify = true;  // false: rules that diversify are passed over
  // What is added to the scores behind the boosts of the first source, before those of the others; null or empty:
  // nothing, as of lists that no model makes. with_terms: [candidates] those boosts and these terms, where they were
  // worked out beforehand.
  const ProductTerms* terms = nullptr;
  TermPowers powers = {};
  std::span<const float> with_terms = {};
  // What the scores are asked to serve, for explanations, and what of it beside clicks the model has learnt; null:
  // clicks alone.
  const Objective* objective = nullptr;
  std::span<const std::string> learnt = {};
  bool min_score = true;  // whether min_score makes sense of the scores; lists that no model makes pass it over
  // The embeddings of candidates, for diversify, as rows [places,D]; none where there are no embeddings. Called once.
  std::int64_t D = 0;
  std::function<void(std::span<const std::int32_t> places, std::vector<float>& rows)> embeddings;
};

struct SelectedProducts {
  std::vector<std::int32_t> rows;  // of the catalog, at most k
  std::vector<float> scores;       // boosts and terms included; NaN of pins, which are listed whatever their score
  std::string reason;       // why there are fewer than k: "3 of 20: 1200 candidates, only_values colour leaves 3"
  std::string explanation;  // JSON (docs/rules.md), when asked for
};

// How many products of each value are listed. Lists are short and values may be very many: a hash table of what is
// listed, with linear probing.
class ValueCounts {
 public:
  void clear() {
    slots_.assign(kFirst, {});
    used_ = 0;
  }
  std::int64_t of(std::int32_t code) const { return slots_[find(code)].count; }
  void add(std::int32_t code);
  // Calls f(code, count) for each value that is listed.
  template <class F>
  void for_each(F&& f) const {
    for (const Slot& slot : slots_)
      if (slot.count > 0) f(slot.code, slot.count);
  }

 private:
  static constexpr std::size_t kFirst = 64;
  struct Slot {
    std::int32_t code = 0;
    std::int64_t count = 0;  // 0: the slot is free
  };
  std::size_t find(std::int32_t code) const;  // its slot, or the one that it would take

  std::vector<Slot> slots_;  // a power of two, at most half of them used
  std::size_t used_ = 0;
};

// One request at a time, in two steps, so that the first scans of many requests can be one. Keeps its memory for the
// next request; not thread-safe.
class STAMP_API Selection {
 public:
  Selection() = default;
  Selection(const Selection&) = delete;  // what is prepared points into itself
  Selection& operator=(const Selection&) = delete;

  // `problem` and what it points to must live until select returns. Throws std::invalid_argument when k < 1, a row is
  // beyond the catalog, or rules worked out beforehand are of other candidates.
  void prepare(const SelectionProblem& problem);

  // What the first scan takes. n is such that it suffices unless limits hold back much; 0 when there is nothing to
  // scan.
  std::int64_t first_scan() const { return asked_; }
  const PlaceSet& excluded() const { return excluded_; }  // most often empty, or a zone's own
  std::span<const float> boosts() const { return boosts_; }

  // Once for each prepare. `first` is what the first scan listed. Scans again only where limits leave less than k of
  // it, and once more to explain.
  SelectedProducts select(std::span<const Scored> first, const Scan& scan, bool explain = false);

 private:
  struct Pin {
    std::int32_t row, place;  // place -1: not a candidate
    const Rule* rule;
  };
  struct Limit {
    const Rule* rule;
    ValueCounts listed;
  };

  void exclude_outside(PlaceSet& excluded) const;
  void prepare_exclusions();
  void prepare_boosts();
  bool has_terms() const { return problem_.terms && !problem_.terms->empty() && problem_.powers.any(); }
  void prepare_pins();
  void prepare_list_rules();

  const Limit* full_limit(std::int32_t row) const;
  bool next(const Scan& scan, Scored& scored);
  bool scan_again(const Scan& scan);
  void take(std::int32_t row, float score, SelectedProducts& selected);
  void diversify(const Scan& scan, SelectedProducts& selected);

  bool can_diversify() const { return diversify_->column >= 0 || problem_.embeddings; }
  std::int64_t candidates() const {  // that this list can choose from
    return problem_.outside ? problem_.outside->left() : problem_.candidates->size();
  }
  // Calls f(rule, candidates left) after each exclusion, in order.
  template <class F>
  void for_exclusions(F&& f) const;
  std::string reason(std::size_t listed) const;
  std::string idle_objectives() const;
  std::string explanation(const SelectedProducts& selected, const Scan& scan) const;

  SelectionProblem problem_;
  Rule exclude_, only_;             // the request's own lists, as rules
  std::vector<const Rule*> rules_;  // all, in order
  PlaceSet excluded_;
  std::vector<float> summed_boosts_;
  std::span<const float> boosts_;  // and terms: summed_boosts_, or those worked out beforehand
  std::vector<Pin> pins_;
  std::vector<Limit> limits_;
  const Rule* diversify_ = nullptr;
  const Rule* min_score_ = nullptr;

  std::int64_t asked_ = 0;    // n of the last scan
  std::vector<Scored> list_;  // what it listed,
  std::size_t at_ = 0;        // from here on not looked at
  bool ended_ = false;        // by min_score
  std::vector<Scored> pool_;  // of diversify
};

}  // namespace stamp
