// A batch of training from sessions and the order of an epoch's examples, which are on the device.
//
//   place   a warp an example: how many of the batch stand before its own, which is where it goes
//   lay out a warp an example: its place among the events is what the examples before it brought; copies its own
//
// Each warp walks the batch once, B / 32 loads a lane of what all warps read: B² / 32 loads in all, from the caches.
// Bound by latency, at B = 512 by three dependent reads of memory and 16 of the cache: some 3 µs a kernel. B² shows
// from some 10,000 on, where the rest of a step takes milliseconds.
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {
namespace {

__device__ inline Index target_of(std::uint64_t example) {
  return static_cast<Index>(example >> TrainingExamples::kLengthBits);
}

__device__ inline Index length_of(std::uint64_t example) {
  return static_cast<Index>(example & ((std::uint64_t{1} << TrainingExamples::kLengthBits) - 1));
}

// First event that example b of a sorted batch brings, the others being there already.
__device__ inline Index first_fresh(const std::uint64_t* sorted, Index b) {
  const Index first = target_of(sorted[b]) - length_of(sorted[b]);
  const Index before = b > 0 ? target_of(sorted[b - 1]) : 0;
  return first > before ? first : before;
}

// Also makes room for events: places of no event.
__global__ void place_examples_kernel(Index B, Index L, const std::uint64_t* examples, const TrainingStep* step,
                                      std::uint64_t* sorted, std::int32_t* events) {
  const Index b = warp_index();
  for (Index i = b * kWarp + lane_index(); i < L; i += static_cast<Index>(gridDim.x) * kThreads) events[i] = -1;
  if (b >= B) return;
  const std::uint64_t* batch = examples + step->first;
  const std::uint64_t own = batch[b];
  Index before = 0;
  for (Index i = lane_index(); i < B; i += kWarp) before += batch[i] < own;
  before = warp_sum(before);
  if (lane_index() == 0) sorted[before] = own;
}

__global__ void lay_out_kernel(TrainingExamples data, const TrainingStep* step, const std::uint64_t* sorted,
                               BatchArrays batch) {
  const Index b = warp_index();
  if (b >= batch.B) return;
  const Index target = target_of(sorted[b]), length = length_of(sorted[b]), fresh = first_fresh(sorted, b);
  Index before = 0;
  for (Index i = lane_index(); i < b; i += kWarp) before += target_of(sorted[i]) - first_fresh(sorted, i);
  before = warp_sum(before);
  for (Index i = lane_index(); i < target - fresh; i += kWarp) batch.events[before + i] = data.items[fresh + i];
  if (lane_index() != 0) return;
  batch.begin[b] = static_cast<std::int32_t>(before - (fresh - (target - length)));
  batch.length[b] = static_cast<std::int32_t>(length);
  batch.targets[b] = data.items[target];
  batch.weights[b] = static_cast<float>((data.weights ? data.weights[target] : 1.0f) / step->weight);
}

}  // namespace

std::int64_t CudaDevice::build_batch(const TrainingExamples& data, const TrainingStep* step, const BatchArrays& batch) {
  std::uint64_t* sorted = examples_.need(batch.B);
  launch("build_batch's order", place_examples_kernel, blocks_for(batch.B, kWarps), dim3(kThreads), 0, batch.B, batch.L,
         data.examples, step, sorted, batch.events);
  launch("build_batch", lay_out_kernel, blocks_for(batch.B, kWarps), dim3(kThreads), 0, data, step, sorted, batch);
  return batch.L;
}

}  // namespace stamp::cuda
