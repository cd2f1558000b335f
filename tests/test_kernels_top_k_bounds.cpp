// The catalog's top-k against brute force, on tables, rules and lengths of lists that are hard on bounds. Numbers are
// whole and small enough for every sum to be exact in single precision, whatever its order, yet too long for bf16: so
// lists are known to the last bit, and bounds are still wrong by what they allow for.
#include <algorithm>

#include "tests/check.h"

using namespace stamp;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNoFloor = std::numeric_limits<float>::lowest();

// Whole numbers up to `most` in magnitude.
std::vector<float> whole_numbers(std::size_t n, int most, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_int_distribution<int> any(-most, most);
  std::vector<float> values(n);
  for (auto& value : values) value = static_cast<float>(any(engine));
  return values;
}

struct Query {
  const std::vector<bool>* excluded = nullptr;
  const std::vector<float>* boosts = nullptr;
  std::vector<std::pair<std::int32_t, float>> floors = {};  // by product; kNoFloor, or far above every score
};

struct Problem {
  std::int64_t D, V;
  std::vector<float> items, queries;  // [V,D], [B,D]
  std::vector<Query> asked;           // [B]
  std::int64_t B() const { return static_cast<std::int64_t>(asked.size()); }
};

struct Lists {
  std::vector<std::int32_t> ids;
  std::vector<float> scores;
  std::vector<std::int64_t> above, tied;  // of targets, product 0
  bool operator==(const Lists&) const = default;
};

using Sorted = std::vector<std::pair<float, std::int32_t>>;  // of a query: score below 0, product

// Everything that may be listed [B].
std::vector<Sorted> brute_force(const Problem& p) {
  std::vector<Sorted> all(p.asked.size());
  for (std::int64_t b = 0; b < p.B(); ++b) {
    const Query& query = p.asked[b];
    for (std::int64_t v = 0; v < p.V; ++v) {
      if (query.excluded && (*query.excluded)[v]) continue;
      double sum = 0;
      for (std::int64_t d = 0; d < p.D; ++d) sum += double{p.queries[b * p.D + d]} * p.items[v * p.D + d];
      auto score = static_cast<float>(sum);
      for (const auto& [id, floor] : query.floors)
        if (id == v && floor > score) score = floor;
      if (query.boosts) score += (*query.boosts)[v];
      if (!std::isnan(score)) all[b].emplace_back(-score, static_cast<std::int32_t>(v));
    }
    std::sort(all[b].begin(), all[b].end());
  }
  return all;
}

// Without a packed table a CPU scores every product.
Lists run(const check::DevicePtr& device, const Problem& p, std::int64_t k, bool with_targets, bool is_packed = true) {
  const std::int64_t words = (p.V + 63) / 64;
  std::vector<Array<std::uint64_t>> sets;
  std::vector<Array<float>> lines;
  std::vector<const std::uint64_t*> excluded;
  std::vector<const float*> boosts;
  std::vector<std::int32_t> begin{0}, ids;
  std::vector<float> values;
  for (const Query& query : p.asked) {
    std::vector<std::uint64_t> bits(query.excluded ? words : 0);
    for (std::int64_t v = 0; v < p.V && query.excluded; ++v)
      bits[v / 64] |= std::uint64_t{(*query.excluded)[v]} << (v % 64);
    sets.push_back(check::on(device, bits));
    excluded.push_back(query.excluded ? sets.back().data() : nullptr);
    lines.push_back(check::on(device, query.boosts ? *query.boosts : std::vector<float>()));
    boosts.push_back(query.boosts ? lines.back().data() : nullptr);
    for (const auto& [id, floor] : query.floors) ids.push_back(id), values.push_back(floor);
    begin.push_back(static_cast<std::int32_t>(ids.size()));
  }
  const auto any = [](const auto& rows) {
    return std::any_of(rows.begin(), rows.end(), [](auto* row) { return row; });
  };
  const auto on_items = check::on(device, p.items), on_queries = check::on(device, p.queries);
  const auto on_excluded = check::on(device, excluded);
  const auto on_boosts = check::on(device, boosts);
  const auto on_begin = check::on(device, begin), on_ids = check::on(device, ids);
  const auto on_values = check::on(device, values);
  const auto targets = check::on(device, std::vector<std::int32_t>(p.asked.size(), 0));
  check::Guarded<std::byte> packed(device, device->packed_size(p.V, p.D));
  device->pack_items(p.V, p.D, {on_items.data()}, packed.data());
  check::Guarded<std::int32_t> listed(device, p.B() * k);
  check::Guarded scores(device, p.B() * k);
  check::Guarded<std::int64_t> above(device, p.B()), tied(device, p.B());
  device->catalog_top_k({.B = p.B(),
                         .D = p.D,
                         .V = p.V,
                         .k = k,
                         .queries = on_queries.data(),
                         .items = {on_items.data()},
                         .packed = is_packed ? packed.data() : nullptr,
                         .floors = {on_begin.data(), on_ids.data(), on_values.data()},
                         .excluded = any(excluded) ? on_excluded.data() : nullptr,
                         .boosts = any(boosts) ? on_boosts.data() : nullptr,
                         .targets = with_targets ? targets.data() : nullptr,
                         .ids = listed.data(),
                         .scores = scores.data(),
                         .above = with_targets ? above.data() : nullptr,
                         .tied = with_targets ? tied.data() : nullptr});
  if (!with_targets) return {listed.values(), scores.values(), {}, {}};
  return {listed.values(), scores.values(), above.values(), tied.values()};
}

void check_lists(const check::DevicePtr& device, const Problem& p, std::span<const std::int64_t> ks,
                 bool with_targets = false) {
  CAPTURE(device->name());
  CAPTURE(p.V);
  CAPTURE(p.B());
  const auto all = brute_force(p);
  for (std::int64_t k : ks) {
    if (k < 1) continue;
    CAPTURE(k);
    Lists expected;
    for (const Sorted& sorted : all)
      for (std::size_t i = 0; i < static_cast<std::size_t>(k); ++i) {
        expected.ids.push_back(i < sorted.size() ? sorted[i].second : -1);
        expected.scores.push_back(i < sorted.size() ? -sorted[i].first : -kInfinity);
      }
    const Lists found = run(device, p, k, with_targets);
    CHECK((found.ids == expected.ids));
    CHECK((found.scores == expected.scores));
  }
}

struct Table {
  const char* name;
  std::vector<float> items;
};

std::vector<Table> hard_tables(std::int64_t V, std::int64_t D) {
  const auto n = static_cast<std::size_t>(V * D);
  const auto random = whole_numbers(n, 1000, 1);
  auto alike = std::vector<float>(n, 777), nearly = whole_numbers(n, 1, 2), giant = random, broken = random,
       rising = random;
  for (auto& value : nearly) value += 900;  // apart by less than bf16 can tell
  for (std::int64_t v = 0; v < V; ++v) {
    // Of one dimension, so that scores are exact. The first is beyond what bounds are made for.
    const float length = v == V / 2 ? 1e20f : v == V / 3 ? 1e6f : 0;
    if (length > 0) std::fill_n(giant.begin() + v * D, D, 0.0f), giant[v * D] = length;
    if (v % 37 == 5) broken[v * D + v % D] = v % 2 ? NAN : kInfinity;
    for (std::int64_t d = 0; d < D; ++d) rising[v * D + d] = d == 0 ? static_cast<float>(v) : 0;
  }
  return {{"random", random}, {"alike", alike},   {"nearly alike", nearly},       {"a giant", giant},
          {"broken", broken}, {"rising", rising}, {"zero", std::vector<float>(n)}};
}

// Rows of `from` dimensions as rows of `to`, spread over all of them; zeros between.
std::vector<float> widened(const std::vector<float>& rows, std::int64_t from, std::int64_t to) {
  std::vector<float> wide(rows.size() / from * to);
  for (std::size_t i = 0; i < rows.size(); ++i) wide[i / from * to + i % from * (to - 1) / (from - 1)] = rows[i];
  return wide;
}

std::int64_t chunks_of(std::int64_t V) { return (V + 15) / 16; }

}  // namespace

TEST_CASE("lists of hard tables are those of brute force, of all lengths near what chunks can hold") {
  constexpr std::int64_t D = 5;
  for (const auto& device : check::devices()) {
    int problems = 0;
    for (std::int64_t V : {1, 5, 16, 17, 64, 65, 300, 1100})
      for (const auto& [name, items] : hard_tables(V, D)) {
        CAPTURE(name);
        Problem p{.D = D, .V = V, .items = items, .queries = whole_numbers(70 * D, 1000, 3), .asked = {}};
        for (std::int64_t B : {1, 3, 33, 70}) {
          p.asked.assign(B, {});
          std::vector<std::int64_t> ks{1, 20, chunks_of(V) - 1, chunks_of(V), chunks_of(V) + 1, V - 1, V, V + 5};
          if (check::slow(*device)) {  // each with the next list, and every third
            if (++problems % 3 != 0) continue;
            ks = {ks[problems / 3 % ks.size()]};
          }
          check_lists(device, p, ks);
        }
      }
  }
}

TEST_CASE("so are those of queries that are excluded from, boosted and raised, each in its own way") {
  constexpr std::int64_t D = 5, B = 40;
  for (const auto& device : check::devices()) {
    int problems = 0;
    for (std::int64_t V : {5, 65, 300, 1100}) {
      std::vector<bool> third(V), all_but_one(V, true), all(V, true), last_chunk(V);
      for (std::int64_t v = 0; v < V; ++v) third[v] = v % 3 == 0, last_chunk[v] = v >= V / 16 * 16;
      all_but_one[V / 2] = false;
      auto whole = whole_numbers(V, 1 << 20, 4), infinite = whole, broken = whole;
      for (std::int64_t v = 0; v < V; ++v) {
        if (v % 4 == 1) infinite[v] = v % 3 ? -kInfinity : kInfinity;
        if (v % 5 == 2) broken[v] = NAN;
      }
      const std::vector<float> last(V, -kInfinity);
      const std::vector<bool>* sets[] = {nullptr, &third, &all_but_one, &all, &last_chunk};
      const std::vector<float>* lines[] = {nullptr, &whole, &infinite, &broken, &last};
      for (const auto& [name, items] : hard_tables(V, D)) {
        CAPTURE(name);
        Problem p{.D = D, .V = V, .items = items, .queries = whole_numbers(B * D, 1000, 5), .asked = {}};
        const bool boosts = std::string(name) != "a giant";  // whose scores a boost would round
        for (std::int64_t b = 0; b < B; ++b) {
          Query query{sets[b % 5], boosts ? lines[b / 5 % 5] : nullptr};
          if (b % 3 != 0 && std::string(name) != "broken")
            for (std::int64_t v = b % 7; v < V; v += 1 + (v * 31 + b) % (V / 4 + 1))
              query.floors.emplace_back(static_cast<std::int32_t>(v), (v + b) % 3 ? kNoFloor : 8388608.0f);
          p.asked.push_back(query);
        }
        std::vector<std::int64_t> ks{1, 20, chunks_of(V), V};
        if (check::slow(*device)) ks = {ks[++problems % ks.size()]};
        check_lists(device, p, ks);
        check_lists(device, p, ks, true);  // the other way to bounds
      }
    }
  }
}

TEST_CASE("so are those of rows that come in slices, or are too wide for bounds") {
  constexpr std::int64_t D = 5, B = 40;
  for (const auto& device : check::devices()) {
    int problems = 0;
    for (std::int64_t wide : {130, 300, 4000})
      for (std::int64_t V : {65, 300})
        for (const auto& [name, items] : hard_tables(V, D)) {
          if (check::slow(*device) && (++problems % 3 != 0 || wide * V > 300'000)) continue;
          CAPTURE(name);
          CAPTURE(wide);
          const auto boosts = whole_numbers(V, 1 << 20, 4);
          Problem p{.D = wide,
                    .V = V,
                    .items = widened(items, D, wide),
                    .queries = widened(whole_numbers(B * D, 1000, 3), D, wide),
                    .asked = std::vector<Query>(problems % 2 ? B : 1)};
          check_lists(device, p, std::vector<std::int64_t>{7});
          if (std::string(name) != "a giant") p.asked.back().boosts = &boosts;
          check_lists(device, p, std::vector<std::int64_t>{20});
        }
  }
}

TEST_CASE("queries that are no numbers have empty lists, and disturb no other's") {
  constexpr std::int64_t D = 5, V = 300;
  Problem p{.D = D,
            .V = V,
            .items = whole_numbers(V * D, 1000, 1),
            .queries = whole_numbers(40 * D, 1000, 3),
            .asked = std::vector<Query>(40)};
  p.queries[7 * D + 2] = NAN;
  p.queries[8 * D] = p.queries[8 * D + 1] = kInfinity;
  std::fill_n(p.queries.begin() + 9 * D, D, 0.0f);
  for (const auto& device : check::devices()) check_lists(device, p, std::vector<std::int64_t>{3, 20});
}

TEST_CASE("lists of a catalog with more chunks than groups to find a threshold by") {
  constexpr std::int64_t D = 1, V = 70'000;
  Problem p{.D = D, .V = V, .items = {}, .queries = {3}, .asked = std::vector<Query>(1)};
  for (std::int64_t v = 0; v < V; ++v) p.items.push_back(static_cast<float>(v * 7919 % 100'003));
  for (const auto& device : check::devices()) check_lists(device, p, std::vector<std::int64_t>{600, 1100});
}

TEST_CASE("floors near the scores that decide change nothing but what they raise") {
  constexpr std::int64_t D = 7, V = 1500, B = 24;
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  Problem p{.D = D, .V = V, .items = std::vector<float>(V * D), .queries = std::vector<float>(B * D), .asked = {}};
  for (auto* values : {&p.items, &p.queries})
    for (float& value : *values) value = normal(random);
  std::vector<float> boosts(V);
  for (float& boost : boosts) boost = normal(random) / 4;
  for (std::int64_t k : {1, 20, 90}) {
    p.asked.assign(B, {});
    const auto plain = brute_force(p);
    for (std::int64_t b = 0; b < B; ++b) {
      Query& query = p.asked[b];
      if (b % 3 == 2) query.boosts = &boosts;
      // Around the k-th score and that of the target; whole panels of 64 products of some queries.
      const float target =
          -std::find_if(plain[b].begin(), plain[b].end(), [](const auto& s) { return s.second == 0; })->first;
      for (std::int32_t v = 0; v < V; ++v)
        if (b % 4 == 0 ? v / 64 % 5 == 1 : random() % 6 == 0) {
          constexpr float kSteps[] = {-1, -0.7f, -0.6931472f, -0.1f, -1e-6f, 0, 1e-6f, 0.3f, 1};
          query.floors.emplace_back(v, (v % 2 ? -plain[b][k - 1].first : target) + kSteps[random() % 9]);
        }
    }
    for (const auto& device : check::devices()) {
      CAPTURE(device->name());
      CAPTURE(k);
      const Lists bounded = run(device, p, k, true);
      CHECK(bounded == run(device, p, k, true, false));
      CHECK(run(device, p, k, false).ids == bounded.ids);
      if (device->name() == "cpu") continue;
      const Lists of_cpu = run(open_device("cpu"), p, k, true);
      for (std::size_t i = 0; i < bounded.scores.size(); ++i)
        CHECK(bounded.scores[i] == doctest::Approx(of_cpu.scores[i]).epsilon(1e-5));
    }
  }
}
