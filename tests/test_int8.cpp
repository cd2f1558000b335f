// What the 8-bit scan is made of, on every instruction set that this machine has and on the plain code that stands in
// for the others: integer products, bounds of scores, and the order in which scores are added up.
#include <algorithm>

#include "kernels/cpu/gemm8.h"
#include "kernels/cpu/int8_table.h"
#include "kernels/cpu/simd.h"
#include "tests/check.h"

using namespace stamp::cpu;

namespace {

template <class T>
struct Named {
  const char* name;
  const T* table;
};

std::vector<Named<Gemm8>> gemms() {
  std::vector<Named<Gemm8>> here{{"plain", &kGemm8Plain}, {"plain pairs", &kGemm8PlainPairs}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) here.push_back({"avx2", &kGemm8Avx2});
  if (__builtin_cpu_supports("avxvnni")) here.push_back({"avxvnni", &kGemm8AvxVnni});
  if (__builtin_cpu_supports("avx512bw")) here.push_back({"avx512", &kGemm8Avx512});
  if (__builtin_cpu_supports("avx512vnni")) here.push_back({"avx512vnni", &kGemm8Avx512Vnni});
#endif
  return here;
}

std::vector<Named<Simd>> simds() {
  std::vector<Named<Simd>> here{{"baseline", &kSimdBaseline}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) here.push_back({"avx2", &kSimdAvx2});
  if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    here.push_back({"avx512", &kSimdAvx512});
#endif
  return here;
}

constexpr Index kPanel = Gemm8::kPanel, kGroup = Gemm8::kGroup;

struct Products {
  Index M, groups;
  std::vector<std::int8_t> a;   // [M, 4 groups]
  std::vector<std::uint8_t> b;  // [groups][64][4]

  std::vector<std::int32_t> by(const Gemm8& gemm) const {
    std::vector<std::int32_t> c(M * kPanel, -1);
    gemm.multiply(M, groups, a.data(), groups * kGroup, b.data(), c.data(), kPanel);
    return c;
  }
  std::vector<std::int32_t> expected() const {
    std::vector<std::int32_t> c(M * kPanel);
    for (Index i = 0; i < M; ++i)
      for (Index d = 0; d < groups * kGroup; ++d)
        for (Index j = 0; j < kPanel; ++j)
          c[i * kPanel + j] += a[i * groups * kGroup + d] * b[(d / kGroup * kPanel + j) * kGroup + d % kGroup];
    return c;
  }
};

// Values at their ends, of one sign or of both, where sums on the way are largest; or anywhere.
Products products(Index M, Index groups, std::int32_t largest, int kind) {
  std::mt19937 engine(static_cast<unsigned>(kind));
  std::uniform_int_distribution<std::int32_t> of_a(-largest, largest), of_b(0, 255);
  Products p{M, groups, std::vector<std::int8_t>(M * groups * kGroup),
             std::vector<std::uint8_t>(groups * kPanel * kGroup)};
  for (std::size_t i = 0; i < p.a.size(); ++i)
    p.a[i] = static_cast<std::int8_t>(kind == 0   ? largest
                                      : kind == 1 ? -largest
                                      : kind == 2 ? (i % 2 ? largest : -largest)
                                                  : of_a(engine));
  for (auto& value : p.b) value = static_cast<std::uint8_t>(kind < 3 ? 255 : of_b(engine));
  return p;
}

// A table of one panel or several, and queries that it is asked with.
struct Table {
  Index V, D;
  std::vector<float> items, scales;
  std::vector<std::byte> memory;

  Table(Index V, Index D, std::vector<float> values, bool normalize)
      : V(V), D(D), items(std::move(values)), scales(V, 1), memory(Int8Table::bytes(V, D)) {
    for (Index v = 0; normalize && v < V; ++v) {
      const float* x = items.data() + v * D;
      const float norm = std::sqrt(simd().dot(D, x, x));
      if (norm > 0) scales[v] = 1 / norm;
    }
    for (Index first = 0; first < V; first += kPanel) {
      const auto rows = pointers(first);
      quantize_panel(V, D, first, static_cast<Index>(rows.size()), rows.data(), scales.data() + first, memory.data());
    }
  }
  std::vector<const float*> pointers(Index first) const {
    std::vector<const float*> rows;
    for (Index v = first; v < std::min(V, first + kPanel); ++v) rows.push_back(items.data() + v * D);
    return rows;
  }
};

std::vector<std::vector<float>> tables_of(Index V, Index D) {
  const auto normal = check::random(V * D, 1, 8);
  auto alike = normal, giant = normal, tiny = normal, huge = normal, odd = normal, uneven = normal, lone = normal;
  for (Index i = 0; i < V * D; ++i) {
    alike[i] = 0.5f + 1e-4f * normal[i];
    tiny[i] *= i / D % 2 ? 1e-40f : 1e-25f;  // denormal
    huge[i] *= i / D % 3 ? 1e17f : 1e30f;
    uneven[i] *= i % D == 0 ? 100.0f : 0.01f;  // one dimension decides the scale
    lone[i] = i % D == i / D % D ? 1.0f : 0.0f;
  }
  for (Index d = 0; d < D; ++d) giant[d] *= 1e10f;
  for (Index v = 0; v < V; v += 5) odd[v * D] = v % 2 ? INFINITY : NAN;
  for (Index v = 3; v < V; v += 7) std::fill_n(odd.begin() + v * D, D, v % 2 ? 0.0f : -0.0f);
  return {
      normal, alike, giant, tiny, huge, odd, uneven, lone, std::vector<float>(V * D, 0.25f), std::vector<float>(V * D)};
}

std::vector<std::vector<float>> queries_of(Index D) {
  const auto normal = check::random(D, 1, 9);
  auto small = normal, large = normal, endless = normal, none = normal;
  for (Index d = 0; d < D; ++d) small[d] *= 1e-30f, large[d] *= 1e25f;
  endless[0] = INFINITY;
  none[D / 2] = NAN;
  return {normal, small, large, endless, none, std::vector<float>(D), std::vector<float>(D, -1.0f)};
}

// A query as integers of one digit or two, and what bounds say of a panel.
struct Asked {
  Asked(const Int8Table& table, Index D, const std::vector<float>& query, std::int32_t largest, bool two_digits)
      : table(table), groups(Int8Table::groups(D)), largest(largest), values(groups * kGroup) {
    if (two_digits) high.resize(groups * kGroup);
    q = quantize_query(D, query.data(), largest, values.data(), two_digits ? high.data() : nullptr);
  }
  void scan(Index first) {
    panel = first / kPanel;
    kGemm8Plain.multiply(1, groups, values.data(), 0, table.panel(first), sums.data(), kPanel);
    if (!high.empty()) kGemm8Plain.multiply(1, groups, high.data(), 0, table.panel(first), high_sums.data(), kPanel);
  }
  std::uint64_t may(const Simd& simd, const float* boosts, float least, std::uint64_t* surely) const {
    const float error = table.lengths[panel] * q.per_length + table.rests[panel] * q.per_rest;
    return simd.panel_bounds(sums.data(), q.offset, high.empty() ? nullptr : high_sums.data(), q.high_offset,
                             table.scales + panel * kPanel, q.scale, error, Int8Table::kSlack, boosts, least, surely);
  }

  const Int8Table& table;
  Index groups, panel = 0;
  std::int32_t largest;
  std::vector<std::int8_t> values, high;
  std::vector<std::int32_t> sums = std::vector<std::int32_t>(kPanel), high_sums = sums;
  QuantizedQuery q{};
};

}  // namespace

TEST_CASE("integer products are exact, whatever the instructions") {
  for (const auto& [name, gemm] : gemms())
    for (const Index M : {1, 2, 3, 4, 5, 6, 7, 8, 13, 64})
      for (const Index groups : {1, 2, 25, 33})
        for (int kind = 0; kind < 5; ++kind) {
          CAPTURE(name);
          CAPTURE(M);
          CAPTURE(groups);
          CAPTURE(kind);
          const Products p = products(M, groups, gemm->largest, kind);
          CHECK(p.by(*gemm) == p.expected());
        }
}

TEST_CASE("sums of the widest rows fit") {
  const Products p = products(1, 65536 / kGroup, kAnyByte, 0);
  CHECK(p.by(kGemm8Plain)[0] == 65536 * 255 * 127);
}

TEST_CASE("the plain pairs saturate as the instruction does: larger values would show") {
  const Products p = products(2, 3, kNoSaturation + 1, 0);
  CHECK(p.by(kGemm8PlainPairs) != p.expected());
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) CHECK(p.by(kGemm8PlainPairs) == p.by(kGemm8Avx2));
  if (__builtin_cpu_supports("avx512bw")) CHECK(p.by(kGemm8PlainPairs) == p.by(kGemm8Avx512));
#endif
}

TEST_CASE("scores of rows that lie anywhere are those of gemm, to the bit") {
  for (const auto& [name, simd] : simds())
    for (const Index D : {1, 7, 8, 15, 16, 33, 100, 128, 300})
      for (const Index n : {1, 2, 15, 16, 17, 64}) {
        CAPTURE(name);
        CAPTURE(D);
        CAPTURE(n);
        const auto items = check::random(2 * n * D, 1, 3), query = check::random(D, 1, 4),
                   scale = check::random(n, 1, 5);
        std::vector<const float*> rows;
        for (Index i = 0; i < n; ++i) rows.push_back(items.data() + (2 * n - 1 - 2 * i) * D);
        for (const float* scales : {static_cast<const float*>(nullptr), scale.data()}) {
          std::vector<float> columns(D * kPanel, NAN), expected(kPanel), scores(n + 1, 77), by_hand(D * kPanel);
          for (Index i = 0; i < n; ++i)
            for (Index d = 0; d < D; ++d) by_hand[d * kPanel + i] = rows[i][d] * (scales ? scales[i] : 1);
          simd->transpose_rows(n, D, rows.data(), scales, columns.data(), kPanel);
          CHECK(columns == by_hand);
          simd->gemm(1, kPanel, D, query.data(), D, 1, by_hand.data(), kPanel, expected.data(), kPanel, false);
          const float* queries = query.data();
          simd->score_rows(1, n, D, &queries, rows.data(), scales, scores.data(), n);
          CHECK(std::equal(scores.begin(), scores.end() - 1, expected.begin()));
          CHECK(scores[n] == 77);
          for (const Index M : {2, 3, 5, 7}) {  // the same query, several times
            const std::vector<const float*> several(M, query.data());
            std::vector<float> lines(M * n);
            simd->score_rows(M, n, D, several.data(), rows.data(), scales, lines.data(), n);
            for (Index q = 0; q < M; ++q) CHECK(std::equal(scores.begin(), scores.end() - 1, lines.begin() + q * n));
          }
        }
      }
}

TEST_CASE("no score lies outside its bounds, whatever the rows, the query, the boosts, and the order of additions") {
  for (const auto& [name, simd] : simds())
    for (const Index D : {1, 3, 33, 100})
      for (const bool normalize : {false, true}) {
        constexpr Index V = 130;  // two panels and a bit
        int kind = 0;
        for (auto& items : tables_of(V, D)) {
          const Table table(V, D, items, normalize);
          const Int8Table view(table.memory.data(), V, D);
          const auto boosts = check::random(kPanel, 1, 6);
          for (const std::int32_t largest : {kAnyByte, kNoSaturation})
            for (const bool two_digits : {false, true})
              for (const auto& query : queries_of(D)) {
                Asked asked(view, D, query, largest, two_digits);
                for (const auto* digit : {&asked.values, &asked.high})
                  for (const std::int8_t value : *digit) REQUIRE(std::abs(value) <= largest);
                for (Index first = 0; first < V; first += kPanel) {
                  const auto rows = table.pointers(first);
                  const auto n = static_cast<Index>(rows.size());
                  asked.scan(first);
                  std::vector<float> scores(n);
                  const float* queries = query.data();
                  simd->score_rows(1, n, D, &queries, rows.data(), table.scales.data() + first, scores.data(), n);
                  for (const float* added : {static_cast<const float*>(nullptr), boosts.data()})
                    for (Index i = 0; i < n; ++i) {
                      float backwards = 0;
                      for (Index d = D; d-- > 0;) backwards += query[d] * (rows[i][d] * table.scales[first + i]);
                      for (float score : {scores[i], backwards}) {
                        if (added) score += added[i];
                        std::uint64_t surely;
                        const auto may = asked.may(*simd, added, score, &surely);
                        CAPTURE(name);
                        CAPTURE(D);
                        CAPTURE(kind);
                        CAPTURE(two_digits);
                        CAPTURE(i);
                        CAPTURE(score);
                        CHECK((may >> i & 1) == 1);     // a score is as large as itself,
                        CHECK((surely >> i & 1) == 0);  // and no larger
                      }
                    }
                }
              }
          ++kind;
        }
      }
}

TEST_CASE("bounds are close: few of a normal table are left") {
  constexpr Index V = 6400, D = 100;
  const Table table(V, D, check::random(V * D, 1, 8), true);
  const Int8Table view(table.memory.data(), V, D);
  // Products of two, as the network's are: few dimensions are large.
  auto query = check::random(D, 1, 9);
  const auto other = check::random(D, 1, 10);
  for (Index d = 0; d < D; ++d) query[d] *= other[d];
  double norm = 0;
  for (const float x : query) norm += x * x;
  const auto least = static_cast<float>(2 * std::sqrt(norm / D));  // two deviations of the scores
  Index before = V;
  // From the least precise integers to the most: each leaves less, and none rules out what is above.
  for (const auto& [largest, two_digits] :
       {std::pair{kNoSaturation, false}, {kAnyByte, false}, {kNoSaturation, true}, {kAnyByte, true}}) {
    Asked asked(view, D, query, largest, two_digits);
    Index left = 0, above = 0;
    for (Index first = 0; first < V; first += kPanel) {
      asked.scan(first);
      std::uint64_t surely;
      left += std::popcount(asked.may(simd(), nullptr, least, &surely));
      above += std::popcount(surely);
    }
    CAPTURE(largest);
    CAPTURE(two_digits);
    CAPTURE(above);
    CHECK(left <= before);
    CHECK(left > 90);  // of 6,400 normal values some 146 are above two deviations
    CHECK(above < 200);
    before = left;
  }
  CHECK(before < 220);
}
