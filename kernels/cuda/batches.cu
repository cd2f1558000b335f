// A batch of training from sessions and the order of an epoch's examples, which are on the device, in one launch: a
// warp an example, which copies the events that none before it has brought.
//
// Bound by latency, three reads of memory that wait for each other: predicted 3 µs at B = 512.
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"
#include "stamp/philox.h"

namespace stamp::cuda {
namespace {

__device__ inline Index target_of(std::uint64_t example) {
  return static_cast<Index>(example >> TrainingExamples::kLengthBits);
}

__device__ inline Index length_of(std::uint64_t example) {
  return static_cast<Index>(example & ((std::uint64_t{1} << TrainingExamples::kLengthBits) - 1));
}

// Draws example b's preferences, and returns what its weight is multiplied by.
__device__ float prefer(const TrainingExamples& data, Index step, Index target, Index b, float* preferences) {
  const Objectives& objectives = data.objectives;
  const auto words =
      philox(objectives.seed, streams::kObjectives + static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(b));
  const auto shares = preference(words, objectives.count);
#pragma unroll
  for (int k = 0; k < Objectives::kMost; ++k)
    if (k < objectives.count) preferences[b * objectives.count + k] = shares[k];
  return objectives.factor(shares, data.labels ? data.labels[target] : 0);
}

__global__ void build_batch_kernel(TrainingExamples data, const TrainingStep* step, BatchArrays batch) {
  const Index b = warp_index(), last = batch.B - 1;
  const std::uint64_t* examples = data.examples + step->first;
  const std::int32_t* begins = data.begins + step->first;
  // Places of no event, behind those of the last example.
  for (Index i = begins[last] + length_of(examples[last]) + b * kWarp + lane_index(); i < batch.L;
       i += static_cast<Index>(gridDim.x) * kThreads)
    batch.events[i] = -1;
  if (b >= batch.B) return;
  const Index target = target_of(examples[b]), length = length_of(examples[b]), begin = begins[b];
  const Index first = target - length, before = b > 0 ? target_of(examples[b - 1]) : 0;
  for (Index i = (first > before ? first : before) + lane_index(); i < target; i += kWarp)
    batch.events[begin + i - first] = data.items[i];
  if (lane_index() != 0) return;
  batch.begin[b] = static_cast<std::int32_t>(begin);
  batch.length[b] = static_cast<std::int32_t>(length);
  batch.targets[b] = data.items[target];
  const auto weight = static_cast<float>((data.weights ? data.weights[target] : 1.0f) / step->weight);
  batch.weights[b] =
      data.objectives.count > 0 ? weight * prefer(data, step->number, target, b, batch.preferences) : weight;
}

}  // namespace

std::int64_t CudaDevice::build_batch(const TrainingExamples& data, const TrainingStep* step, const BatchArrays& batch) {
  launch("build_batch", build_batch_kernel, blocks_for(batch.B, kWarps), dim3(kThreads), 0, data, step, batch);
  return batch.L;
}

}  // namespace stamp::cuda
