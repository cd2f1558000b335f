// Lists that now and then try another order, with the probability of what was shown, so that what came of it can be
// used to judge orders that were not shown.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace server {

// A list of k of the M best by Plackett-Luce: each slot takes one of those that are left, i with probability
// exp(s_i / strength) / Σ exp(s_j / strength) over these. (R. L. Plackett, The Analysis of Permutations, 1975; drawn at
// once by sorting s_i / strength + Gumbel noise.)
struct Explored {
  std::vector<int> order;            // [k] indices into the scores
  std::vector<double> propensities;  // [k] of each slot, given those before it
};

// A NaN score is a pin: it stands where it stands among the first k, with probability 1. strength > 0; the same seed
// gives the same list.
Explored explore(std::span<const float> scores, int k, double strength, std::uint64_t seed);

}  // namespace server
