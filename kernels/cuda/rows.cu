// Rows of a table. A warp owns a row; bound by memory, 8 D bytes a row.
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {
namespace {

__global__ void gather_rows_kernel(Index N, Index D, const float* items, const std::int32_t* ids, float* y) {
  const Index n = warp_index();
  if (n >= N) return;
  const float* row = items + ids[n] * D;
  for (Index d = lane_index(); d < D; d += kWarp) y[n * D + d] = row[d];
}

}  // namespace

void CudaDevice::gather_rows(Index N, Index D, const float* items, const std::int32_t* ids, float* y) {
  launch("gather_rows", gather_rows_kernel, blocks_for(N, kWarps), dim3(kThreads), 0, N, D, items, ids, y);
}

}  // namespace stamp::cuda
