#include "kernels/cpu/int8_table.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/scratch.h"

namespace stamp::cpu {

namespace {

constexpr std::int32_t kLargest = 127;  // of x̂
constexpr std::int32_t kZero = 128;     // what x̂ = 0 is kept as
constexpr float kShortest = 1e-20f;     // largest value of a row below which x̂ = 0
constexpr double kLongest = 1e18;       // of rows and queries
constexpr double kEpsilon = 0x1p-24;
constexpr double kUp = 1 + 1e-12;  // more than sums in double precision are off by
constexpr double kInfinite = std::numeric_limits<double>::infinity();

float rounded_up(double x) {
  const auto nearest = static_cast<float>(x);
  return nearest < x ? std::nextafter(nearest, std::numeric_limits<float>::infinity()) : nearest;
}

struct Quantized {
  bool bounded;               // false: nothing is known of it
  float scale;                // s; 0 where x̂ = 0
  double norm, length, rest;  // |x|, |x̂| and |x - s x̂|, or a little more
};

// x̂ of magnitude `largest` at most.
Quantized quantize(Index D, const float* x, std::int32_t largest, std::int32_t* values) {
  float top = 0, none = 0;
  double norm = 0;
  for (Index d = 0; d < D; ++d) {
    top = std::max(top, std::abs(x[d]));
    none += x[d] * 0;  // NaN where anything is not finite
    norm += double{x[d]} * x[d];
  }
  norm = std::sqrt(norm) * kUp;
  const bool bounded = !std::isnan(none) && norm <= kLongest;
  if (!bounded || top < kShortest) {
    std::fill_n(values, D, 0);
    return {bounded, 0, norm, 0, norm};
  }
  const float scale = top / static_cast<float>(largest), inverse = 1 / scale;
  constexpr float kMagic = 12582912;  // 1.5 · 2^23: adding it rounds to an integer
  std::int64_t length = 0;
  double rest = 0;
  for (Index d = 0; d < D; ++d) {
    const float value = x[d] * inverse + kMagic - kMagic;
    values[d] = static_cast<std::int32_t>(value);
    length += std::int64_t{values[d]} * values[d];
    const double left = x[d] - double{scale} * value;
    rest += left * left;
  }
  return {true, scale, norm, std::sqrt(static_cast<double>(length)) * kUp, std::sqrt(rest) * kUp};
}

Index panels(Index V) { return (V + Int8Table::kPanel - 1) / Int8Table::kPanel; }

}  // namespace

Int8Table::Int8Table(const std::byte* memory, Index V, Index D)
    : values(reinterpret_cast<const std::uint8_t*>(memory)),
      scales(reinterpret_cast<const float*>(values + panels(V) * kPanel * groups(D) * Gemm8::kGroup)),
      lengths(scales + panels(V) * kPanel),
      rests(lengths + panels(V)),
      groups_(groups(D)) {}

Index Int8Table::bytes(Index V, Index D) {
  constexpr Index kFloat = sizeof(float);
  return panels(V) * (kPanel * (groups(D) * Gemm8::kGroup + kFloat) + 2 * kFloat);
}

void quantize_panel(Index V, Index D, Index first, Index n, const float* const* rows, const float* scales,
                    std::byte* memory) {
  const Int8Table table(memory, V, D);
  const auto put = [](const float* column, Index i, double value) {
    const_cast<float*>(column)[i] = rounded_up(value);
  };
  auto* panel = const_cast<std::uint8_t*>(table.panel(first));
  std::fill_n(panel, Int8Table::kPanel * Int8Table::groups(D) * Gemm8::kGroup, static_cast<std::uint8_t>(kZero));
  float* scaled = scratch<float, 14>(D);
  std::int32_t* values = scratch<std::int32_t, 15>(D);
  double longest = 0, largest_rest = 0;
  for (Index i = 0; i < n; ++i) {
    for (Index d = 0; d < D; ++d) scaled[d] = rows[i][d] * scales[i];
    const Quantized row = quantize(D, scaled, kLargest, values);
    for (Index d = 0; d < D; ++d)
      panel[(d / Gemm8::kGroup * Int8Table::kPanel + i) * Gemm8::kGroup + d % Gemm8::kGroup] =
          static_cast<std::uint8_t>(values[d] + kZero);
    const double rest = row.rest + (static_cast<double>(D) / 4 + 16) * kEpsilon * row.norm;
    const double scale = !row.bounded ? kInfinite : row.scale > 0 ? row.scale : double{rounded_up(rest)};
    if (row.bounded && scale > 0) largest_rest = std::max(largest_rest, rest / scale * kUp);
    longest = std::max(longest, row.length);
    put(table.scales, first + i, scale);
  }
  put(table.lengths, first / Int8Table::kPanel, longest);
  put(table.rests, first / Int8Table::kPanel, largest_rest);
}

QuantizedQuery quantize_query(Index D, const float* query, std::int32_t largest, std::int8_t* values,
                              std::int8_t* high) {
  constexpr std::int32_t kDigit = 128, kHalf = kDigit / 2;
  const Index width = Int8Table::groups(D) * Gemm8::kGroup;
  std::fill_n(values, width, std::int8_t{0});
  if (high) std::fill_n(high, width, std::int8_t{0});
  std::int32_t* integers = scratch<std::int32_t, 15>(D);
  const Quantized q = quantize(D, query, high ? kDigit * largest + kHalf - 1 : largest, integers);
  if (!q.bounded)
    return {.scale = 0, .offset = 0, .high_offset = 0, .per_length = 0, .per_rest = static_cast<float>(kInfinite)};
  std::int32_t sum = 0, high_sum = 0;
  for (Index d = 0; d < D; ++d) {
    const std::int32_t upper = high ? (integers[d] + kDigit * kDigit + kHalf) / kDigit - kDigit : 0;  // rounded down
    values[d] = static_cast<std::int8_t>(integers[d] - kDigit * upper);
    if (high) high[d] = static_cast<std::int8_t>(upper);
    sum += values[d];
    high_sum += upper;
  }
  const double n = static_cast<double>(D) * kEpsilon, gamma = n / (1 - n), up = 1 + 8 * kEpsilon;
  return {.scale = q.scale,
          .offset = kZero * sum,
          .high_offset = kZero * high_sum,
          .per_length = rounded_up((q.rest + (gamma + 8 * kEpsilon) * (q.norm + q.rest)) * up),
          .per_rest = rounded_up(q.norm * (1 + gamma) * up)};
}

}  // namespace stamp::cpu
