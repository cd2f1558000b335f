// Products that a history itself names, and the floors that it gives their scores: what it holds
// (Config::repeat_floors), what comes near its last events in other sessions (Config::successor_floors, successors.h)
// and what comes near that (Config::second_floors).
//
// Visitors come back to products, and go on to those that others went on to. The network learns less of either than
// there is to learn, because it soon knows its training sessions by heart and is far surer of what comes next in them
// than it can be elsewhere. So a product may be next for other reasons than its score, of weights that depend on
// distances and on whether this visitor is one who comes back:
//
//   p_v ∝ exp(z_v) + [v in the history, of kind k, last d events ago] exp(f_kd)
//         + Σ_d exp(g_d) t(x_d → v) + Σ_d exp(h_d) t₂(x_d → v)
//
// with x_d the event d before the last, k of repeats.h, and f, g and h fitted to sessions that neither a weight nor t
// has seen. Ranking by p is ranking by log(exp(z) + exp(floor)), where exp(floor) is what stands behind exp(z_v).
//
// Each objective has an f, a g and an h of its own, fitted to the examples that it counts, and those for several are
// mixed as their preferences say: exp(f) = Σ π exp(f of the objective), π_click being what the others leave.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "stamp/model.h"
#include "stamp/repeats.h"

namespace stamp {

// The floors of a batch's histories, as catalog_top_k takes them.
class HistoryFloors {
 public:
  // threads: that histories are read on; 0: all.
  HistoryFloors(const Model& model, const std::shared_ptr<Device>& device, int threads = 1);
  // Of `count` histories of a batch from `first` on, in device memory until the next call. `candidates`, rows in
  // ascending order, are what ids are indices into; all rows where it is null.
  ScoreFloors of(const Batch& batch, std::size_t first, std::size_t count,
                 const std::vector<std::int32_t>* candidates = nullptr);

 private:
  // Products that one reason names, by ascending row, each with the logarithm of its weight: floor + value.
  struct Named {
    std::span<const std::int32_t> rows;
    const float* values;
    float floor;
  };
  struct History {
    std::vector<Repeat> repeats;     // its products
    std::vector<float> preferred;    // floors as the preferences mix them: of repeats, then of successors
    std::vector<std::int32_t> rows;  // those that have a floor, and it
    std::vector<float> values;
    std::vector<Named> named;
    std::vector<float> terms;                            // of one product
    std::vector<std::pair<std::int32_t, float>> floors;  // by product
  };
  void read(std::span<const std::int32_t> history, std::span<const float> preference, History& found) const;
  void merge(const std::vector<std::int32_t>* candidates, History& found) const;

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

// Sets the model's floors to those of the largest likelihood for these examples, which neither its weights nor its
// successors should have seen: `targets` as of example_targets, of known products. Weights count relative to their
// mean. Each floor counts one more example, in which it was not the reason; those of repeats instead ten in which a
// floor that all kinds of its distance share was the reason as often as its own fit says; those of another objective
// than clicks ten of what the floor for clicks says. Floors stay as they are where there is no example or no finite
// result; an objective that no example has a label of takes over those for clicks.
STAMP_API void fit_floors(Model& model, const Sessions& sessions, std::span<const std::int64_t> targets);

}  // namespace stamp
