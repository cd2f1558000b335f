// Times by logarithmic buckets: quantiles to 1 in 64, whatever their size, in a fixed piece of memory.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>

namespace load {

class Histogram {
 public:
  void add(std::chrono::nanoseconds time) {
    const std::uint64_t ns = std::max<std::int64_t>(0, time.count());
    ++counts_[bucket(ns)];
    ++count_;
    most_ = std::max(most_, ns);
  }

  std::uint64_t count() const { return count_; }
  double max_ms() const { return 1e-6 * static_cast<double>(most_); }

  // The time that a share of all stay within, rounded up to the bucket's end; 0 of nothing.
  double quantile_ms(double share) const {
    const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen >= wanted && seen > 0) return 1e-6 * static_cast<double>(std::min(last_of(i), most_));
    }
    return 0;
  }

 private:
  static constexpr int kBits = 6;  // 64 buckets from each power of two to the next
  static constexpr std::uint64_t kEach = std::uint64_t{1} << kBits;

  // Below 64 a number is its own bucket; above, its highest bit says the row, and the six bits after it the place
  // there.
  static std::size_t bucket(std::uint64_t ns) {
    if (ns < kEach) return ns;
    const int shift = std::bit_width(ns) - 1 - kBits;
    return (static_cast<std::uint64_t>(shift) << kBits) + (ns >> shift);
  }
  static std::uint64_t last_of(std::size_t bucket) {
    if (bucket < 2 * kEach) return bucket;
    const std::uint64_t shift = (bucket >> kBits) - 1;
    return (((bucket & (kEach - 1)) + kEach + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 - kBits + 1) * kEach> counts_{};
  std::uint64_t count_ = 0, most_ = 0;
};

}  // namespace load
