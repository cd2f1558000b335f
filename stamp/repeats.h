// Products that the history itself holds: floors of their scores (Config::repeat_floors), and how those are found.
//
// Visitors come back to products, and how often is easily told: by how many events ago they were there. The network
// learns little of it, because it soon knows its training sessions by heart and is far surer of what comes next in them
// than it can be elsewhere. So every product of the history may be next for a second reason, of a probability that
// depends on its distance d from the end alone:
//
//   p_v ∝ exp(z_v) + [v in the history] exp(f_d)
//
// and f is fitted to sessions that no weight was trained on. Ranking by p is ranking by log(exp(z) + exp(f)).
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "stamp/model.h"

namespace stamp {

// The floors of a batch's histories, as catalog_top_k takes them.
class RepeatFloors {
 public:
  // threads: that histories are read on; 0: all.
  RepeatFloors(const Model& model, const std::shared_ptr<Device>& device, int threads = 1);
  // Of `count` histories of a batch from `first` on, in device memory until the next call. `candidates`, rows in
  // ascending order, are what ids are indices into; all rows where it is null.
  ScoreFloors of(const Batch& batch, std::size_t first, std::size_t count,
                 const std::vector<std::int32_t>* candidates = nullptr);

 private:
  struct History {
    std::vector<std::pair<std::int32_t, std::int32_t>> last;  // its products, how many events ago
    std::vector<std::pair<std::int32_t, float>> floors;       // by product
  };
  void read(std::span<const std::int32_t> history, const std::vector<std::int32_t>* candidates, History& found) const;

  const Model& model_;
  int threads_;
  std::vector<History> histories_;
  std::vector<std::int32_t> entries_;  // begins, ids and the bits of floors, so that one copy takes them all
  Array<std::int32_t> device_entries_;
};

// Takes the examples of whole sessions out of `targets`, which ascend, and returns them: some `count`, a twentieth at
// most. `seed` and when a session was choose it, so that a log that has moved on by a day gives the same ones; where
// there are no times, its place does. Every product stays in some other session.
STAMP_API std::vector<std::int64_t> hold_out(const Sessions& sessions, std::int64_t count, std::uint64_t seed,
                                             std::vector<std::int64_t>& targets);

// Sets the model's floors to those of the largest likelihood for these examples, which it should not have been trained
// on: `targets` as of example_targets, of known products. Weights count relative to their mean. Each floor counts one
// more example, in which it was not the reason. Floors stay as they are where there is no example or no finite result.
STAMP_API void fit_repeat_floors(Model& model, const Sessions& sessions, std::span<const std::int64_t> targets);

}  // namespace stamp
