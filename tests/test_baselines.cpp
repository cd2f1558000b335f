// Every baseline beside its definition in plain loops; options; ranking.
#include <map>
#include <set>

#include "tests/baselines.h"

using namespace stamp;
using namespace baselines;

namespace {

void check_same(const Table& actual, const Table& expected) {
  REQUIRE(actual.size() == expected.size());
  for (const auto& [row, score] : expected) {
    CAPTURE(row);
    REQUIRE(actual.count(row) == 1);
    CHECK(actual.at(row) == doctest::Approx(score).epsilon(1e-5));
  }
}

double decay_of(Decay decay, double i) {
  switch (decay) {
    case Decay::same:
      return 1;
    case Decay::div:
      return 1 / i;
    case Decay::linear:
      return std::max(0.0, 1 - 0.1 * i);
    case Decay::log:
      return 1 / std::log10(i + 1.7);
    default:
      return 1 / (i * i);
  }
}

constexpr Decay kDecays[] = {Decay::same, Decay::div, Decay::linear, Decay::log, Decay::quadratic};

// The `n` rules of the largest weight, and what a session scores by them.
Table by_rules(const std::map<std::int32_t, Table>& rules, const RuleOptions& options, const Rows& history) {
  Table scores;
  const auto length = static_cast<std::int64_t>(history.size());
  for (std::int64_t i = 1; i <= (options.history ? std::min(options.history, length) : length); ++i) {
    const auto found = rules.find(history[length - i]);
    if (found == rules.end()) continue;
    for (const auto& [y, weight] : found->second)
      if (const double decay = options.history == 1 ? 1 : decay_of(options.decay, i); decay > 0)
        scores[y] += decay * weight;
  }
  return scores;
}

}  // namespace

TEST_CASE("the best of scores: ties by position, no more than there are") {
  std::vector<std::int32_t> best;
  find_best(std::vector<float>{1, 3, 2, 3, 0}, 3, best);
  CHECK(best == Rows{1, 3, 2});
  find_best(std::vector<float>{1, 1}, 9, best);
  CHECK(best == Rows{0, 1});
  find_best({}, 3, best);
  CHECK(best.empty());
}

TEST_CASE("popularity counts clicks, those of late, or by their age; a group's where there is one") {
  // 0 0 1 | 2 1 0 | 2 2, a second apart.
  const Sessions sessions({0, 0, 1, 2, 1, 0, 2, 2}, {0, 3, 6, 8},
                          {0, 1'000'000, 2'000'000, 3'000'000, 4'000'000, 5'000'000, 6'000'000, 7'000'000});
  check_same(scored(*fit_popularity(sessions, 4), {1}), {{0, 3}, {2, 3}, {1, 2}});
  CHECK(ranked(*fit_popularity(sessions, 4), {}) == Rows{0, 2, 1});  // ties by row; 3 was never clicked
  check_same(scored(*fit_popularity(sessions, 4, {.recent = 2.5}), {}), {{2, 2}, {0, 1}});
  check_same(scored(*fit_popularity(sessions, 4, {.half_life = 1}), {}),
             {{0, std::exp2(-7) + std::exp2(-6) + std::exp2(-2)},
              {1, std::exp2(-5) + std::exp2(-3)},
              {2, std::exp2(-4) + std::exp2(-1) + 1}});
  const Rows groups{0, 1, 0, -1};
  const auto grouped = fit_popularity(sessions, 4, {}, groups);
  CHECK(ranked(*grouped, {1, 2}) == Rows{0, 2});
  CHECK(ranked(*grouped, {0, 1}) == Rows{1});
  CHECK(ranked(*grouped, {3}) == Rows{0, 2, 1});  // of no group
  CHECK(ranked(*grouped, {}) == Rows{0, 2, 1});
  CHECK(!grouped->needs_history());
  // Codes of a longer table of products, whose other values are nowhere here.
  const auto sparse = fit_popularity(sessions, 4, {}, Rows{2'000'000'000, 7, 2'000'000'000, -1});
  const check::Folder folder;
  save_baseline(folder.path() / "sparse", *sparse);
  for (const auto& baseline : {sparse, load_baseline(folder.path() / "sparse")})
    for (const Rows& history : {Rows{1, 2}, Rows{0, 1}, Rows{3}, Rows{}})
      CHECK(ranked(*baseline, history) == ranked(*grouped, history));
  CHECK(scored(*fit_popularity(Sessions(), 3), {}).empty());

  const Sessions timeless({0, 1}, {0, 2});
  CHECK_THROWS_WITH_AS(fit_popularity(timeless, 2, {.recent = 5}),
                       "fit: recent needs timestamps, which these sessions have not", std::invalid_argument);
  CHECK_THROWS_AS(fit_popularity(timeless, 2, {.half_life = -1}), std::invalid_argument);
  CHECK_THROWS_WITH_AS(fit_popularity(timeless, 2, {}, Rows{0}), "fit: groups of 1 products, expected 2",
                       std::invalid_argument);
  CHECK_THROWS_AS(fit_popularity(timeless, 2, {}, Rows{0, -2}), std::invalid_argument);
}

TEST_CASE("session popularity: by count, then by clicks in training") {
  const Sessions sessions({0, 1, 1, 2, 2, 2}, {0, 6});
  const auto baseline = fit_session_popularity(sessions, 4);
  CHECK(ranked(*baseline, {0, 1, 0, 2}) == Rows{0, 2, 1});
  CHECK(ranked(*baseline, {3, 0, 1}) == Rows{1, 0, 3});
  const auto alike = fit_session_popularity(Sessions({0, 1, 2}, {0, 3}), 3);  // of equals the one that came first
  CHECK(ranked(*alike, {2, 0, 1, 0, 1}) == Rows{0, 1, 2});
  CHECK(ranked(*alike, {2, 1, 0}) == Rows{2, 1, 0});
  check_same(scored(*baseline, {0, 1, 0}), {{0, 2 + 1 / 4.0}, {1, 1 + 2 / 4.0}});
  CHECK(scored(*baseline, {}).empty());
  CHECK(baseline->needs_history());
}

TEST_CASE("association rules are pairs of events of one session") {
  const Sessions sessions = random_sessions(300, kProducts, 1);
  std::map<std::int32_t, Table> rules;
  for (const Rows& session : sessions_of(sessions))
    for (std::size_t i = 0; i < session.size(); ++i)
      for (std::size_t j = 0; j < session.size(); ++j)
        if (i != j && session[i] >= 0 && session[j] >= 0) ++rules[session[i]][session[j]];
  for (std::int64_t history : {1, 2, 0})
    for (const Decay decay : kDecays) {
      AssociationRuleOptions options;
      options.per_item = 0;
      options.history = history;
      options.decay = decay;
      const auto baseline = fit_association_rules(sessions, kProducts, options);
      for (const Rows& h : histories(40, kProducts, 2)) check_same(scored(*baseline, h), by_rules(rules, options, h));
    }
}

TEST_CASE("sequential rules weigh what follows by its distance") {
  const Sessions sessions = random_sessions(300, kProducts, 3);
  for (const Decay weighting : kDecays)
    for (std::int64_t steps : {1, 3, 20}) {
      std::map<std::int32_t, Table> rules;
      for (const Rows& session : sessions_of(sessions))
        for (std::size_t i = 0; i < session.size(); ++i)
          for (std::size_t j = i + 1; j < session.size() && j <= i + static_cast<std::size_t>(steps); ++j)
            if (const double weight = decay_of(weighting, static_cast<double>(j - i));
                session[i] >= 0 && session[j] >= 0 && weight > 0)
              rules[session[i]][session[j]] += weight;
      SequentialRuleOptions options;
      options.steps = steps;
      options.weighting = weighting;
      options.per_item = 0;
      const auto baseline = fit_sequential_rules(sessions, kProducts, options);
      for (const Rows& h : histories(30, kProducts, 4)) check_same(scored(*baseline, h), by_rules(rules, options, h));
    }
}

TEST_CASE("rules are pruned to the heaviest, ties by first occurrence") {
  // After 0: 3 twice, 1 and 2 once each, 2 first.
  const Sessions sessions({0, 2, 0, 3, 0, 1, 0, 3}, {0, 2, 4, 6, 8});
  SequentialRuleOptions options;
  options.steps = 1;
  CHECK(ranked(*fit_sequential_rules(sessions, 4, options), {0}) == Rows{3, 2, 1});
  options.per_item = 2;
  CHECK(ranked(*fit_sequential_rules(sessions, 4, options), {0}) == Rows{3, 2});
  CHECK(scored(*fit_sequential_rules(sessions, 4, options), {1}).empty());
  CHECK(scored(*fit_sequential_rules(sessions, 4, options), {0, 1}).empty());  // only the last event is read
}

TEST_CASE("item-kNN is the cosine of sessions, shrunk and weighed by significance") {
  const Sessions sessions = random_sessions(300, kProducts, 5);
  std::vector<std::set<std::int32_t>> sets;
  for (const Rows& session : sessions_of(sessions)) {
    sets.emplace_back(session.begin(), session.end());
    sets.back().erase(-1);
  }
  struct Case {
    double shrinkage, alpha, significance;
  };
  for (const auto& [shrinkage, alpha, significance] : {Case{0, 0.5, 0}, Case{20, 0.5, 0}, Case{3, 0.9, 7}}) {
    std::map<std::int32_t, Table> rules;
    std::vector<double> support(kProducts);
    for (const auto& set : sets)
      for (std::int32_t x : set) {
        ++support[x];
        for (std::int32_t y : set)
          if (x != y) ++rules[x][y];
      }
    for (auto& [x, row] : rules)
      for (auto& [y, weight] : row) {
        const double together = weight;
        weight /= std::pow(support[x] + shrinkage, alpha) * std::pow(support[y] + shrinkage, 1 - alpha);
        if (significance > 0) weight *= std::min(together, significance) / significance;
      }
    ItemKnnOptions options;
    options.shrinkage = shrinkage;
    options.alpha = alpha;
    options.significance = significance;
    options.per_item = 0;
    const auto baseline = fit_item_knn(sessions, kProducts, options);
    for (const Rows& h : histories(40, kProducts, 6)) check_same(scored(*baseline, h), by_rules(rules, options, h));
  }
}

namespace {

// Session kNN by its definition: all past sessions, sorted.
Table knn_by_definition(const Sessions& sessions, const SessionKnnOptions& o, Rows history) {
  if (o.history > 0 && o.history < static_cast<std::int64_t>(history.size()))
    history.erase(history.begin(), history.end() - o.history);
  const auto n = static_cast<double>(history.size());
  std::map<std::int32_t, float> weight;      // of each product, by its last event
  std::map<std::int32_t, std::size_t> step;  // of that event from the end
  for (std::size_t i = 0; i < history.size(); ++i) {
    const double p = static_cast<double>(i) + 1;
    weight[history[i]] = static_cast<float>(o.weighting == Decay::same     ? 1
                                            : o.weighting == Decay::div    ? p / n
                                            : o.weighting == Decay::linear ? std::max(0.0, 1 - (n - p) / 10)
                                            : o.weighting == Decay::log    ? 1 / std::log10(n - p + 1.7)
                                                                           : p / n * (p / n));
    step[history[i]] = history.size() - i;
  }
  struct Past {
    std::int64_t session;
    float similarity;
    std::size_t step;
    std::set<std::int32_t> set;
  };
  std::vector<Past> found;
  std::vector<double> held(kProducts);
  for (std::int64_t s = sessions.size() - 1; s >= 0; --s) {
    std::set<std::int32_t> set(sessions.items(s).begin(), sessions.items(s).end());
    set.erase(-1);
    for (std::int32_t row : set) ++held[row];
    Past past{s, 0, 1000, set};
    for (std::size_t i = history.size(); i-- > 0;) {  // sums as floats, the last product first
      if (!set.count(history[i]) || step[history[i]] != history.size() - i) continue;
      past.similarity += weight[history[i]];
      past.step = std::min(past.step, step[history[i]]);
    }
    if (past.step == 1000 || (o.sample > 0 && static_cast<std::int64_t>(found.size()) == o.sample)) continue;
    const auto distinct = static_cast<float>(weight.size());
    past.similarity /=
        o.similarity == SessionSimilarity::dot ? distinct : std::sqrt(distinct * static_cast<float>(set.size()));
    found.push_back(past);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Past& a, const Past& b) { return a.similarity > b.similarity; });
  if (static_cast<std::int64_t>(found.size()) > o.neighbours) found.resize(static_cast<std::size_t>(o.neighbours));
  Table scores;
  for (const Past& past : found)
    for (std::int32_t row : past.set) {
      const double decay = decay_of(o.score_weighting, static_cast<double>(past.step));
      if (decay <= 0 || (!o.remind && weight.count(row))) continue;
      const double idf = std::log(static_cast<double>(sessions.size()) / held[row]);
      scores[row] += past.similarity * decay *
                     (o.idf == Idf::none       ? 1
                      : o.idf == Idf::multiply ? idf
                                               : 1 + o.idf_weight * idf);
    }
  return scores;
}

}  // namespace

TEST_CASE("session kNN is its definition over all sessions, sorted") {
  const Sessions sessions = random_sessions(400, kProducts, 7);
  std::vector<SessionKnnOptions> cases{{}, SessionKnnOptions::preset("vmis-knn")};
  for (const Decay weighting : kDecays)
    for (const Decay score_weighting : kDecays)
      cases.push_back({.neighbours = 20, .sample = 50, .weighting = weighting, .score_weighting = score_weighting});
  cases.push_back({.neighbours = 7, .sample = 0, .similarity = SessionSimilarity::cosine, .weighting = Decay::same});
  cases.push_back({.neighbours = 30, .sample = 40, .idf = Idf::add, .idf_weight = 5, .history = 2, .remind = false});
  cases.push_back({.neighbours = 1, .sample = 1});
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    const auto baseline = fit_session_knn(sessions, kProducts, cases[i]);
    for (const Rows& history : histories(40, kProducts, 8)) {
      const auto scratch = baseline->scratch();
      Table table;
      const ScoredProducts products = baseline->score(history, *scratch);
      for (std::size_t j = 0; j < products.rows.size(); ++j) table[products.rows[j]] = products.scores[j];
      check_same(table, knn_by_definition(sessions, cases[i], history));
    }
  }
}

TEST_CASE("a session whose known events are too far back is not answered") {
  const Sessions sessions({0, 1, 2, 3}, {0, 2, 4});
  Rows history(12, 4);  // in no session
  AssociationRuleOptions rules;
  rules.history = 0;
  rules.decay = Decay::linear;
  for (const auto& baseline :
       {fit_association_rules(sessions, 5, rules), fit_session_knn(sessions, 5, SessionKnnOptions::preset("vmis-knn")),
        fit_session_knn(sessions, 5, {.weighting = Decay::linear})}) {
    history.front() = 4;
    CHECK(scored(*baseline, history).empty());
    history.front() = 0;  // the 12th from the end
    CHECK(scored(*baseline, history).empty());
    history[7] = 0;
    CHECK(!scored(*baseline, history).empty());
    history[7] = 4;
  }
}

TEST_CASE("fitting and ranking do not depend on the number of threads") {
  const Sessions sessions = random_sessions(2000, 700, 9);
  const auto tensors_of = [](const Baseline& baseline) {
    std::map<std::string, std::string> bytes;
    for (const auto& [name, tensor] : baseline.tensors()) {
      bytes[name].resize(tensor.bytes());
      if (tensor.bytes() > 0) tensor.read(0, std::as_writable_bytes(std::span(bytes[name].data(), tensor.bytes())));
    }
    return bytes;
  };
  set_num_threads(1);
  const auto one = all_baselines(sessions, 700);
  set_num_threads(3);
  const auto three = all_baselines(sessions, 700);
  for (std::size_t i = 0; i < one.size(); ++i) {
    CAPTURE(one[i]->kind());
    CHECK(tensors_of(*one[i]) == tensors_of(*three[i]));
  }
  set_num_threads(2);
}

TEST_CASE("the ranker counts what scores more and what ties; what is not scored is out of reach") {
  const Sessions train = random_sessions(300, kProducts, 10), test = random_sessions(60, kProducts + 3, 11);
  const auto counts = item_counts(train, kProducts);
  for (const auto& baseline : all_baselines(train, kProducts)) {
    CAPTURE(baseline->kind());
    std::int64_t examples = 0, unreachable = 0, cold = 0, unanswered = 0;
    double hr = 0, mrr = 0, reached = 0;
    for (const Rows& session : sessions_of(test)) {
      for (std::size_t i = 1; i < session.size(); ++i) {
        Rows history;
        for (std::size_t j = 0; j < i; ++j)
          if (session[j] >= 0 && session[j] < kProducts) history.push_back(session[j]);
        const std::int32_t target = session[i];
        ++examples;
        if (target < 0 || target >= kProducts || counts[target] == 0) {
          ++cold;
          continue;
        }
        if (history.empty() && baseline->needs_history()) {
          ++unanswered;
          continue;
        }
        const auto scratch = baseline->scratch();
        const ScoredProducts products = baseline->score(history, *scratch);
        const auto found = std::find(products.rows.begin(), products.rows.end(), target);
        if (found == products.rows.end()) {
          ++unreachable;
          continue;
        }
        const float score = products.scores[found - products.rows.begin()];
        const auto rank =
            std::count_if(products.scores.begin(), products.scores.end(), [&](float other) { return other >= score; });
        ++reached;
        hr += rank <= 5;
        mrr += rank <= 5 ? 1.0 / static_cast<double>(rank) : 0;
      }
    }
    const auto ranker = baseline_ranker(baseline);
    const Metrics metrics = evaluate(*ranker, test, counts, {.k = {5, kProducts + 9}, .batch = 17});
    CHECK(metrics.examples == examples);
    CHECK(metrics.cold_targets == cold);
    CHECK(metrics.unanswered == unanswered);
    CHECK(metrics.unreachable == unreachable);
    CHECK(metrics.at[0].hr == doctest::Approx(hr / static_cast<double>(examples)));
    CHECK(metrics.at[0].mrr == doctest::Approx(mrr / static_cast<double>(examples)));
    CHECK(metrics.at[1].hr == doctest::Approx(reached / static_cast<double>(examples)));  // longer than the catalog
  }
}

TEST_CASE("options that cannot be are refused") {
  const Sessions sessions({0, 1}, {0, 2});
  SequentialRuleOptions sequential;
  sequential.steps = 0;
  CHECK_THROWS_WITH_AS(fit_sequential_rules(sessions, 2, sequential), "steps is 0, expected 1 or more",
                       std::invalid_argument);
  AssociationRuleOptions association;
  association.per_item = -1;
  CHECK_THROWS_AS(fit_association_rules(sessions, 2, association), std::invalid_argument);
  ItemKnnOptions item_knn;
  item_knn.alpha = NAN;
  CHECK_THROWS_AS(fit_item_knn(sessions, 2, item_knn), std::invalid_argument);
  CHECK_THROWS_AS(fit_session_knn(sessions, 2, {.neighbours = 0}), std::invalid_argument);
  CHECK_THROWS_AS(fit_session_knn(sessions, 2, {.sample = -1}), std::invalid_argument);
  CHECK_THROWS_AS(SessionKnnOptions::preset("knn"), std::invalid_argument);
  CHECK_THROWS_WITH_AS(session_knn_options_from_json(R"({"k": 5})"), doctest::Contains("unknown option 'k'"),
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(session_knn_options_from_json(R"({"weighting": "cubic"})"), doctest::Contains("\"cubic\""),
                       std::invalid_argument);
  for (const auto& baseline : all_baselines(Sessions(), 0)) CHECK(scored(*baseline, {}).empty());
}

TEST_CASE("sums of rules are exact beyond what a float counts") {
  // A float of 2^21 no longer grows by 0.1.
  constexpr std::size_t kPairs = 30'000'000;
  Scores sums(1);
  for (std::size_t i = 0; i < kPairs; ++i) sums.add(0, 0.1f);
  CHECK(sums.products().scores[0] == doctest::Approx(3e6).epsilon(1e-6));
}
