// Packs catalogs (packed_catalog.h): 4·V·D bytes read three times, 4·V·D + 2·V·W written.
#include "kernels/cuda/packed_catalog.h"

namespace stamp::cuda {
namespace {

// packed[panel][d][64] = x, or x times its inverse norm; zeros behind the catalog. A block a panel.
__global__ void pack_items_kernel(Index V, Index D, ItemRows items, float* packed) {
  const Index first = static_cast<Index>(blockIdx.x) * kPanel;
  for (Index i = threadIdx.x; i < D * kPanel; i += kThreads) {
    const Index v = first + i % kPanel;
    const float scale = items.normalize && v < V ? items.inverse_norms[v] : 1.0f;
    packed[first * D + i] = v < V ? row_of(items, v, D)[i / kPanel] * scale : 0.0f;
  }
}

// Rows in bf16 [Vp/64][slice][64,W], of length 1 where asked for; zeros behind them. A warp 8 rows.
__global__ void pack_rows_kernel(Index V, Index padded, Index D, Index slices, Index W, ItemRows items,
                                 std::uint32_t* rows) {
  const Index first = warp_index() * kCore, v = first + lane_index() / 4;
  if (first >= padded) return;
  const float scale = items.normalize && v < V ? items.inverse_norms[v] : 1.0f;
  const auto at = [&](Index d) { return v < V && d < D ? row_of(items, v, D)[d] * scale : 0.0f; };
  for (Index slice = 0; slice < slices; ++slice) {
    const auto pair = [&](int, int column) { return make_float2(at(slice * W + column), at(slice * W + column + 1)); };
    write_bf16_rows(static_cast<int>(W), pair,
                    rows + ((first / kStream * slices + slice) * kStream + first % kStream) * (W / 2));
  }
}

// A warp a row.
__global__ void inverse_norms_kernel(Index V, Index D, ItemRows items, float* norms) {
  const Index v = warp_index();
  if (v >= V) return;
  const float norm = sqrtf(warp_dot(D, row_of(items, v, D), row_of(items, v, D)));
  if (lane_index() == 0) norms[v] = norm > 0 ? 1 / norm : 1.0f;
}

// That of a row, by a warp.
__device__ float bounded_length(const ItemRows& x, Index n, Index D) {
  const float scale = x.normalize ? x.inverse_norms[n] : 1.0f;
  float sum = 0;
  for (Index d = lane_index(); d < D; d += kWarp) {
    const float value = row_of(x, n, D)[d] * scale;
    sum += value * value;
  }
  return bounded(sqrtf(warp_sum(sum)));
}

// A warp a chunk.
__global__ void lengths_kernel(Index V, Index padded, Index D, ItemRows items, float* lengths, float* longest) {
  const Index chunk = warp_index();
  if (chunk * kChunk >= padded) return;
  float most = -INFINITY;
  for (Index v = chunk * kChunk; v < (chunk + 1) * kChunk; ++v) {
    const float length = v < V ? bounded_length(items, v, D) : -INFINITY;
    if (lane_index() == 0) lengths[v] = length;
    most = fmaxf(most, length);
  }
  if (lane_index() == 0) longest[chunk] = most;
}

}  // namespace

Index CudaDevice::packed_size(Index V, Index D) const {
  const Index Vp = rounded(V, kStream);
  const Index bounds = can_scan_bounds(D) ? Vp * Slices(D).all() / 2 + Vp + Vp / kChunk : 0;
  return static_cast<Index>(sizeof(float)) * (Vp * D + bounds);
}

void CudaDevice::inverse_norms(Index V, Index D, const ItemRows& items, float* norms) {
  launch("inverse_norms", inverse_norms_kernel, blocks_for(V, kWarps), dim3(kThreads), 0, V, D, items, norms);
}

void CudaDevice::pack_items(Index V, Index D, const ItemRows& rows, std::byte* packed) {
  ItemRows items = rows;
  if (items.normalize && !items.inverse_norms) {
    float* norms = inverse_norms_.need(V);
    inverse_norms(V, D, items, norms);
    items.inverse_norms = norms;
  }
  const Packed at = packed_at(packed, V, D);
  launch("pack_items", pack_items_kernel, blocks_for(V, kPanel), dim3(kThreads), 0, V, D, items, at.panels);
  if (!can_scan_bounds(D)) return;
  const Index Vp = rounded(V, kStream);
  const Slices slices(D);
  launch("pack_items' bf16 rows", pack_rows_kernel, blocks_for(Vp / kCore, kWarps), dim3(kThreads), 0, V, Vp, D,
         slices.count, slices.width, items, reinterpret_cast<std::uint32_t*>(at.rows));
  launch("pack_items' lengths", lengths_kernel, blocks_for(Vp / kChunk, kWarps), dim3(kThreads), 0, V, Vp, D, items,
         at.lengths, at.longest);
}

}  // namespace stamp::cuda
