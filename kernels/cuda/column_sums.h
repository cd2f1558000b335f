// sums[D] = Σ_n x[n,D]: a block of 32 warps owns 32 columns, each warp every 32nd row, added up in the order of warps.
#pragma once

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {

constexpr int kColumnThreads = kWarp * kWarp;

__global__ void __launch_bounds__(kColumnThreads) static column_sums_kernel(Index N, Index D, const float* x,
                                                                            float* sums) {
  __shared__ float parts[kWarp][kWarp + 1];
  const int row = static_cast<int>(threadIdx.x) / kWarp, column = lane_index();
  const Index d = static_cast<Index>(blockIdx.x) * kWarp + column;
  float sum = 0;
  if (d < D)
    for (Index n = row; n < N; n += kWarp) sum += x[n * D + d];
  parts[row][column] = sum;
  __syncthreads();
  const float total = warp_sum(parts[column][row]);
  const Index own = static_cast<Index>(blockIdx.x) * kWarp + row;
  if (column == 0 && own < D) sums[own] = total;
}

}  // namespace stamp::cuda
