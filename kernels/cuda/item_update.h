// The end of item rows' gradients: what targets and lookups add, and Adam or the store.
//
//   d_y_v = Σ_b w_b p_bv q_b  -  Σ_{target_b = v} w_b q_b            the first sum from the owner of a tile
//   d_e_v = d_y_v, or (d_y - x (x·d_y)/|x|²)/|x| for cosine scores   + Σ_{id_l = v} row_gradients_l
//
// Targets and lookups come as entries sorted by id (stable, targets first), so every sum has one order and no atomics
// are needed. A warp adds the entries of its rows, some ten a block; then the whole block goes over the rows' elements.
// Weights and moments move through memory once: 24 bytes an element, which is the bound.
#pragma once

#include "kernels/cuda/adam.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {

struct ItemGradient {
  std::int64_t B, D, V;
  const float* items;  // [V,D]
  bool normalize_items;
  const float* queries;          // [B,D]
  const float* weights;          // [B]
  const float* row_gradients;    // [L,D]
  const std::uint32_t* ids;      // [entries], sorted; those of no product at the end
  const std::uint32_t* sources;  // [entries]: example b, or B + l for lookup l
  std::int64_t entries;
  ItemUpdate update;
};

// d_row += what entry i says, by a warp whose lanes own every 32nd column.
__device__ inline void add_entry(const ItemGradient& p, std::int64_t i, float* d_row) {
  const std::int64_t source = p.sources[i];
  const bool target = source < p.B;
  const float* row = target ? p.queries + source * p.D : p.row_gradients + (source - p.B) * p.D;
  const float factor = target ? -p.weights[source] : 1.0f;
  for (std::int64_t d = lane_index(); d < p.D; d += kWarp) d_row[d] += factor * row[d];
}

// From the gradient of x/|x| to that of x. Zero rows get none.
__device__ inline void normalize_gradient(std::int64_t D, const float* item, float* d_row) {
  const float squared = warp_dot(D, item, item), inverse = squared > 0 ? 1 / sqrtf(squared) : 0.0f;
  const float along = warp_dot(D, item, d_row) * inverse * inverse;
  for (std::int64_t d = lane_index(); d < D; d += kWarp) d_row[d] = (d_row[d] - item[d] * along) * inverse;
}

// Rows first … first + n - 1 by a block of `threads`, from their d_rows [n,stride], in shared or device memory, which
// the whole block sees. Uses what d_rows hold.
template <int threads>
__device__ void finish_item_rows(const ItemGradient& p, std::int64_t first, int n, float* d_rows, std::int64_t stride) {
  __shared__ std::int64_t bounds[2];  // of the entries for these rows
  __shared__ AdamFactors factors;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp;
  if (thread < 2)
    bounds[thread] = lower_bound(p.entries, static_cast<std::uint32_t>(first + thread * n),
                                 [&](std::int64_t i) { return p.ids[i]; });
  if (thread == 0 && !p.update.d_items) factors = adam_factors(*p.update.step);
  __syncthreads();

  const auto add_entries = [&](bool targets, bool lookups) {
    for (std::int64_t i = bounds[0]; i < bounds[1]; ++i) {
      const std::int64_t row = p.ids[i] - first;
      if (row % (threads / kWarp) == warp && (p.sources[i] < p.B ? targets : lookups))
        add_entry(p, i, d_rows + row * stride);
    }
  };
  if (p.normalize_items) {
    add_entries(true, false);
    for (int row = warp; row < n; row += threads / kWarp)
      normalize_gradient(p.D, p.items + (first + row) * p.D, d_rows + row * stride);
    add_entries(false, true);
  } else {
    add_entries(true, true);
  }
  __syncthreads();

  const std::int64_t begin = first * p.D;
  const auto gradient = [&](std::int64_t i) {
    const unsigned at = static_cast<unsigned>(i), D = static_cast<unsigned>(p.D);
    return d_rows[at / D * stride + at % D];
  };
  if (!p.update.d_items)
    adam_elements(factors, thread, threads, n * p.D, p.update.items + begin, p.update.moment1 + begin,
                  p.update.moment2 + begin, gradient);
  else
    for (std::int64_t i = thread; i < n * p.D; i += threads) p.update.d_items[begin + i] = gradient(i);
}

}  // namespace stamp::cuda
