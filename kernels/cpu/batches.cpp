// A batch of training from the order of an epoch: some thousand examples sorted, a few events of each copied.
#include <algorithm>

#include "kernels/cpu/cpu_device.h"

namespace stamp::cpu {

std::int64_t CpuDevice::build_batch(const TrainingExamples& data, const TrainingStep* step, const BatchArrays& batch) {
  constexpr std::uint64_t kLength = (std::uint64_t{1} << TrainingExamples::kLengthBits) - 1;
  examples_.assign(data.examples + step->first, data.examples + step->first + batch.B);
  std::sort(examples_.begin(), examples_.end());
  std::int64_t L = 0, before = 0;  // events laid out, up to the place before which they stand in the sessions
  for (std::int64_t b = 0; b < batch.B; ++b) {
    const auto target = static_cast<std::int64_t>(examples_[b] >> TrainingExamples::kLengthBits);
    const auto length = static_cast<std::int64_t>(examples_[b] & kLength), first = target - length;
    const std::int64_t fresh = std::max(first, before);  // the first event that no earlier example has brought
    batch.begin[b] = static_cast<std::int32_t>(L - (fresh - first));
    batch.length[b] = static_cast<std::int32_t>(length);
    batch.targets[b] = data.items[target];
    batch.weights[b] = static_cast<float>((data.weights ? data.weights[target] : 1.0f) / step->weight);
    std::copy(data.items + fresh, data.items + target, batch.events + L);
    L += target - fresh;
    before = target;
  }
  std::fill(batch.events + L, batch.events + batch.L, -1);
  return L;
}

}  // namespace stamp::cpu
