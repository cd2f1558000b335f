#include "stamp/item_rules.h"

#include <algorithm>
#include <cmath>

#include "stamp/pairs.h"

namespace stamp {

namespace {

class ItemRules final : public Baseline {
 public:
  ItemRules(std::int64_t V, std::string kind, std::string options, RuleOptions read, WeightedLists rules)
      : Baseline(V, std::move(kind), std::move(options)), read_(read), rules_(std::move(rules)) {}

  ScoredProducts score(std::span<const std::int32_t> history, Scratch& scratch) const override {
    if (history.empty()) return {};
    const auto length = static_cast<std::int64_t>(history.size());
    const std::int64_t read = read_.history > 0 ? std::min(read_.history, length) : length;
    if (read_.history == 1) {
      const std::int32_t row = history.back();
      return {.rows = rules_.lists[row], .scores = rules_.weights_of(row), .sorted = true};
    }
    Scores& scores = static_cast<Room&>(scratch).scores;
    scores.clear();
    for (std::int64_t i = 1; i <= read; ++i) {
      const std::int32_t row = history[length - i];
      const float decay = decayed(read_.decay, i);
      if (decay == 0) break;
      const auto rules = rules_.lists[row];
      const auto weight = rules_.weights_of(row);
      for (std::size_t j = 0; j < rules.size(); ++j) scores.add(rules[j], decay * weight[j]);
    }
    return scores.products();
  }

  std::unique_ptr<Scratch> scratch() const override { return std::make_unique<Room>(read_.history == 1 ? 0 : V()); }

  std::map<std::string, TensorSource> tensors() const override {
    std::map<std::string, TensorSource> tensors;
    rules_.lists.save(tensors, "rules");
    const auto& weights = rules_.weights;
    tensors.insert_or_assign("weights",
                             TensorSource({DType::f32, {static_cast<std::int64_t>(weights.size())}}, weights.data()));
    return tensors;
  }

  std::shared_ptr<const Baseline> in_catalog(std::span<const std::int32_t> rows, std::int64_t products) const override {
    check_moved(rows, V(), products);
    return std::make_shared<ItemRules>(products, kind(), options(), read_, rules_.in_catalog(rows, products));
  }

 private:
  struct Room final : Scratch {
    explicit Room(std::int64_t V) : scores(V) {}
    Scores scores;
  };

  RuleOptions read_;
  WeightedLists rules_;
};

// Rules as strongest_pairs finds them.
std::shared_ptr<const Baseline> rules_of(std::int64_t V, const char* kind, std::string json, const RuleOptions& options,
                                         const std::function<void(std::int32_t, Scores&)>& add,
                                         const std::function<double(std::int32_t, std::int32_t, double)>& weigh = {}) {
  return std::make_shared<ItemRules>(V, kind, std::move(json), options,
                                     strongest_pairs(V, options.per_item, add, weigh));
}

}  // namespace

void RuleOptions::validate() const {
  require(per_item >= 0, "per_item is ", per_item, ", expected rules to keep of a product, or 0 for all");
  require(history >= 0, "history is ", history, ", expected events to read, or 0 for all");
}

void SequentialRuleOptions::validate() const {
  RuleOptions::validate();
  require(steps >= 1, "steps is ", steps, ", expected 1 or more");
}

void ItemKnnOptions::validate() const {
  RuleOptions::validate();
  require(shrinkage >= 0 && std::isfinite(shrinkage), "shrinkage is ", shrinkage, ", expected 0 or more");
  require(alpha >= 0 && alpha <= 1, "alpha is ", alpha, ", expected 0 to 1");
  require(significance >= 0 && std::isfinite(significance), "significance is ", significance,
          ", expected a number of sessions, or 0 for none");
}

std::shared_ptr<const Baseline> fit_association_rules(const Sessions& sessions, std::int64_t V,
                                                      const AssociationRuleOptions& options) {
  options.validate();
  const Occurrences occurrences(sessions, V);
  return rules_of(V, "association_rules", to_json(options), options, [&](std::int32_t x, Scores& scores) {
    for (std::int64_t event : occurrences[x]) {
      const std::int32_t s = occurrences.session[event];
      for (std::int64_t other = sessions.offsets()[s]; other < sessions.offsets()[s + 1]; ++other)
        if (const std::int32_t y = sessions.items()[other]; other != event && y >= 0 && y < V) scores.add(y, 1);
    }
  });
}

std::shared_ptr<const Baseline> fit_sequential_rules(const Sessions& sessions, std::int64_t V,
                                                     const SequentialRuleOptions& options) {
  options.validate();
  const Occurrences occurrences(sessions, V);
  return rules_of(V, "sequential_rules", to_json(options), options, [&](std::int32_t x, Scores& scores) {
    for (std::int64_t event : occurrences[x]) {
      const std::int64_t end = sessions.offsets()[occurrences.session[event] + 1];
      for (std::int64_t i = 1; i <= options.steps && event + i < end; ++i) {
        const std::int32_t y = sessions.items()[event + i];
        const float weight = decayed(options.weighting, i);
        if (weight == 0) break;
        if (y >= 0 && y < V) scores.add(y, weight);
      }
    }
  });
}

std::shared_ptr<const Baseline> fit_item_knn(const Sessions& sessions, std::int64_t V, const ItemKnnOptions& options) {
  options.validate();
  check_numbers(sessions);
  const Lists products = distinct_products(sessions, V);
  const Lists sessions_of = inverted(products, V);
  std::vector<double> own(static_cast<std::size_t>(V)), others(static_cast<std::size_t>(V));
  for (std::int64_t v = 0; v < V; ++v) {
    const double support = static_cast<double>(sessions_of[v].size()) + options.shrinkage;
    own[v] = std::pow(support, options.alpha);
    others[v] = std::pow(support, 1 - options.alpha);
  }
  return rules_of(
      V, "item_knn", to_json(options), options,
      [&](std::int32_t x, Scores& scores) {
        for (std::int32_t s : sessions_of[x])
          for (std::int32_t y : products[s])
            if (y != x) scores.add(y, 1);
      },
      [&](std::int32_t x, std::int32_t y, double together) {
        double weight = together / (own[x] * others[y]);
        if (options.significance > 0) weight *= std::min(together, options.significance) / options.significance;
        return weight;
      });
}

std::shared_ptr<const Baseline> read_item_rules(const Safetensors& file, std::int64_t V, const std::string& kind,
                                                const std::string& options) {
  const auto read = [&]() -> RuleOptions {
    if (kind == "association_rules") return association_rule_options_from_json(options);
    if (kind == "sequential_rules") return sequential_rule_options_from_json(options);
    require(kind == "item_knn", "kind is '", kind, "', expected association_rules, sequential_rules or item_knn");
    return item_knn_options_from_json(options);
  }();
  Lists rules = Lists::from(file, "rules", V, V);
  const auto weights = file.f32("weights", {static_cast<std::int64_t>(rules.values.size())});
  std::vector<std::int64_t> last(static_cast<std::size_t>(V), -1);  // product of which this was a rule
  for (std::int64_t x = 0; x < V; ++x)
    for (std::int64_t i = rules.offsets[x]; i < rules.offsets[x + 1]; ++i) {
      require(weights[i] >= 0 && std::isfinite(weights[i]), "weights of product ", x, " hold ", weights[i],
              ", expected 0 or more");
      require(i == rules.offsets[x] || weights[i] <= weights[i - 1], "weights of product ", x, " do not fall");
      require(std::exchange(last[rules.values[i]], x) != x, "product ", x, " has two rules of ", rules.values[i]);
    }
  return std::make_shared<ItemRules>(
      V, kind, options, read,
      WeightedLists{.lists = std::move(rules), .weights = std::vector<float>(weights.begin(), weights.end())});
}

}  // namespace stamp
