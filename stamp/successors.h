// Products that come near each product in the sessions of training, and how often, in one step or in two. Floors go by
// them (floors.h).
//
//   t(x → y) = n(x, y) / (n(x) + 20)          n(x) = Σ_y n(x, y)
//   t₂(x → v) = Σ_y t(x → y) t(y → v) / √c(v)          v ≠ x, over the y kept of x and the v kept of y
//
// where n(x, y) adds up, over the pairs of an event of x and one of y ≠ x that are 1 to 10 events apart in a session,
// the weight of the event of y (Sessions::weights) over their distance, and half of that where y comes before x: who
// looked at y and then at x may go back, or on to what lies beside both. The 20 keep what was seen a few times from
// counting like what was seen often. c(v) counts the events of v in the same sessions, whatever they weigh: by way of
// something else one comes to what is popular from everywhere. All of it was chosen on the last sessions of training of
// three splits (docs/tried.md).
#pragma once

#include <vector>

#include "stamp/pairs.h"

namespace stamp {

class STAMP_API Successors {
 public:
  // Of V products that nothing follows, in 1 or 2 steps.
  explicit Successors(std::int64_t V = 0, int steps = 1);
  // Of each product the `most` of the largest t and, where there are 2 `steps`, of the largest t₂. Sessions without an
  // example (example_targets) do not count, nor do those that have one of the events `left_out`, which ascend. On all
  // cores, to the same bits whatever their number. Two steps take V·most² sums more. Throws std::invalid_argument for
  // other steps than 1 and 2.
  Successors(const Sessions& sessions, std::int64_t V, std::int64_t most, int steps = 1,
             std::span<const std::int64_t> left_out = {});

  std::int64_t V() const { return tables_[0].lists.size(); }
  int steps() const { return static_cast<int>(tables_.size()); }
  // What lies 1 … steps() from x, ascending, and log t or log t₂ of each.
  std::span<const std::int32_t> rows(std::int32_t x, int step = 1) const { return tables_[step - 1].lists[x]; }
  std::span<const float> log_shares(std::int32_t x, int step = 1) const { return tables_[step - 1].weights_of(x); }

  // The same of V products, of which rows[x] is product x here; -1: there is none.
  Successors in_catalog(std::span<const std::int32_t> rows, std::int64_t V) const;

  // As tensors "successors.offsets", "successors.values" and "successors.log_shares" under `prefix`, and those of
  // "second_successors", which view this.
  void save(std::map<std::string, TensorSource>& tensors, const std::string& prefix) const;
  // Throws std::runtime_error where they are not those of V products.
  Successors(const Safetensors& file, const std::string& prefix, std::int64_t V, int steps = 1);

 private:
  std::vector<WeightedLists> tables_;  // by step; each list by row
};

}  // namespace stamp
