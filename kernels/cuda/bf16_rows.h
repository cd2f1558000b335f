// The kernel that makes bf16 copies of rows.
#pragma once

#include "kernels/cuda/tensor_rows.h"

namespace stamp::cuda {

__device__ inline const float* row_of(const ItemRows& x, Index n, Index D) {
  return x.items + (x.rows ? x.rows[n] : n) * D;
}

// y[N',W] = bf16 of x[N,D], of length 1 where asked for; the rest zero. A warp a row.
__global__ static void bf16_rows_kernel(Index N, Index padded, Index D, int W, ItemRows x, std::uint32_t* y) {
  const Index n = warp_index();
  if (n >= padded) return;
  const float* row = n < N ? row_of(x, n, D) : nullptr;
  float scale = 1;
  if (row && x.normalize) scale = x.inverse_norms ? x.inverse_norms[n] : unit_scale(warp_dot(D, row, row));
  write_bf16_row(row ? D : 0, W, row, scale, y + n * (W / 2));
}

}  // namespace stamp::cuda
