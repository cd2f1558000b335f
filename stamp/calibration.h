// How sure scores are, and how much popularity alone says: two numbers of a model that are fitted, as floors are, to
// sessions that teach no weight.
//
// The temperature T makes scores s, floors included, the logarithms of probabilities (Guo et al., 2017, arXiv
// 1706.04599):
//
//   p_v = exp(s_v / T) / Σ exp(s_u / T)        T where the likelihood of the targets is largest: convex in 1/T
//
// The tail power γ makes popularity the best guess that looks at no history: π_v ∝ (1 + clicks_v)^γ, γ where the
// likelihood of the targets is largest, which is convex in γ. Ranking by p_v / π_v^t, the logit adjustment of Menon et
// al. (ICLR 2021, arXiv 2007.07314), takes that guess out of a list: from t = 0, by probability, to t = 1, by how much
// more likely the history makes a product than it is anyway.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stamp/model.h"

namespace stamp {

// Sets both to those of the largest likelihood for these examples: `targets` as of example_targets, which ascend, of
// known products. Of many, 2048 that are evenly spread fit the temperature. Clicks are those of `sessions` that have
// an example, but for the sessions of these. T is 1/8 to 8 and γ 0 to 4, 1 where all values are as likely; both stay as
// they are where there is no example or no finite result.
STAMP_API void calibrate(Model& model, const Sessions& sessions, std::span<const std::int64_t> targets);

// What a model lists, and how likely it says that each product is to come next.
struct ListedProbabilities {
  std::vector<float> probabilities;     // [N,k] of the products, best first; NaN where a list has ended
  std::vector<std::uint8_t> is_target;  // [N,k] whether the product came next
};

// Of every event of `sessions` with `min_history` or more events before it and a known one among them, also of events
// that the model does not know. Throws std::invalid_argument for k or min_history below 1.
STAMP_API ListedProbabilities listed_probabilities(const Model& model, const Sessions& sessions, std::int64_t k,
                                                   std::int64_t min_history = 1);

}  // namespace stamp
