// Kernels that treat every element alone; bound by memory.
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_pool.h"
#include "stamp/philox.h"

namespace stamp::cpu {

namespace {
constexpr Index kGrain = 1 << 15;
}

void CpuDevice::add(Index n, const float* x, float* y) {
  for (Index i = 0; i < n; ++i) y[i] += x[i];
}

void CpuDevice::dropout(Index n, float rate, std::uint64_t seed, const TrainingStep* step, float* y) {
  const float kept = 1 / (1 - rate);
  parallel_for_ranges(n, kGrain, threads_, [&](Index first, Index last) {  // kGrain is a multiple of 4
    for (Index i = first; i < last; i += 4) {
      const auto words =
          philox(seed, streams::kDropout + static_cast<std::uint64_t>(step->number), static_cast<std::uint64_t>(i / 4));
      for (Index j = i; j < last && j < i + 4; ++j) y[j] = uniform(words[j - i]) < rate ? 0 : y[j] * kept;
    }
  });
}

}  // namespace stamp::cpu
