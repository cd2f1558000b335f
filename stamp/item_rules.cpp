#include "stamp/item_rules.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cpu/thread_pool.h"
#include "stamp/pool.h"

namespace stamp {

namespace {

class ItemRules final : public Baseline {
 public:
  ItemRules(std::int64_t V, std::string kind, std::string options, RuleOptions read, Lists rules,
            std::vector<float> weights)
      : Baseline(V, std::move(kind), std::move(options)),
        read_(read),
        rules_(std::move(rules)),
        weights_(std::move(weights)) {}

  ScoredProducts score(std::span<const std::int32_t> history, Scratch& scratch) const override {
    if (history.empty()) return {};
    const auto length = static_cast<std::int64_t>(history.size());
    const std::int64_t read = read_.history > 0 ? std::min(read_.history, length) : length;
    if (read_.history == 1) return {.rows = rules_[history.back()], .scores = weights(history.back()), .sorted = true};
    Scores& scores = static_cast<Room&>(scratch).scores;
    scores.clear();
    for (std::int64_t i = 1; i <= read; ++i) {
      const std::int32_t row = history[length - i];
      const float decay = decayed(read_.decay, i);
      if (decay == 0) break;
      const auto rules = rules_[row];
      const auto weight = weights(row);
      for (std::size_t j = 0; j < rules.size(); ++j) scores.add(rules[j], decay * weight[j]);
    }
    return scores.products();
  }

  std::unique_ptr<Scratch> scratch() const override { return std::make_unique<Room>(read_.history == 1 ? 0 : V()); }

  std::map<std::string, TensorSource> tensors() const override {
    std::map<std::string, TensorSource> tensors;
    rules_.save(tensors, "rules");
    tensors.insert_or_assign("weights",
                             TensorSource({DType::f32, {static_cast<std::int64_t>(weights_.size())}}, weights_.data()));
    return tensors;
  }

  std::shared_ptr<const Baseline> in_catalog(std::span<const std::int32_t> rows, std::int64_t products) const override {
    check_moved(rows, V(), products);
    // Weights move as rules do: both by the position that a rule has here.
    Lists positions{.offsets = rules_.offsets, .values = std::vector<std::int32_t>(rules_.values.size())};
    std::iota(positions.values.begin(), positions.values.end(), 0);
    Lists moved = rekeyed(positions, rows, products);
    std::vector<float> weights;
    weights.reserve(weights_.size());
    for (std::int32_t& value : moved.values) {
      weights.push_back(weights_[value]);
      value = rows[rules_.values[value]];
    }
    return std::make_shared<ItemRules>(products, kind(), options(), read_, std::move(moved), std::move(weights));
  }

 private:
  struct Room final : Scratch {
    explicit Room(std::int64_t V) : scores(V) {}
    Scores scores;
  };

  std::span<const float> weights(std::int32_t row) const {
    return std::span(weights_).subspan(static_cast<std::size_t>(rules_.offsets[row]), rules_[row].size());
  }

  RuleOptions read_;
  Lists rules_;
  std::vector<float> weights_;  // of the values of rules_
};

// The rules of each product x of 0 … V-1: add(x, scores) sums the weights of x → y in the order in which y occurs, then
// weigh(x, y, sum) says what they come to.
std::shared_ptr<const Baseline> rules_of(std::int64_t V, const char* kind, std::string json, const RuleOptions& options,
                                         const cpu::FunctionRef<void(std::int32_t, Scores&)>& add,
                                         const std::function<double(std::int32_t, std::int32_t, double)>& weigh = {}) {
  struct Room {
    explicit Room(std::int64_t V) : scores(V) {}
    Scores scores;
    std::vector<float> weights;
    std::vector<std::int32_t> best;
  };
  Pool<Room> rooms;
  std::vector<std::vector<std::pair<std::int32_t, float>>> found(static_cast<std::size_t>(V));
  constexpr std::int64_t kGrain = 256;
  cpu::parallel_for_ranges(V, kGrain, 0, [&](std::int64_t first, std::int64_t last) {
    auto room = rooms.take([V] { return std::make_unique<Room>(V); });
    for (auto x = static_cast<std::int32_t>(first); x < last; ++x) {
      add(x, room->scores);
      const auto& rows = room->scores.rows();
      room->weights.clear();
      for (std::int32_t y : rows) {
        const double sum = room->scores[y];
        room->weights.push_back(static_cast<float>(weigh ? weigh(x, y, sum) : sum));
      }
      const auto all = static_cast<std::int64_t>(rows.size());
      find_best(room->weights, options.per_item > 0 ? options.per_item : all, room->best);
      found[x].reserve(room->best.size());
      for (std::int32_t i : room->best) found[x].emplace_back(rows[i], room->weights[i]);
      room->scores.clear();
    }
    rooms.give_back(std::move(room));
  });
  Lists rules;
  std::vector<float> weights;
  for (auto& list : found) {
    for (const auto& [row, weight] : list) {
      rules.values.push_back(row);
      weights.push_back(weight);
    }
    rules.end_list();
    std::vector<std::pair<std::int32_t, float>>().swap(list);
  }
  require(rules.values.size() <= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()),
          "fit: ", rules.values.size(), " rules are more than a file holds; expected a lower per_item");
  return std::make_shared<ItemRules>(V, kind, std::move(json), options, std::move(rules), std::move(weights));
}

// Where each product occurs, as events of `sessions`, and the session that each event is of.
struct Occurrences {
  std::vector<std::int64_t> begins, events;
  std::vector<std::int32_t> session;

  Occurrences(const Sessions& sessions, std::int64_t V) {
    const auto inside = [V](std::int32_t row) { return row >= 0 && row < V; };
    begins.assign(static_cast<std::size_t>(V + 1), 0);
    for (std::int32_t row : sessions.items())
      if (inside(row)) ++begins[row + 1];
    std::partial_sum(begins.begin(), begins.end(), begins.begin());
    events.resize(static_cast<std::size_t>(begins.back()));
    session.resize(static_cast<std::size_t>(sessions.events()));
    auto next = begins;
    for (std::int64_t s = 0; s < sessions.size(); ++s)
      for (std::int64_t e = sessions.offsets()[s]; e < sessions.offsets()[s + 1]; ++e) {
        session[e] = static_cast<std::int32_t>(s);
        if (inside(sessions.items()[e])) events[next[sessions.items()[e]]++] = e;
      }
  }

  std::span<const std::int64_t> operator[](std::int32_t row) const {
    return std::span(events).subspan(static_cast<std::size_t>(begins[row]),
                                     static_cast<std::size_t>(begins[row + 1] - begins[row]));
  }
};

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
  check_numbers(sessions);
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
  check_numbers(sessions);
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
  return std::make_shared<ItemRules>(V, kind, options, read, std::move(rules),
                                     std::vector<float>(weights.begin(), weights.end()));
}

}  // namespace stamp
