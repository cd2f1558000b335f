// Every baseline beside its definition in plain loops; files; bundles that fall back on one.
#include <atomic>

#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <thread>

#include "stamp/files.h"
#include "stamp/item_rules.h"
#include "stamp/popularity.h"
#include "stamp/release.h"
#include "stamp/session_knn.h"
#include "tests/check.h"

using namespace stamp;

namespace {

using Rows = std::vector<std::int32_t>;
using Table = std::map<std::int32_t, double>;  // score of each product that has one

constexpr std::int64_t kProducts = 60;

// Sessions of 1 to 9 events over products of falling popularity, some of them repeated or unknown.
Sessions random_sessions(int count, std::int64_t V, unsigned seed, bool times = false) {
  std::mt19937 random(seed);
  Rows items;
  std::vector<std::int64_t> offsets{0}, timestamps;
  for (int s = 0; s < count; ++s) {
    for (unsigned n = 1 + random() % 9; n > 0; --n) {
      const auto range = static_cast<std::uint32_t>(1 + random() % V);
      items.push_back(random() % 20 == 0 ? -1 : static_cast<std::int32_t>(random() % range));
      timestamps.push_back(1'000'000LL * (s * 100 + static_cast<std::int64_t>(items.size()) % 50));
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return times ? Sessions(items, offsets, timestamps) : Sessions(items, offsets);
}

std::vector<Rows> histories(int count, std::int64_t V, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Rows> result;
  for (int i = 0; i < count; ++i) {
    Rows history;
    for (unsigned n = 1 + random() % 12; n > 0; --n) history.push_back(static_cast<std::int32_t>(random() % V));
    result.push_back(history);
  }
  return result;
}

Table scored(const Baseline& baseline, const Rows& history) {
  const auto scratch = baseline.scratch();
  const ScoredProducts products = baseline.score(history, *scratch);
  REQUIRE(products.rows.size() == products.scores.size());
  Table table;
  for (std::size_t i = 0; i < products.rows.size(); ++i) {
    CHECK(table.emplace(products.rows[i], products.scores[i]).second);
    if (products.sorted && i > 0) CHECK(products.scores[i] <= products.scores[i - 1]);
  }
  return table;
}

// Best first, as a list would have them.
Rows ranked(const Baseline& baseline, const Rows& history) {
  const auto scratch = baseline.scratch();
  const ScoredProducts products = baseline.score(history, *scratch);
  std::vector<std::int32_t> best;
  find_best(products.scores, kProducts, best);
  Rows rows;
  for (std::int32_t i : best) rows.push_back(products.rows[i]);
  return rows;
}

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

std::vector<Rows> sessions_of(const Sessions& sessions) {
  std::vector<Rows> result;
  for (std::int64_t s = 0; s < sessions.size(); ++s)
    result.emplace_back(sessions.items(s).begin(), sessions.items(s).end());
  return result;
}

// Everything of one kind, fitted to the same sessions.
std::vector<std::shared_ptr<const Baseline>> all_baselines(const Sessions& sessions, std::int64_t V) {
  std::vector<std::int32_t> groups(static_cast<std::size_t>(V));
  for (std::int64_t v = 0; v < V; ++v) groups[v] = static_cast<std::int32_t>(v % 4) - 1;
  AssociationRuleOptions deep;
  deep.history = 3;
  return {fit_popularity(sessions, V),
          fit_popularity(sessions, V, {}, groups),
          fit_session_popularity(sessions, V),
          fit_association_rules(sessions, V),
          fit_association_rules(sessions, V, deep),
          fit_sequential_rules(sessions, V),
          fit_item_knn(sessions, V),
          fit_session_knn(sessions, V),
          fit_session_knn(sessions, V, SessionKnnOptions::preset("vmis-knn"))};
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

TEST_CASE("files give baselines back, and other catalogs take them") {
  const check::Folder folder;
  const Sessions sessions = random_sessions(300, kProducts, 12);
  Rows rows(kProducts);  // of its products in a catalog of 10 more
  std::iota(rows.begin(), rows.end(), 10);
  std::reverse(rows.begin(), rows.end());
  for (const auto& baseline : all_baselines(sessions, kProducts)) {
    CAPTURE(baseline->kind());
    save_baseline(folder.path() / "baseline", *baseline);
    const auto again = load_baseline(folder.path() / "baseline");
    CHECK(again->kind() == baseline->kind());
    CHECK(again->options() == baseline->options());
    CHECK(again->V() == kProducts);
    const auto moved = baseline->in_catalog(rows, kProducts + 10);
    CHECK(moved->V() == kProducts + 10);
    for (const Rows& history : histories(20, kProducts, 13)) {
      CHECK(scored(*again, history) == scored(*baseline, history));
      CHECK(ranked(*again, history) == ranked(*baseline, history));
      Rows there;
      for (std::int32_t row : history) there.push_back(rows[row]);
      Table expected;
      for (const auto& [row, score] : scored(*baseline, history)) expected[rows[row]] = score;
      CHECK(scored(*moved, there) == expected);
    }
    if (baseline->kind() != "session_popularity")  // nobody clicked the others
      CHECK(scored(*moved, {0}).empty() == moved->needs_history());
    CHECK_THROWS_AS(baseline->in_catalog(Rows(kProducts, 1), kProducts), std::invalid_argument);
    CHECK_THROWS_AS(baseline->in_catalog(rows, kProducts), std::invalid_argument);
  }
}

TEST_CASE("files that are damaged are refused, with what is wrong") {
  const check::Folder folder;
  const auto path = folder.path() / "baseline";
  using Tensors = std::map<std::string, TensorSource>;
  const auto refused = [&](const Tensors& tensors, Metadata metadata, const char* why) {
    metadata.try_emplace("products", "3");
    write_safetensors(path, tensors, metadata);
    CHECK_THROWS_WITH_AS(load_baseline(path), doctest::Contains(why), std::runtime_error);
  };
  const std::vector<std::int64_t> offsets{0, 1, 2, 3}, falling{0, 2, 1, 3}, few{0, 3};
  const std::vector<std::int32_t> values{0, 1, 2}, outside{0, 1, 3}, twice{1, 1, 2};
  const std::vector<float> weights{3, 2, 1}, rising{1, 2, 3}, nan{1, NAN, 1}, negative{1, 1, -1},
      infinite{INFINITY, 1, 1};
  const auto tensor = [](DType type, const auto& data) {
    return TensorSource({type, {static_cast<std::int64_t>(data.size())}}, data.data());
  };
  const auto rules = [&](const auto& o, const auto& v, const auto& w) {
    return Tensors{{"rules.offsets", tensor(DType::i64, o)},
                   {"rules.values", tensor(DType::i32, v)},
                   {"weights", tensor(DType::f32, w)}};
  };
  const Metadata item_knn{{"kind", "item_knn"}, {"options", "{}"}};
  refused({}, {}, "has no 'kind' in its metadata");
  refused({}, {{"kind", "oracle"}, {"options", "{}"}}, "holds a 'oracle', which this library does not know");
  refused({}, {{"kind", "item_knn"}, {"options", "{}"}, {"products", "many"}}, "has 'many' products");
  refused({}, item_knn, "rules.offsets");
  refused(rules(falling, values, weights), item_knn, "rules.offsets do not rise from 0");
  refused(rules(few, values, weights), item_knn, "rules has 1 lists, expected 3");
  refused(rules(offsets, outside, weights), item_knn, "rules.values hold 3, expected 0 to 2");
  refused(rules(std::vector<std::int64_t>{0, 3, 3, 3}, values, rising), item_knn, "weights of product 0 do not fall");
  refused(rules(std::vector<std::int64_t>{0, 3, 3, 3}, twice, weights), item_knn, "product 0 has two rules of 1");
  refused(rules(offsets, values, nan), item_knn, "weights of product 1 hold nan");
  refused(rules(offsets, values, negative), item_knn, "weights of product 2 hold -1, expected 0 or more");
  refused(rules(offsets, values, infinite), item_knn, "weights of product 0 hold inf");
  refused(rules(offsets, values, weights), {{"kind", "item_knn"}, {"options", R"({"alpha": 2})"}}, "alpha is 2");
  refused(rules(offsets, values, weights), {{"kind", "item_knn"}, {"options", "["}}, "not JSON");
  const Metadata popularity{{"kind", "popularity"}, {"options", "{}"}};
  const auto listed = [&](const auto& v, const auto& w) {
    return Tensors{{"rows", tensor(DType::i32, v)}, {"weights", tensor(DType::f32, w)}};
  };
  refused(listed(twice, weights), popularity, "row 1 stands twice");
  refused(listed(outside, weights), popularity, "rows hold 3");
  refused(listed(values, rising), popularity, "weights do not fall");
  refused({{"clicks", tensor(DType::f32, nan)}}, {{"kind", "session_popularity"}, {"options", "{}"}}, "clicks hold");
  const auto knn = [&](const auto& o, const auto& v) {
    return Tensors{{"products.offsets", tensor(DType::i64, few)},
                   {"products.values", tensor(DType::i32, values)},
                   {"sessions.offsets", tensor(DType::i64, o)},
                   {"sessions.values", tensor(DType::i32, v)}};
  };
  const Metadata session_knn{{"kind", "session_knn"}, {"options", "{}"}};
  refused(knn(offsets, outside), session_knn, "sessions.values hold 1, expected 0 to 0");
  refused(knn(std::vector<std::int64_t>{0, 2, 2, 2}, Rows{0, 0}), session_knn, "sessions of product 0 do not fall");
  const Rows first{0, 0, 0}, second{1, 1, 0};
  const std::vector<std::int64_t> with_empty{0, 3, 3};
  const Metadata weighted{{"kind", "session_knn"}, {"options", R"({"idf": "add"})"}};
  refused(knn(offsets, Rows{0, 0, 0}), weighted, "factors");
  for (const auto& factors : {negative, infinite, nan}) {
    Tensors tensors = knn(offsets, first);
    tensors.insert_or_assign("factors", tensor(DType::f32, factors));
    refused(tensors, weighted, "factors hold");
  }
  Tensors hollow = knn(offsets, second);  // session 1 would be one of no products: 0/0
  hollow.insert_or_assign("products.offsets", tensor(DType::i64, with_empty));
  refused(hollow, session_knn, "session 1 has no products");
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

namespace {

Bundle bundle_with(std::shared_ptr<const Baseline> fallback) {
  Bundle bundle;
  for (std::int64_t id = 0; id < fallback->V(); ++id) bundle.catalog.add(100 + id);
  bundle.counts.assign(static_cast<std::size_t>(fallback->V()), 1);
  bundle.attributes = Attributes(fallback->V());
  TextAttribute colour{.name = "colour", .values = {"red", "blue", "green"}, .codes = {}};
  for (std::int64_t v = 0; v < fallback->V(); ++v) colour.codes.push_back(static_cast<std::int32_t>(v % 3));
  bundle.attributes.add(std::move(colour));
  bundle.fallback = std::move(fallback);
  return bundle;
}

}  // namespace

TEST_CASE("a bundle without models lists what its baseline scores, through the rules") {
  const Sessions sessions = random_sessions(400, kProducts, 14);
  for (const auto& baseline : all_baselines(sessions, kProducts)) {
    CAPTURE(baseline->kind());
    const Release release(bundle_with(baseline));
    const auto colour = [](std::int32_t row) { return row % 3; };
    const auto only_red = release.rules(R"([{"rule": "only_values", "attribute": "colour", "values": ["red"]}])");
    const auto one_each = release.rules(R"([{"rule": "limit", "attribute": "colour", "max": 1}])");
    const auto boost = release.rules(R"([{"rule": "boost", "attribute": "colour", "values": ["blue"], "by": 1000}])");
    for (const Rows& history : histories(30, kProducts, 15)) {
      const Rows all = ranked(*baseline, history);
      if (all.empty()) continue;
      Query query{.events = history, .k = 20, .popular = false};
      const Listing plain = release.list(query);
      CHECK(to_string(plain.path) == "fallback");
      CHECK(plain.cluster == -1);
      CHECK(plain.items == Rows(all.begin(), all.begin() + std::min<std::ptrdiff_t>(20, std::ssize(all))));
      for (std::size_t i = 0; i < plain.items.size(); ++i)
        CHECK(plain.scores[i] == static_cast<float>(scored(*baseline, history).at(plain.items[i])));
      CHECK(plain.reason.empty() == (all.size() >= 20));
      if (all.size() < 20)
        CHECK(plain.reason == concat(all.size(), " of 20: ", all.size(), " candidates; the fallback scores ",
                                     all.size(), " of the catalog"));

      const auto expect = [&](const Query& asked, auto&& keep) {
        Rows expected;
        for (std::int32_t row : all)
          if (static_cast<std::int64_t>(expected.size()) < asked.k && keep(row, expected)) expected.push_back(row);
        CHECK(release.list(asked).items == expected);
      };
      query.rules = only_red.get();
      expect(query, [&](std::int32_t row, const Rows&) { return colour(row) == 0; });
      query.rules = one_each.get();
      expect(query, [&](std::int32_t row, const Rows& before) {
        return std::none_of(before.begin(), before.end(), [&](auto other) { return colour(other) == colour(row); });
      });
      query.rules = nullptr;
      const Rows first(all.begin(), all.begin() + std::min<std::ptrdiff_t>(3, std::ssize(all)));
      query.exclude = first;
      expect(query, [&](std::int32_t row, const Rows&) { return std::count(first.begin(), first.end(), row) == 0; });
      query.exclude = {};
      query.only = first;
      query.restricted = true;
      expect(query, [&](std::int32_t row, const Rows&) { return std::count(first.begin(), first.end(), row) == 1; });
      query.restricted = false;

      query.rules = boost.get();
      query.explain = true;
      Rows boosted;
      for (bool blue : {true, false})
        for (std::int32_t row : all)
          if ((colour(row) == 1) == blue) boosted.push_back(row);
      boosted.resize(std::min<std::size_t>(20, boosted.size()));
      const Listing listing = release.list(query);
      CHECK(std::set(listing.items.begin(), listing.items.end()) == std::set(boosted.begin(), boosted.end()));
      CHECK(nlohmann::json::parse(listing.explanation).at("candidates") == all.size());
    }
    const Rows nothing;
    const Listing empty = release.list(Query{.events = nothing, .popular = false});
    CHECK((empty.path == Path::none) == baseline->needs_history());
    if (baseline->needs_history())
      CHECK(empty.reason == "neither a model nor the fallback has anything for these events");
    CHECK(release.list(Query{.events = nothing}).path == (baseline->needs_history() ? Path::popular : Path::fallback));
  }
}

TEST_CASE("models go before the fallback, and it goes before popular products") {
  const auto device = open_device("cpu");
  const Sessions sessions({0, 1, 2, 3, 4, 5, 4, 5}, {0, 4, 6, 8});
  Bundle bundle = bundle_with(fit_association_rules(sessions, 6));
  bundle.route_by = {"colour"};
  Config config;
  config.dim = 4;
  Cluster cluster;
  cluster.rows = {0, 1};
  cluster.model = std::make_shared<Model>(config, 2, device);
  cluster.config = config;
  bundle.clusters.push_back(std::move(cluster));
  const check::Folder folder;
  save_bundle(folder.path() / "bundle", bundle);
  const auto file = folder.path() / "bundle" / "fallback.safetensors";
  {
    const Release release(BundleReader(folder.path() / "bundle"), {.device = "cpu"});
    const auto path = [&](const Rows& events) { return to_string(release.list(Query{.events = events}).path); };
    CHECK(path({0}) == "anchor");
    CHECK(path({2, 0, 5}) == "history");
    CHECK(path({2, 5}) == "fallback");
    CHECK(release.list(Query{.events = Rows{5}}).items == Rows{4});
    CHECK(path({-1}) == "popular");
    CHECK(release.bundle().fallback->kind() == std::string("association_rules"));
  }
  std::string bytes = read_file(file);
  bytes.back() ^= 1;
  write_file(file, [&](std::ostream& out) { out << bytes; });
  CHECK_THROWS_WITH_AS(BundleReader(folder.path() / "bundle"), doctest::Contains("fallback.safetensors has checksum"),
                       std::runtime_error);
  std::filesystem::remove(file);
  CHECK_THROWS_WITH_AS(BundleReader(folder.path() / "bundle"), doctest::Contains("fallback.safetensors is missing"),
                       std::runtime_error);
  Bundle other = bundle_with(fit_association_rules(sessions, 6));
  other.fallback = fit_association_rules(sessions, 7);
  CHECK_THROWS_WITH_AS(other.validate(), "Bundle: the fallback knows a catalog of 7 products, expected 6",
                       std::invalid_argument);
}

TEST_CASE("where the fallback has nothing for a visit, popular products answer") {
  // 0 is alone in its session, and without `remind` its own products are not listed; 3 is never clicked.
  const auto fallback = fit_session_knn(Sessions({0, 1, 2}, {0, 1, 3}), 4, {.remind = false});
  for (const bool routed : {true, false}) {
    Bundle bundle = bundle_with(fallback);
    if (routed) bundle.route_by = {"colour"};
    const Release release(std::move(bundle));
    const Rows one{1}, nothing{0}, unclicked{3}, none;
    const std::vector<Query> queries{{.events = one},
                                     {.events = nothing},
                                     {.events = nothing, .popular = false},
                                     {.events = unclicked},
                                     {.events = none}};
    const std::vector<Path> paths{Path::fallback, routed ? Path::category : Path::popular, Path::none,
                                  routed ? Path::category : Path::popular, Path::popular};
    const auto together = release.list(queries);
    for (std::size_t i = 0; i < queries.size(); ++i) {
      CAPTURE(i);
      const Listing alone = release.list(queries[i]);
      CHECK(to_string(alone.path) == to_string(paths[i]));
      CHECK(alone.items.empty() == (paths[i] == Path::none));
      CHECK(to_string(together[i].path) == to_string(alone.path));
      CHECK(together[i].items == alone.items);
    }
    CHECK(together[2].reason == "neither a model nor the fallback has anything for these events");
    if (routed) CHECK(together[1].items == Rows{0, 3});  // its colour
  }
}

TEST_CASE("of several queries that cannot be, the first is told") {
  const Release release(bundle_with(fit_session_knn(random_sessions(50, kProducts, 18), kProducts)));
  const Rows events{0}, foreign{kProducts};
  std::vector<Query> queries(600, Query{.events = events});
  queries[590].zone = "nowhere";
  queries[20].k = -1;
  queries[10].events = foreign;
  for (int again = 0; again < 5; ++again)
    CHECK_THROWS_WITH_AS(release.list(queries), "recommend: events holds row 60, expected below 60",
                         std::invalid_argument);
}

TEST_CASE("sums of rules are exact beyond what a float counts") {
  // A float of 2^21 no longer grows by 0.1.
  constexpr std::size_t kPairs = 30'000'000;
  Scores sums(1);
  for (std::size_t i = 0; i < kPairs; ++i) sums.add(0, 0.1f);
  CHECK(sums.products().scores[0] == doctest::Approx(3e6).epsilon(1e-6));
}

TEST_CASE("many threads ask one fallback, alone and in batches") {
  const Sessions sessions = random_sessions(500, kProducts, 16);
  const Release release(bundle_with(fit_session_knn(sessions, kProducts)));
  const auto asked = histories(700, kProducts, 17);
  std::vector<Query> queries;
  for (const Rows& history : asked) queries.push_back({.events = history, .k = 10, .explain = history.size() % 3 == 0});
  std::vector<Listing> alone;
  for (const Query& query : queries) alone.push_back(release.list(query));
  std::atomic<int> wrong = 0;
  const auto same = [](const Listing& a, const Listing& b) {
    return a.items == b.items && a.scores == b.scores && a.reason == b.reason && a.explanation == b.explanation;
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      if (t == 0) {
        const auto together = release.list(queries);
        for (std::size_t i = 0; i < queries.size(); ++i) wrong += !same(together[i], alone[i]);
        return;
      }
      for (std::size_t i = static_cast<std::size_t>(t); i < queries.size(); i += 3)
        wrong += !same(release.list(queries[i]), alone[i]);
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}
