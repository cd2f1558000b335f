// Softmax cross-entropy over the catalog without a B x V matrix, shaped like flash attention: the item table is both
// keys and values. Compute-bound.
//
// The catalog is cut into tiles of kTile products; fixed runs of tiles are the parts that threads take, so sums never
// depend on the number of threads. Forward, per tile and block of queries: z = q Eᵀ, a running maximum and sum per
// query, and d_q = exp(z - max) E rescaled as the maximum grows: 4 B·kTile·D flops on operands that stay in the
// second-level cache. Backward, per tile: d_E = exp(z - log_sum)ᵀ (weight q), 2 B·kTile·D flops when forward could
// leave the exponentials in the workspace, 4 when they are computed again. The tile's owner then adds the gradients of
// looked-up rows and applies Adam while the tile is in cache.
//
// Flops of a step: 6BVD where the exponentials fit into the workspace (4·B·V bytes in fp32, 2·B·V in bf16), 8BVD where
// nothing does, anything between otherwise. In bf16 (catalog_tiles.h) the operands of these products are rounded as
// they are packed; everything else is fp32: scores, their exponentials' sums, gradients, and what targets subtract.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/adam.h"
#include "kernels/cpu/catalog_tiles.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_pool.h"

namespace stamp::cpu {

namespace {

constexpr Index kParts = 64;  // at most: small, so that nobody waits long for a thread that is late
constexpr float kLowest = -std::numeric_limits<float>::infinity();

Index tiles(Index V) { return (V + kTile - 1) / kTile; }

// The exponentials of the tiles that the workspace has room for, one tile after the other, and behind all of them the
// maxima they were taken against, [tiles,B].
template <class Tile>
struct Workspace {
  using Exponential = typename Tile::Exponential;
  static_assert(sizeof(Exponential) == sizeof(float));

  explicit Workspace(const CatalogCrossEntropy& p)
      : B(p.B),
        kept(p.workspace ? std::min(tiles(p.V), p.workspace_size / (Tile::kept_size(B) + B)) : 0),
        exponentials(reinterpret_cast<Exponential*>(p.workspace)),
        maxima(p.workspace + kept * Tile::kept_size(B)) {}

  // Of queries b … in tile t; null where there is no room. A block begins with an even query.
  Exponential* of(Index t, Index b = 0) const {
    return t < kept ? exponentials + t * Tile::kept_size(B) + Tile::kept_size(b) : nullptr;
  }
  float* maxima_of(Index t) const { return maxima + t * B; }

  Index B, kept;
  Exponential* exponentials;
  float* maxima;
};

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

// The products of a tile that are left out, [returned number], by their places in it.
Index excluded_places(const CatalogCrossEntropy& p, Index first, Index n, Index* places) {
  if (!p.excluded) return 0;
  Index count = 0;
  for (Index v = first; v < first + n; ++v)
    if (p.excluded[v / 64] >> (v % 64) & 1) places[count++] = v - first;
  return count;
}

void leave_out(Index count, const Index* places, float* scores) {
  for (Index i = 0; i < count; ++i) scores[places[i]] = CatalogCrossEntropy::kExcludedScore;
}

// What one part of the catalog adds up, for each query.
struct Sums {
  float* maxima;  // [B]
  float* totals;  // [B] Σ exp(z - maximum)
  float* values;  // [B,padded(D)] Σ exp(z - maximum) x
};

template <class Tile>
void attend(const CatalogCrossEntropy& p, const std::vector<Bf16Pair>& queries, Index from, Index to, const Sums& sums,
            float* losses) {
  const Index B = p.B, D = p.D, W = padded(D);
  const Workspace<Tile> workspace(p);
  std::fill_n(sums.maxima, B, kLowest);
  std::fill_n(sums.totals, B, 0.0f);
  std::fill_n(sums.values, B * W, 0.0f);
  float* copy = scratch<float, 5>(p.normalize_items ? kTile * D : 0);
  float* norms = scratch<float, 6>(kTile);
  Index places[kTile];
  Tile tile(p, queries);
  for (Index t = from; t < to; ++t) {
    const Index first = t * kTile, n = std::min(kTile, p.V - first);
    const Index left_out = excluded_places(p, first, n, places);
    tile.load(n, tile_items(p, first, n, copy, norms), true);
    for (Index block = 0; block < B; block += kQueriesAtOnce) {
      const Index rows = std::min(kQueriesAtOnce, B - block);
      auto* kept = workspace.of(t, block);
      float* z = tile.scores(block, rows, kept);
      for (Index b = block; b < block + rows; ++b) {
        float* row = z + (b - block) * kTile;
        const Index target = p.targets[b] - first;
        if (target >= 0 && target < n) losses[b] = -row[target];
        leave_out(left_out, places, row);
        const float top = simd().max(n, row);
        if (!(top <= sums.maxima[b])) {
          const float shrink = sums.maxima[b] == kLowest ? 0 : std::exp(sums.maxima[b] - top);
          sums.totals[b] *= shrink;
          simd().scale(W, shrink, sums.values + b * W);
          sums.maxima[b] = top;
        }
        if (kept) workspace.maxima_of(t)[b] = sums.maxima[b];
        sums.totals[b] += simd().exp_sum(n, sums.maxima[b], row);
      }
      tile.add_values(rows, z, sums.values + block * W);
      if (kept) tile.keep(rows, z, kept);
    }
  }
}

// d_items[n,D] of tile t, but for targets and lookups.
template <class Tile>
void softmax_gradient(const CatalogCrossEntropy& p, const std::vector<Bf16Pair>& queries, const float* log_sums,
                      Index t, Index n, const float* items, float* d_items) {
  const Workspace<Tile> workspace(p);
  Tile tile(p, queries);
  if (const auto* kept = workspace.of(t)) {
    float* factors = scratch<float, 17>(p.B);
    for (Index b = 0; b < p.B; ++b) factors[b] = p.weights[b] * std::exp(workspace.maxima_of(t)[b] - log_sums[b]);
    tile.scale_queries(factors);
    for (Index block = 0; block < p.B; block += kQueriesAtOnce) {
      const Index rows = std::min(kQueriesAtOnce, p.B - block), size = Tile::kept_size(rows);
      auto* near = scratch<typename Tile::Exponential, 7>(size);  // read in order: the product goes by columns
      std::copy_n(kept + Tile::kept_size(block), size, near);
      tile.add_gradient(n, block, rows, near, d_items, block > 0);
    }
    return;
  }
  Index places[kTile];
  const Index left_out = excluded_places(p, t * kTile, n, places);
  tile.load(n, items, false);
  tile.scale_queries(p.weights);
  for (Index block = 0; block < p.B; block += kQueriesAtOnce) {
    const Index rows = std::min(kQueriesAtOnce, p.B - block);
    float* z = tile.scores(block, rows, nullptr);
    for (Index r = 0; r < rows; ++r) {
      leave_out(left_out, places, z + r * kTile);
      simd().exp_sum(n, log_sums[block + r], z + r * kTile);
    }
    tile.add_gradient(n, block, rows, tile.keep(rows, z, nullptr), d_items, block > 0);
  }
}

// step->loss = Σ weights · losses, and what follows from it.
void total_loss(Index B, const float* weights, const float* losses, TrainingStep* step) {
  if (step->stopped) return;
  step->loss = 0;
  for (Index b = 0; b < B; ++b)
    if (weights[b] != 0) step->loss += double{weights[b]} * losses[b];
  step->stopped = !(step->loss < step->limit);
  if (step->stopped) return;
  step->loss_sum += step->weight * step->loss;
  step->done = step->number;
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
  const Index B = p.B, D = p.D, W = padded(D), count = tiles(p.V), parts = std::min(kParts, count);
  running_.resize(parts * B * 2);
  partial_.resize(parts * B * W);
  const auto sums_of = [&](Index part) {
    float* maxima = running_.data() + part * 2 * B;
    return Sums{maxima, maxima + B, partial_.data() + part * B * W};
  };
  const bool in_bf16 = precision_ == Precision::bf16;
  if (in_bf16) Bf16Tile::pair_queries(p, query_pairs_);
  parallel_for(parts, threads_, [&](Index part) {
    const auto work = in_bf16 ? attend<Bf16Tile> : attend<Fp32Tile>;
    work(p, query_pairs_, part * count / parts, (part + 1) * count / parts, sums_of(part), losses);
  });

  parallel_for_ranges(B, 16, threads_, [&](Index from, Index to) {
    for (Index b = from; b < to; ++b) {
      float top = kLowest;
      for (Index part = 0; part < parts; ++part) {
        const float other = sums_of(part).maxima[b];
        if (!(other <= top)) top = other;
      }
      float sum = 0;
      float* d_q = d_queries + b * D;
      std::fill_n(d_q, D, 0.0f);
      for (Index part = 0; part < parts; ++part) {
        const Sums sums = sums_of(part);
        const float factor = std::exp(sums.maxima[b] - top);
        sum += sums.totals[b] * factor;
        simd().axpy(D, factor, sums.values + b * W, d_q);
      }
      log_sums[b] = top + std::log(sum);
      losses[b] += log_sums[b];
      simd().scale(D, p.weights[b] / sum, d_q);
      float norm;
      const float* target = tile_items(p, p.targets[b], 1, scratch<float, 5>(D), &norm);
      simd().axpy(D, -p.weights[b], target, d_q);
    }
  });
  if (p.step) total_loss(B, p.weights, losses, p.step);
}

void CpuDevice::sort_rows(const CatalogCrossEntropy& p, Index L) {
  order_.resize(p.B + L);
  sort_by_id(p.targets, p.B, order_.data());
  sort_by_id(p.targets + p.B, L, order_.data() + p.B);
}

void CpuDevice::catalog_cross_entropy_backward(const CatalogCrossEntropy& p, const float* log_sums, Index L,
                                               const float* row_gradients, const ItemUpdate& update) {
  const Index B = p.B, D = p.D, V = p.V;
  const AdamFactors factors = update.step ? adam_factors(*update.step) : AdamFactors{};
  const std::int64_t *by_target = order_.data(), *by_row = by_target + B;

  parallel_for(tiles(V), threads_, [&](Index t) {
    const Index first = t * kTile, n = std::min(kTile, V - first);
    float* copy = scratch<float, 5>(p.normalize_items ? kTile * D : 0);
    float* norms = scratch<float, 6>(kTile);
    float* d_items = update.d_items ? update.d_items + first * D : scratch<float, 9>(kTile * D);
    const float* items = tile_items(p, first, n, copy, norms);

    const auto work = precision_ == Precision::bf16 ? softmax_gradient<Bf16Tile> : softmax_gradient<Fp32Tile>;
    work(p, query_pairs_, log_sums, t, n, items, d_items);
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
