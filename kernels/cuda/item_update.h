// The end of an item row's gradient: what its targets and lookups add, and Adam or the store.
//
//   d_y_v = Σ_b w_b p_bv q_b  -  Σ_{target_b = v} w_b q_b            the catalog's, from the owner of a tile
//   d_e_v = d_y_v, or (d_y - x (x·d_y)/|x|²)/|x| for cosine scores   + Σ_{id_l = v} row_gradients_l
//
// Targets and lookups come as entries sorted by id (stable, targets first), so every sum has one order and no atomics
// are needed. A warp finishes a row; weights and moments move once: 28 bytes an element, bound by memory.
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

// Row v, by a warp, from its catalog gradient d_row [D]. Lane l owns columns l, l + 32 and so on, from first to last.
__device__ inline void finish_item_row(const ItemGradient& p, const AdamFactors& factors, std::int64_t v,
                                       float* d_row) {
  const auto id = static_cast<std::uint32_t>(v);
  const auto id_at = [&](std::int64_t i) { return p.ids[i]; };
  const std::int64_t first = lower_bound(p.entries, id, id_at);
  std::int64_t lookups = first;
  while (lookups < p.entries && p.ids[lookups] == id && p.sources[lookups] < p.B) ++lookups;
  const float* item = p.items + v * p.D;

  float along = 0, inverse = 1;
  if (p.normalize_items) {
    const float squared = warp_dot(p.D, item, item);
    inverse = squared > 0 ? 1 / sqrtf(squared) : 0.0f;
    for (std::int64_t d = lane_index(); d < p.D; d += kWarp) {
      float g = d_row[d];
      for (std::int64_t i = first; i < lookups; ++i) g -= p.weights[p.sources[i]] * p.queries[p.sources[i] * p.D + d];
      along += g * item[d] * inverse;
    }
    along = warp_sum(along);
  }
  for (std::int64_t d = lane_index(); d < p.D; d += kWarp) {
    float g = d_row[d];
    for (std::int64_t i = first; i < lookups; ++i) g -= p.weights[p.sources[i]] * p.queries[p.sources[i] * p.D + d];
    if (p.normalize_items) g = (g - item[d] * inverse * along) * inverse;
    for (std::int64_t i = lookups; i < p.entries && p.ids[i] == id; ++i)
      g += p.row_gradients[(p.sources[i] - p.B) * p.D + d];
    const std::int64_t at = v * p.D + d;
    if (p.update.d_items)
      p.update.d_items[at] = g;
    else
      adam_element(factors, g, p.update.items[at], p.update.moment1[at], p.update.moment2[at]);
  }
}

}  // namespace stamp::cuda
