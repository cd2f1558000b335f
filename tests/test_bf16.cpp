// Products of bf16 pairs and the packing of their operands: every instruction set of the CPU, bit for bit, against what
// vdpbf16ps is documented to compute, in exact arithmetic.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cpu/bf16.h"
#include "tests/check.h"

using namespace stamp::cpu;

namespace {

constexpr Bf16Pair kMark = 0x12345678;

// Those that this machine can run.
std::vector<const Bf16*> instruction_sets() {
  std::vector<const Bf16*> found{&kBf16Baseline};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool instruction = __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
  if (avx2) found.push_back(&kBf16Avx2);
  if (instruction) found.push_back(&kBf16Avx512);
  if (!instruction) MESSAGE("NOT TESTED: vdpbf16ps, which this machine has not");
#endif
  return found;
}

std::int32_t bits_of(float x) { return std::bit_cast<std::int32_t>(x); }
float float_of(std::int32_t bits) { return std::bit_cast<float>(bits); }
float low(Bf16Pair pair) { return float_of(pair << 16); }
float high(Bf16Pair pair) { return float_of(pair & static_cast<Bf16Pair>(0xffff0000)); }
// Of two floats that are bf16.
Bf16Pair pair_of(float first, float second) {
  return static_cast<Bf16Pair>(static_cast<std::uint32_t>(bits_of(second)) |
                               static_cast<std::uint32_t>(bits_of(first)) >> 16);
}

float flushed(float x) { return std::abs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }

// sum + a·b rounded once. 113 bits hold it whole wherever a rounding to 24 could be close.
float add_exactly(float sum, float a, float b) {
  const __float128 exact = static_cast<__float128>(flushed(sum)) + static_cast<__float128>(flushed(a)) * flushed(b);
  const __float128 magnitude = exact < 0 ? -exact : exact;
  // The least normal number less half of what would be its last bit, had it one more exponent: below, it is 0.
  const __float128 least = static_cast<__float128>(std::numeric_limits<float>::min()) * (1 - 0x1p-25);
  const float rounded = static_cast<float>(exact);
  return magnitude < least ? std::copysign(0.0f, rounded) : rounded;
}

float add_pair(float sum, Bf16Pair a, Bf16Pair b) {
  return add_exactly(add_exactly(sum, high(a), high(b)), low(a), low(b));
}

bool same(float a, float b) { return bits_of(a) == bits_of(b) || (std::isnan(a) && std::isnan(b)); }

// One pair by one, added to `sum`.
float product(const Bf16& set, float sum, Bf16Pair a, Bf16Pair b) {
  set.gemm(1, 1, 1, &a, 1, 1, &b, 1, &sum, 1, true);
  return sum;
}

std::vector<Bf16Pair> random_pairs(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<Bf16Pair> pairs(n);
  const auto number = [&] { return float_of(bits_of(normal(random)) & static_cast<Bf16Pair>(0xffff0000)); };
  for (auto& pair : pairs) pair = pair_of(number(), number());
  return pairs;
}

// The nearest bf16, ties to even, what is denormal 0, in the upper half.
std::int32_t rounded(float x) {
  if (flushed(x) == 0) return bits_of(flushed(x));
  const auto below = static_cast<std::uint32_t>(bits_of(x)) & 0xffff0000, above = below + 0x10000;
  const auto value = [](std::uint32_t bits) {  // infinity stands for the power of two that would follow
    const double magnitude = (bits & 0x7fffffff) == 0x7f800000 ? 0x1p128 : std::abs(double{float_of(bits)});
    return magnitude;
  };
  if (std::isinf(x)) return bits_of(x);
  const double magnitude = std::abs(double{x});
  const double down = magnitude - value(below), up = value(above) - magnitude;
  return static_cast<std::int32_t>(down < up || (down == up && below % 0x20000 == 0) ? below : above);
}

std::int32_t joined(std::int32_t first, std::int32_t second) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(first) >> 16 | (static_cast<std::uint32_t>(second)));
}

// Floats of any bits, and those whose rounding is close.
std::vector<float> any_floats(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (auto& value : values) {
    const auto bits = static_cast<std::uint32_t>(random());
    const auto tie = (bits & 0xffff0000) | 0x8000;
    value = float_of(static_cast<std::int32_t>(random() % 3 ? bits : tie + random() % 3 - 1));
    if (std::isnan(value)) value = 1;
  }
  for (float special : {0.0f, -0.0f, 1e-40f, -1e-40f, 0x1.fffffep-127f, 0x1p-126f, 0x1.fffffep127f, -0x1.ffp127f,
                        std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()})
    values[random() % n] = special;
  return values;
}

}  // namespace

TEST_CASE("bf16 products: the second of a pair first, each sum rounded, denormals 0") {
  const float big = 0x1p24f, tiny = 0x1p-24f, least = 0x1p-126f;
  for (const Bf16* set : instruction_sets()) {
    CAPTURE(set->name);
    CHECK(product(*set, 1, pair_of(3, 5), pair_of(7, 11)) == 77);
    CHECK(product(*set, 1, pair_of(-big, big), pair_of(1, 1)) == 0);  // 1 is lost in 2^24 before that goes
    CHECK(product(*set, 1, pair_of(big, -big), pair_of(1, 1)) == 1);
    CHECK(product(*set, 1, pair_of(tiny, tiny), pair_of(1, 1)) == 1);  // two ties, to even, not one sum
    CHECK(product(*set, 1, pair_of(3 * tiny, tiny), pair_of(1, 1)) == 1 + 4 * tiny);
    CHECK(product(*set, 0, pair_of(least / 2, 0), pair_of(big, 0)) == 0);  // a denormal operand
    CHECK(product(*set, least / 2, 0, 0) == 0);                            // and sum
    CHECK(product(*set, 0, pair_of(least, 0), pair_of(0.5f, 0)) == 0);     // and result
    CHECK(product(*set, 0, pair_of(least, 0), pair_of(1, 0)) == least);
    CHECK(product(*set, 1.5f * least, pair_of(-least, 0), pair_of(1, 0)) == 0);
    CHECK(product(*set, least, pair_of(least, -least), pair_of(1, 0.75f)) == least);
    // A quarter and a half of a last bit below the least normal number round to it; three quarters do not.
    CHECK(product(*set, least, pair_of(-0x1p-76f, 0), pair_of(0x1p-76f, 0)) == least);
    CHECK(product(*set, least, pair_of(-0x1p-76f, 0), pair_of(0x1p-75f, 0)) == least);
    CHECK(product(*set, least, pair_of(-0x1p-76f, 0), pair_of(0x1.8p-75f, 0)) == 0);
    CHECK(std::signbit(product(*set, -0.0f, pair_of(0, 0), pair_of(-1, -1))));
    CHECK(product(*set, -0x1p127f, pair_of(0, 0x1p127f), pair_of(0, 2)) == 0x1p127f);  // 2^128 on the way
    CHECK(std::isinf(product(*set, 0, pair_of(0x1p127f, 0), pair_of(2, 0))));
    CHECK(std::isnan(product(*set, 0, pair_of(NAN, 0), pair_of(0, 0))));
  }
}

TEST_CASE("bf16 products: the same bits from every instruction set, for operands of any bits") {
  for (const Bf16* set : instruction_sets()) {
    CAPTURE(set->name);
    std::mt19937 random(1);
    const auto bits = [&] { return static_cast<std::uint32_t>(random()); };
    for (const unsigned range : {0u, 1u, 6u, 24u})  // of exponents: all there are, or so many around 1 or the least
      for (const bool least : {false, true}) {
        constexpr std::size_t kCount = 20'000;
        const auto near = [&](std::uint32_t word, int exponent, std::uint32_t mask) {
          const auto drawn = static_cast<std::uint32_t>(exponent) + bits() % std::max(range, 1u);
          return range == 0 ? word : (word & ~(mask << 23 & 0x7f800000)) | drawn << 23;
        };
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < kCount; ++i) {
          const auto number = [&](int exponent) { return near(bits(), exponent, 0xff) & 0xffff0000; };
          const int of_a = least ? 62 : 127, of_b = least ? 64 : 127;  // products of about 2^-127 to 2^-126
          const auto a = static_cast<Bf16Pair>(number(of_a) | number(of_a) >> 16);
          const auto b = static_cast<Bf16Pair>(number(of_b) | number(of_b) >> 16);
          const float sum = float_of(static_cast<std::int32_t>(near(bits(), least ? 0 : 127, 0xff)));
          wrong += !same(product(*set, sum, a, b), add_pair(sum, a, b));
        }
        CAPTURE(range);
        CAPTURE(least);
        CHECK(wrong == 0);
      }
  }
}

TEST_CASE("bf16 products of any size and stride add up in the order of their pairs") {
  constexpr Index kStride = 67;
  for (const Bf16* set : instruction_sets())
    for (const auto& [M, N, K] :
         {std::array<Index, 3>{1, 1, 1}, {5, 16, 50}, {6, 33, 129}, {14, 67, 3}, {67, 65, 7}, {3, 12, 300}, {2, 3, 0}})
      for (const bool accumulate : {false, true})
        for (const bool by_columns : {false, true}) {
          const auto a = random_pairs(static_cast<std::size_t>(by_columns ? K * kStride : M * K), 1);
          const auto b = random_pairs(static_cast<std::size_t>(K * kStride), 2);
          const Index a_row = by_columns ? 1 : K, a_col = by_columns ? kStride : 1;
          auto c = check::random(static_cast<std::size_t>(M * kStride), 1, 3);
          auto expected = c;
          for (Index i = 0; i < M; ++i)
            for (Index j = 0; j < N; ++j) {
              float sum = accumulate ? c[i * kStride + j] : 0;
              for (Index k = 0; k < K; ++k) sum = add_pair(sum, a[i * a_row + k * a_col], b[k * kStride + j]);
              expected[i * kStride + j] = sum;
            }
          set->gemm(M, N, K, a.data(), a_row, a_col, b.data(), kStride, c.data(), kStride, accumulate);
          CAPTURE(set->name);
          CAPTURE(M);
          CAPTURE(N);
          CAPTURE(K);
          CHECK(c == expected);  // what stands beside the columns too
        }
}

TEST_CASE("operands are rounded to nearest, ties to even, and stand in pairs") {
  for (const Bf16* set : instruction_sets())
    for (const Index n : {1, 2, 15, 16, 33, 64, 531}) {
      CAPTURE(set->name);
      CAPTURE(n);
      const auto x = any_floats(static_cast<std::size_t>(n), 4), y = any_floats(static_cast<std::size_t>(n), 5);
      std::vector<Bf16Pair> pairs((n + 1) / 2 + 1, kMark), expected = pairs;
      for (Index i = 0; i < n; i += 2) expected[i / 2] = joined(rounded(x[i]), i + 1 < n ? rounded(x[i + 1]) : 0);
      set->pair_columns(n, x.data(), pairs.data());
      CHECK(pairs == expected);

      std::vector<Bf16Pair> rows(n + 1, kMark), expected_rows = rows;
      for (Index i = 0; i < n; ++i) expected_rows[i] = joined(rounded(x[i] * 0.5f), rounded(y[i] * -1.0f));
      set->pair_rows(n, x.data(), 0.5f, y.data(), -1, rows.data());
      CHECK(rows == expected_rows);
      for (Index i = 0; i < n; ++i) expected_rows[i] = joined(rounded(x[i]), 0);
      set->pair_rows(n, x.data(), 1, nullptr, 1, rows.data());
      CHECK(rows == expected_rows);

      for (const Index D : {1, 7, 100, 515}) {
        CAPTURE(D);
        const Index width = n + 3;
        const auto in = any_floats(static_cast<std::size_t>(n * D), 6);
        std::vector<Bf16Pair> lines((D + 1) / 2 * width + 1, kMark), expected_lines(lines.size(), 0);
        expected_lines.back() = kMark;
        for (Index i = 0; i < n; ++i)
          for (Index d = 0; d < D; d += 2)
            expected_lines[d / 2 * width + i] =
                joined(rounded(in[i * D + d]), d + 1 < D ? rounded(in[i * D + d + 1]) : 0);
        set->transpose(n, D, in.data(), lines.data(), width);
        CHECK(lines == expected_lines);
      }
    }
}

TEST_CASE("NaN stays NaN when it is rounded, whatever its bits") {
  for (const Bf16* set : instruction_sets())
    for (const std::uint32_t bits : {0x7fffffffu, 0x7f800001u, 0xffffffffu, 0xff80ffffu, 0x7fc00000u}) {
      const float x = float_of(static_cast<std::int32_t>(bits)), row[] = {x, x};
      Bf16Pair pair = 0;
      set->pair_columns(2, row, &pair);
      CHECK(std::isnan(low(pair)));
      CHECK(std::isnan(high(pair)));
    }
}
