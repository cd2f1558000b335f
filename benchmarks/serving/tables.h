// Tables of products that scans are measured on, and queries.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

namespace bench {

inline std::vector<float> gaussian(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

constexpr std::string_view kRandom = "random", kEqual = "all equal", kAlike = "nearly alike", kZero = "zero query";

// Rows [V,D]: "random", "zero query": Gaussian; "all equal": one row again and again; "nearly alike": 0.5 and noise of
// 1e-4. The last three are the worst there are: bounds cannot tell the products apart.
inline std::vector<float> table(std::string_view name, std::int64_t V, std::int64_t D) {
  std::vector<float> rows = gaussian(static_cast<std::size_t>(V * D), 1);
  if (name == kEqual)
    for (std::int64_t v = 1; v < V; ++v) std::copy_n(rows.data(), D, rows.data() + v * D);
  if (name == kAlike)
    for (float& x : rows) x = 0.5f + 1e-4f * x;
  return rows;
}

inline std::vector<float> queries(std::string_view name, std::int64_t B, std::int64_t D) {
  return name == kZero ? std::vector<float>(static_cast<std::size_t>(B * D))
                       : gaussian(static_cast<std::size_t>(B * D), 2);
}

}  // namespace bench
