// Softmax cross-entropy over the catalog without a B x V matrix, shaped like flash attention: the item table is both
// keys and values. Compute-bound.
//
// The catalog is cut into tiles of kTile products; fixed runs of tiles are the parts that threads take, so sums never
// depend on the number of threads. Forward, per tile: z = q Eᵀ, a running maximum and sum per query, and
// d_q = exp(z - max) E rescaled as the maximum grows: 4 B·kTile·D flops on operands that stay in the second-level
// cache. Backward, per tile: d_E = exp(z - log_sum)ᵀ (weight q), 2 B·kTile·D flops when forward could leave the
// exponentials in the workspace, 4 when they are computed again. The tile's owner then adds the gradients of looked-up
// rows and applies Adam while the tile is in cache.
//
// Flops of a step: 6BVD where B·V floats fit into the workspace, 8BVD where nothing does, anything between otherwise.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/cpu/adam.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_pool.h"

namespace stamp::cpu {

namespace {

constexpr Index kTile = 512;
constexpr Index kParts = 16;

Index tiles(Index V) { return (V + kTile - 1) / kTile; }

// Exponentials of tile t are kept as [B,kTile] at t * B * kTile, with the maximum they were taken against behind all
// of them: [kept,B].
Index kept_tiles(const CatalogCrossEntropy& p) {
  return p.workspace ? std::min(tiles(p.V), p.workspace_size / (p.B * (kTile + 1))) : 0;
}

// The items of a tile as the scores see them, [n,D]: the table's own rows, or copies of length 1.
const float* tile_items(const CatalogCrossEntropy& p, Index first, Index n, float* copy, float* norms) {
  const float* items = p.items + first * p.D;
  if (!p.normalize_items) return items;
  for (Index v = 0; v < n; ++v) {
    norms[v] = std::sqrt(simd().dot(p.D, items + v * p.D, items + v * p.D));
    std::memcpy(copy + v * p.D, items + v * p.D, p.D * sizeof(float));
    if (norms[v] > 0) simd().scale(p.D, 1 / norms[v], copy + v * p.D);
  }
  return copy;
}

// z[B,kTile] = queries · itemsᵀ
void score_tile(const CatalogCrossEntropy& p, const float* items, Index n, float* z) {
  float* lines = scratch<float, 4>(p.D * kTile);
  const Index width = (n + 63) / 64 * 64;  // whole vectors; what stands beyond n is zero and never read
  simd().transpose(n, p.D, items, p.D, nullptr, lines, width);
  simd().gemm(p.B, width, p.D, p.queries, p.D, 1, lines, width, z, kTile, false);
}

// Indices 0 … n-1 ordered by ids, equal ids by index.
void sort_by_id(const std::int32_t* ids, Index n, std::int64_t* order) {
  for (Index i = 0; i < n; ++i) order[i] = std::int64_t{ids[i]} << 32 | i;
  std::sort(order, order + n);
}

// Calls visit(id, index) for those entries of `order` whose id is in [first, last).
template <class F>
void for_ids(const std::int64_t* order, Index n, Index first, Index last, F&& visit) {
  const auto* entry = std::lower_bound(order, order + n, first << 32);
  for (; entry < order + n && (*entry >> 32) < last; ++entry) visit(*entry >> 32, *entry & 0xffffffff);
}

}  // namespace

void CpuDevice::catalog_cross_entropy(const CatalogCrossEntropy& p, float* losses, float* log_sums, float* d_queries) {
  const Index B = p.B, D = p.D, V = p.V, count = tiles(V), kept = kept_tiles(p);
  const Index parts = std::min(kParts, count);
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  running_.resize(parts * B * 2);  // per part: maximum [B], sum [B]
  partial_.resize(parts * B * D);  // per part: Σ exp(z - maximum) x
  float* kept_max = p.workspace + kept * B * kTile;

  parallel_for(parts, threads_, [&](Index part) {
    float* maxima = running_.data() + part * 2 * B;
    float* sums = maxima + B;
    float* d_q = partial_.data() + part * B * D;
    std::fill_n(maxima, B, kLowest);
    std::fill_n(sums, B, 0.0f);
    std::fill_n(d_q, B * D, 0.0f);
    float* copy = scratch<float, 5>(p.normalize_items ? kTile * D : 0);
    float* norms = scratch<float, 6>(kTile);
    for (Index t = part * count / parts; t < (part + 1) * count / parts; ++t) {
      const Index first = t * kTile, n = std::min(kTile, V - first);
      float* z = t < kept ? p.workspace + t * B * kTile : scratch<float, 7>(B * kTile);
      const float* items = tile_items(p, first, n, copy, norms);
      score_tile(p, items, n, z);
      for (Index b = 0; b < B; ++b) {
        float* row = z + b * kTile;
        const Index target = p.targets[b] - first;
        if (target >= 0 && target < n) losses[b] = -row[target];
        const float top = simd().max(n, row);
        if (!(top <= maxima[b])) {
          const float shrink = maxima[b] == kLowest ? 0 : std::exp(maxima[b] - top);
          sums[b] *= shrink;
          simd().scale(D, shrink, d_q + b * D);
          maxima[b] = top;
        }
        if (t < kept) kept_max[t * B + b] = maxima[b];
        sums[b] += simd().exp_sum(n, maxima[b], row);
      }
      simd().gemm(B, D, n, z, kTile, 1, items, D, d_q, D, true);
    }
  });

  parallel_for_ranges(B, 16, threads_, [&](Index from, Index to) {
    for (Index b = from; b < to; ++b) {
      float top = kLowest;
      for (Index part = 0; part < parts; ++part) {
        const float other = running_[part * 2 * B + b];
        if (!(other <= top)) top = other;
      }
      float sum = 0;
      float* d_q = d_queries + b * D;
      std::fill_n(d_q, D, 0.0f);
      for (Index part = 0; part < parts; ++part) {
        const float factor = std::exp(running_[part * 2 * B + b] - top);
        sum += running_[part * 2 * B + B + b] * factor;
        simd().axpy(D, factor, partial_.data() + (part * B + b) * D, d_q);
      }
      log_sums[b] = top + std::log(sum);
      losses[b] += log_sums[b];
      simd().scale(D, p.weights[b] / sum, d_q);
      float norm;
      const float* target = tile_items(p, p.targets[b], 1, scratch<float, 5>(D), &norm);
      simd().axpy(D, -p.weights[b], target, d_q);
    }
  });
}

void CpuDevice::catalog_cross_entropy_backward(const CatalogCrossEntropy& p, const float* log_sums, Index L,
                                               const std::int32_t* row_ids, const float* row_gradients,
                                               const ItemUpdate& update) {
  const Index B = p.B, D = p.D, V = p.V, kept = kept_tiles(p);
  const float* kept_max = p.workspace + kept * B * kTile;
  const AdamFactors factors = update.step ? adam_factors(*update.step) : AdamFactors{};
  order_.resize(B + L);
  std::int64_t* by_target = order_.data();
  std::int64_t* by_row = by_target + B;
  sort_by_id(p.targets, B, by_target);
  sort_by_id(row_ids, L, by_row);

  parallel_for(tiles(V), threads_, [&](Index t) {
    const Index first = t * kTile, n = std::min(kTile, V - first);
    float* copy = scratch<float, 5>(p.normalize_items ? kTile * D : 0);
    float* norms = scratch<float, 6>(kTile);
    float* scaled = scratch<float, 8>(B * D);  // queries times what is missing from the exponentials
    float* d_items = update.d_items ? update.d_items + first * D : scratch<float, 9>(kTile * D);
    const float* items = tile_items(p, first, n, copy, norms);

    float* z = p.workspace + t * B * kTile;
    if (t >= kept) {
      z = scratch<float, 7>(B * kTile);
      score_tile(p, items, n, z);
    }
    for (Index b = 0; b < B; ++b) {
      float factor = p.weights[b];
      if (t < kept)
        factor *= std::exp(kept_max[t * B + b] - log_sums[b]);
      else
        simd().exp_sum(n, log_sums[b], z + b * kTile);
      std::memcpy(scaled + b * D, p.queries + b * D, D * sizeof(float));
      simd().scale(D, factor, scaled + b * D);
    }
    simd().gemm(n, D, B, z, 1, kTile, scaled, D, d_items, D, false);
    for_ids(by_target, B, first, first + n,
            [&](Index id, Index b) { simd().axpy(D, -p.weights[b], p.queries + b * D, d_items + (id - first) * D); });
    if (p.normalize_items)  // y = e/|e|: d_e = (d_y - y (y · d_y)) / |e|
      for (Index v = 0; v < n; ++v) {
        if (norms[v] == 0) {
          std::fill_n(d_items + v * D, D, 0.0f);
          continue;
        }
        simd().axpy(D, -simd().dot(D, items + v * D, d_items + v * D), items + v * D, d_items + v * D);
        simd().scale(D, 1 / norms[v], d_items + v * D);
      }
    for_ids(by_row, L, first, first + n,
            [&](Index id, Index l) { simd().axpy(D, 1, row_gradients + l * D, d_items + (id - first) * D); });
    if (!update.d_items && !update.step->stopped)
      simd().adam(n * D, d_items, update.items + first * D, update.moment1 + first * D, update.moment2 + first * D,
                  factors);
  });
}

}  // namespace stamp::cpu
