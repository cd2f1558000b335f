// The end of item rows' gradients: what targets and lookups add, and Adam or the store.
//
//   d_y_v = Σ_b w_b p_bv q_b  -  Σ_{target_b = v} w_b q_b            the first sum from the owner of a tile
//   d_e_v = d_y_v, or (d_y - x (x·d_y)/|x|²)/|x| for cosine scores   + Σ_{id_l = v} row_gradients_l
//
// Targets and lookups are entries, sorted by product (stable, targets first), so every sum has one order and no atomics
// are needed. Runs of entries of one product and kind are summed beforehand (item_entries.cu), in pieces that end at
// multiples of kPiece, so that no owner walks through thousands. A warp owns 32 rows, whose weights and moments move
// through memory once: 24 bytes an element, which is the bound, and W·2 a row where their bf16 copy is kept.
#pragma once

#include "kernels/cuda/adam.h"
#include "kernels/cuda/tensor_rows.h"

namespace stamp::cuda {

constexpr int kPiece = 64;    // of a run of entries, at most
constexpr int kOwnRows = 32;  // of a warp

struct ItemGradient {
  Index D, V;
  const float* items;  // [V,D]
  bool normalize_items;
  Index B;                       // sources below are targets
  const std::uint32_t* ids;      // [entries], sorted
  const std::uint32_t* sources;  // [entries]: example b, or B + l for lookup l
  const unsigned* heads;         // a bit for each entry: it begins a piece
  const float* sums;             // [entries,D], of the piece that begins here
  const std::int32_t* bounds;    // [groups + 1]: the entries of each kOwnRows products
  const AdamFactors* factors;
  const std::uint64_t* excluded;  // bit set of products that are in no softmax; or null
  ItemUpdate update;
};

// The first entry from i on that begins a piece, or end.
__device__ inline int next_head(const unsigned* heads, int i, int end) {
  while (i < end) {
    if (const unsigned bits = heads[i / 32] >> (i % 32)) {
      i += __ffs(static_cast<int>(bits)) - 1;
      break;
    }
    i = (i / 32 + 1) * 32;
  }
  return i < end ? i : end;
}

// d_rows += the pieces of entries begin … end - 1, of targets or lookups or both, in their order.
__device__ inline void add_entries(const ItemGradient& p, int begin, int end, Index first, float* d_rows, bool targets,
                                   bool lookups) {
  constexpr int kAtOnce = 4, kColumns = 4;
  for (int i = next_head(p.heads, begin, end); i < end;) {
    int heads[kAtOnce];
    float* rows[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      heads[j] = i;
      i = next_head(p.heads, i + 1, end);
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const bool wanted = heads[j] < end && (p.sources[heads[j]] < p.B ? targets : lookups);
      rows[j] = wanted ? d_rows + (p.ids[heads[j]] - first) * p.D : nullptr;
    }
    for (Index column = lane_index(); column < p.D; column += kColumns * kWarp) {
      float sums[kAtOnce][kColumns];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j)
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const Index d = column + c * kWarp;
          sums[j][c] = rows[j] && d < p.D ? p.sums[heads[j] * p.D + d] : 0.0f;
        }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j)
#pragma unroll
        for (int c = 0; c < kColumns; ++c)
          if (const Index d = column + c * kWarp; rows[j] && d < p.D) rows[j][d] += sums[j][c];
    }
  }
}

constexpr int kRowsAtOnce = 4;  // whose sums a warp shuffles together

// From the gradients of x/|x| to those of x. Zero rows get none.
__device__ inline void normalize_gradients(Index D, int n, const float* items, float* d_rows) {
  for (int row = 0; row < n; row += kRowsAtOnce) {
    float squared[kRowsAtOnce] = {}, along[kRowsAtOnce] = {};
    for (Index d = lane_index(); d < D; d += kWarp)
#pragma unroll
      for (int j = 0; j < kRowsAtOnce; ++j)
        if (row + j < n) {
          const float x = items[(row + j) * D + d];
          squared[j] = fmaf(x, x, squared[j]);
          along[j] = fmaf(x, d_rows[(row + j) * D + d], along[j]);
        }
    warp_sums(squared);
    warp_sums(along);
    for (Index d = lane_index(); d < D; d += kWarp)
#pragma unroll
      for (int j = 0; j < kRowsAtOnce; ++j)
        if (row + j < n) {
          const float inverse = unit_scale(squared[j]);
          float& g = d_rows[(row + j) * D + d];
          g = fmaf(-along[j] * inverse * inverse, items[(row + j) * D + d], g) * inverse;
        }
  }
}

// The bf16 copy of rows [n,D], as bf16_rows_kernel makes it. In shared memory rows meet in banks, eight where 32
// divides D and two at D = 100; what is written is whole lines.
__device__ inline void copy_in_bf16(Index D, int W, int n, bool normalize, const float* rows, std::uint32_t* y) {
  for (int first = 0; first < n; first += kCore) {
    float scale = 1;  // of the row that this lane writes
#pragma unroll 1
    for (int row = first; normalize && row < first + kCore; row += kRowsAtOnce) {
      float squared[kRowsAtOnce] = {};
      for (Index d = lane_index(); d < D; d += kWarp)
#pragma unroll
        for (int j = 0; j < kRowsAtOnce; ++j)
          if (row + j < n) squared[j] = fmaf(rows[(row + j) * D + d], rows[(row + j) * D + d], squared[j]);
      warp_sums(squared);
#pragma unroll
      for (int j = 0; j < kRowsAtOnce; ++j)
        if (first + lane_index() / 4 == row + j) scale = unit_scale(squared[j]);
    }
    const auto pair = [&](int row, int column) {
      const auto at = [&](Index d) { return first + row < n && d < D ? rows[(first + row) * D + d] * scale : 0.0f; };
      return make_float2(at(column), at(column + 1));
    };
    write_bf16_rows(W, pair, y + first * (W / 2));
  }
}

// Rows first … first + n - 1 by a warp, from their d_rows [n,D], in shared or device memory, aligned to 16 bytes, which
// the whole warp sees; first is a multiple of kOwnRows. Uses what d_rows hold. W: of the copy, where there is one.
__device__ inline void finish_item_rows(const ItemGradient& p, Index first, int n, float* d_rows, int W) {
  const int begin = p.bounds[first / kOwnRows], end = p.bounds[first / kOwnRows + 1];
  const float* items = p.items + first * p.D;
  if (p.excluded)
    for (int row = 0; row < n; ++row)
      if (p.excluded[(first + row) / 64] >> ((first + row) % 64) & 1)
        for (Index d = lane_index(); d < p.D; d += kWarp) d_rows[row * p.D + d] = 0;
  add_entries(p, begin, end, first, d_rows, true, !p.normalize_items);
  if (p.normalize_items) {
    normalize_gradients(p.D, n, items, d_rows);
    add_entries(p, begin, end, first, d_rows, false, true);
  }
  __syncwarp();

  const Index at = first * p.D;
  if (p.update.d_items) {
    if (d_rows != p.update.d_items + at)
      for (Index i = lane_index(); i < n * p.D; i += kWarp) p.update.d_items[at + i] = d_rows[i];
    return;
  }
  AdamElements{d_rows, p.update.items + at, p.update.moment1 + at, p.update.moment2 + at,
               p.update.rounded ? d_rows : nullptr}
      .update<5>(*p.factors, lane_index(), kWarp, n * p.D);
  if (!p.update.rounded) return;
  __syncwarp();
  copy_in_bf16(p.D, W, n, p.normalize_items, d_rows,
               reinterpret_cast<std::uint32_t*>(p.update.rounded) + first * (W / 2));
}

}  // namespace stamp::cuda
