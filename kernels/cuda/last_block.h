// What the last block of a launch does for all: it has what the others left, so nobody waits and no launch more is
// needed; and the loss of a step, which is added up so.
#pragma once

#include <cmath>

#include "kernels/cuda/warp.h"
#include "stamp/device.h"

namespace stamp::cuda {

// Whether `others` came to this counter before, by one thread of a block behind a barrier with all that wrote. What
// they left is seen by who meets that thread at a next barrier, and reads past the first-level cache (__ldcg). The
// counter is zero again for the next launch.
__device__ inline bool comes_last(unsigned* counts, unsigned others) {
  __threadfence();
  if (atomicAdd(&counts[0], 1u) != others) return false;
  __threadfence();
  counts[0] = 0;
  return true;
}

// The sum of a value of each of the block's kThreads threads, for thread 0.
__device__ inline double block_sum(double value) {
  __shared__ double parts[kWarps];
  value = warp_sum(value);
  if (lane_index() == 0) parts[threadIdx.x / kWarp] = value;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x == 0)
    for (double part : parts) sum += part;
  return sum;
}

// step->loss = Σ weights · losses of B examples, and what follows from it, by a block.
__device__ inline void total_loss(std::int64_t B, const float* weights, const float* losses, TrainingStep* step) {
  double loss = 0;
  for (std::int64_t b = threadIdx.x; b < B; b += kThreads)
    if (weights[b] != 0) loss += static_cast<double>(weights[b]) * __ldcg(losses + b);
  loss = block_sum(loss);
  if (threadIdx.x != 0 || step->stopped) return;
  step->loss = loss;
  step->stopped = !(loss < step->limit);
  if (step->stopped) return;
  step->loss_sum = fma(step->weight, loss, step->loss_sum);  // rounded alike by every compiler
  step->done = step->number;
}

}  // namespace stamp::cuda
