#include "exploration.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace server {

Explored explore(std::span<const float> scores, int k, double strength, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto uniform = [&] { return (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53; };  // in (0, 1)
  std::vector<int> open;  // by noisy score, best last
  std::vector<double> noisy(scores.size());
  for (int i = 0; i < static_cast<int>(scores.size()); ++i) {
    if (std::isnan(scores[i])) continue;
    noisy[i] = scores[i] / strength - std::log(-std::log(uniform()));
    open.push_back(i);
  }
  std::ranges::sort(open, [&](int a, int b) { return noisy[a] < noisy[b]; });
  // ln Σ exp of what is left to choose from at each slot, added up from the last: differences of large sums are
  // nothing, and so are exponentials of small ones.
  std::vector<double> left(open.size());
  double sum = -INFINITY;
  for (std::size_t i = 0; i < open.size(); ++i) {
    const double one = scores[open[i]] / strength, more = std::max(sum, one);
    left[i] = sum = more + std::log1p(std::exp(std::min(sum, one) - more));
  }

  Explored list;
  for (int slot = 0; slot < std::min<int>(k, static_cast<int>(scores.size())); ++slot) {
    if (std::isnan(scores[slot])) {
      list.order.push_back(slot);
      list.propensities.push_back(1);
    } else if (!open.empty()) {
      list.order.push_back(open.back());
      list.propensities.push_back(std::exp(scores[open.back()] / strength - left[open.size() - 1]));
      open.pop_back();
    }
  }
  return list;
}

}  // namespace server
