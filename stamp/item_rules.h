// Rules from product to product: association rules, sequential rules, item-kNN.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "stamp/baselines.h"

namespace stamp {

// How rules are kept and read, whatever they come from. A session's score of a product is the sum over its last
// `history` events of the rule's weight, times decayed(decay, i) for the i-th from the end where it reads more than
// one.
struct STAMP_API RuleOptions {
  std::int64_t per_item = 100;  // rules kept of each product, those of the largest weight; 0: all
  std::int64_t history = 1;     // events read; 0: all
  Decay decay = Decay::div;     // of all of them, the last too, unless only that one is read

  void validate() const;
};

// Weight of x → y: pairs of events in one session, one of x and one of y. A session of L events takes L² steps, so
// those of robots are better left out.
struct STAMP_API AssociationRuleOptions : RuleOptions {};

// Weight of x → y: sum of decayed(weighting, i) over pairs of events, y being the i-th after x, up to `steps`. With
// one step a first-order Markov chain.
struct STAMP_API SequentialRuleOptions : RuleOptions {
  std::int64_t steps = 10;
  Decay weighting = Decay::div;

  void validate() const;
};

// Weight of x → y, with n sessions that hold x, m that hold y, c both:
// c / ((n + shrinkage)^alpha · (m + shrinkage)^(1-alpha)) · min(c, significance)/significance.
struct STAMP_API ItemKnnOptions : RuleOptions {
  double shrinkage = 20;
  double alpha = 0.5;       // without shrinkage 0.5 is the cosine, 1 the confidence of x → y
  double significance = 0;  // sessions together from which a similarity counts in full; 0: any does

  void validate() const;
};

// On all cores, to the same bits whatever their number; memory: the rules, 12 bytes an event, and 13·V bytes a thread.
// Rules of a product are sorted by weight, of equal ones that which occurs first.
STAMP_API std::shared_ptr<const Baseline> fit_association_rules(const Sessions& sessions, std::int64_t V,
                                                                const AssociationRuleOptions& options = {});
STAMP_API std::shared_ptr<const Baseline> fit_sequential_rules(const Sessions& sessions, std::int64_t V,
                                                               const SequentialRuleOptions& options = {});
STAMP_API std::shared_ptr<const Baseline> fit_item_knn(const Sessions& sessions, std::int64_t V,
                                                       const ItemKnnOptions& options = {});

STAMP_API std::string to_json(const AssociationRuleOptions& options);
STAMP_API std::string to_json(const SequentialRuleOptions& options);
STAMP_API std::string to_json(const ItemKnnOptions& options);
STAMP_API AssociationRuleOptions association_rule_options_from_json(const std::string& json);
STAMP_API SequentialRuleOptions sequential_rule_options_from_json(const std::string& json);
STAMP_API ItemKnnOptions item_knn_options_from_json(const std::string& json);

STAMP_API std::shared_ptr<const Baseline> read_item_rules(const Safetensors& file, std::int64_t V,
                                                          const std::string& kind, const std::string& options);

}  // namespace stamp
