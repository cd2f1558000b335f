// Lookups of embeddings and the length of rows.
//
//   y = e                          or  c e / |e|  where |e| > c
//   d_e = c/|e| (d_y - e (e · d_y) / |e|²)
//
// A warp owns a row [D]. Bound by memory: 8 D bytes a row forward, 12 D backward; a step's few thousand rows take less
// than a launch does.
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {
namespace {

__global__ void gather_rows_kernel(Index N, Index D, const float* items, const std::int32_t* ids, float max_norm,
                                   float* y) {
  const Index n = warp_index();
  if (n >= N) return;
  const std::int32_t id = ids[n];
  const float* row = items + (id < 0 ? 0 : id) * D;
  float scale = id < 0 ? 0.0f : 1.0f;
  if (max_norm > 0 && id >= 0) {
    const float norm = sqrtf(warp_dot(D, row, row));
    if (norm > max_norm) scale = max_norm / norm;
  }
  for (Index d = lane_index(); d < D; d += kWarp) y[n * D + d] = id < 0 ? 0.0f : scale * row[d];
}

__global__ void gather_rows_backward_kernel(Index N, Index D, const float* items, const std::int32_t* ids,
                                            float max_norm, float* d_y) {
  const Index n = warp_index();
  if (n >= N || ids[n] < 0) return;
  const float* row = items + ids[n] * D;
  float* d_row = d_y + n * D;
  const float squared = warp_dot(D, row, row), norm = sqrtf(squared);
  if (!(norm > max_norm)) return;
  const float along = warp_dot(D, row, d_row) / squared;
  for (Index d = lane_index(); d < D; d += kWarp) d_row[d] = max_norm / norm * (d_row[d] - along * row[d]);
}

__global__ void normalize_rows_kernel(Index N, Index D, float scale, const float* x, float* y) {
  const Index n = warp_index();
  if (n >= N) return;
  const float norm = sqrtf(warp_dot(D, x + n * D, x + n * D));
  const float factor = norm > 0 ? scale / norm : 1.0f;
  for (Index d = lane_index(); d < D; d += kWarp) y[n * D + d] = factor * x[n * D + d];
}

__global__ void normalize_rows_backward_kernel(Index N, Index D, float scale, const float* x, const float* d_y,
                                               float* d_x) {
  const Index n = warp_index();
  if (n >= N) return;
  const float squared = warp_dot(D, x + n * D, x + n * D);
  const float along = squared > 0 ? warp_dot(D, x + n * D, d_y + n * D) / squared : 0.0f;
  const float factor = squared > 0 ? scale / sqrtf(squared) : 0.0f;
  for (Index d = lane_index(); d < D; d += kWarp) d_x[n * D + d] = factor * (d_y[n * D + d] - along * x[n * D + d]);
}

}  // namespace

void CudaDevice::gather_rows(Index N, Index D, const float* items, const std::int32_t* ids, float max_norm, float* y) {
  launch("gather_rows", gather_rows_kernel, blocks_for(N, kWarps), dim3(kThreads), 0, N, D, items, ids, max_norm, y);
}

void CudaDevice::gather_rows_backward(Index N, Index D, const float* items, const std::int32_t* ids, float max_norm,
                                      float* d_y) {
  if (max_norm > 0)
    launch("gather_rows_backward", gather_rows_backward_kernel, blocks_for(N, kWarps), dim3(kThreads), 0, N, D, items,
           ids, max_norm, d_y);
}

void CudaDevice::normalize_rows(Index N, Index D, float scale, const float* x, float* y) {
  launch("normalize_rows", normalize_rows_kernel, blocks_for(N, kWarps), dim3(kThreads), 0, N, D, scale, x, y);
}

void CudaDevice::normalize_rows_backward(Index N, Index D, float scale, const float* x, const float* d_y, float* d_x) {
  launch("normalize_rows_backward", normalize_rows_backward_kernel, blocks_for(N, kWarps), dim3(kThreads), 0, N, D,
         scale, x, d_y, d_x);
}

}  // namespace stamp::cuda
