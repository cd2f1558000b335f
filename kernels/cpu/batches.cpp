// A batch of training from the order of an epoch: a few events of each example copied.
#include <algorithm>

#include "kernels/cpu/cpu_device.h"
#include "stamp/philox.h"

namespace stamp::cpu {

namespace {

// Draws example b's preferences, and returns what its weight is multiplied by.
float prefer(const TrainingExamples& data, std::int64_t step, std::int64_t target, std::int64_t b, float* preferences) {
  const Objectives& objectives = data.objectives;
  const auto words =
      philox(objectives.seed, streams::kObjectives + static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(b));
  const auto shares = preference(words, objectives.count);
  std::copy_n(shares.begin(), objectives.count, preferences + b * objectives.count);
  return objectives.factor(shares, data.labels ? data.labels[target] : 0);
}

}  // namespace

std::int64_t CpuDevice::build_batch(const TrainingExamples& data, const TrainingStep* step, const BatchArrays& batch) {
  constexpr std::uint64_t kLength = (std::uint64_t{1} << TrainingExamples::kLengthBits) - 1;
  std::int64_t L = 0, before = 0;  // events laid out; the place in the sessions before which they stand
  for (std::int64_t b = 0; b < batch.B; ++b) {
    const std::uint64_t example = data.examples[step->first + b];
    const auto target = static_cast<std::int64_t>(example >> TrainingExamples::kLengthBits);
    const auto length = static_cast<std::int64_t>(example & kLength), first = target - length;
    const std::int64_t fresh = std::max(first, before);  // the first event that no earlier example has brought
    batch.begin[b] = data.begins[step->first + b];
    batch.length[b] = static_cast<std::int32_t>(length);
    batch.targets[b] = data.items[target];
    batch.weights[b] = static_cast<float>((data.weights ? data.weights[target] : 1.0f) / step->weight);
    if (data.objectives.count > 0) batch.weights[b] *= prefer(data, step->number, target, b, batch.preferences);
    std::copy(data.items + fresh, data.items + target, batch.events + batch.begin[b] + (fresh - first));
    L = batch.begin[b] + length;
    before = target;
  }
  std::fill(batch.events + L, batch.events + batch.L, -1);
  return L;
}

}  // namespace stamp::cpu
