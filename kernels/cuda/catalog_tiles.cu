// The catalog's loss by tiles of scores [B,T] through cuBLAS: any D, any precision. Scores of the tiles that the
// workspace holds are kept for backward, those of the others computed again: 6BVD to 8BVD flops. Beside the products a
// tile's scores move through memory four times, 16·B·T bytes; that is the bound beside 2·B·T·D flops a product.
#include <algorithm>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/item_update.h"
#include "kernels/cuda/last_block.h"

namespace stamp::cuda {
namespace {

constexpr Index kTileFloats = 4 << 20;  // of one tile of scores, about

// The largest score of a query so far, and Σ exp(z - top).
struct Running {
  float top, sum;
};

__device__ float block_reduce(float value, bool maximum) {
  __shared__ float parts[kWarps];
  value = maximum ? warp_max(value) : warp_sum(value);
  __syncthreads();
  if (lane_index() == 0) parts[threadIdx.x / kWarp] = value;
  __syncthreads();
  float all = parts[0];
  for (int i = 1; i < kWarps; ++i) all = maximum ? fmaxf(all, parts[i]) : all + parts[i];
  return all;
}

// y[n] = items[first + n] / |items[first + n]|, a warp a row; zero rows stay zero.
__global__ void normalized_items_kernel(Index N, Index D, const float* items, float* y) {
  const Index n = warp_index();
  if (n >= N) return;
  const float norm = sqrtf(warp_dot(D, items + n * D, items + n * D));
  for (Index d = lane_index(); d < D; d += kWarp) y[n * D + d] = norm > 0 ? items[n * D + d] / norm : 0.0f;
}

// A block owns query b: z -> exp(z - top) over the tile's products first … first + n - 1, top the largest so far.
// Products that are left out take part with a score that is as good as none; what backward has of them counts for
// nothing (item_update.h).
__global__ void __launch_bounds__(kThreads)
    softmax_tile_kernel(Index D, Index first, Index n, Index width, const std::int32_t* targets,
                        const std::uint64_t* excluded, float* z, float* losses, Running* running, float* tile_tops,
                        float* d_queries) {
  const Index b = blockIdx.x;
  float* row = z + b * width;
  const int thread = static_cast<int>(threadIdx.x);
  const Index target = targets[b] - first;
  if (thread == 0 && target >= 0 && target < n) losses[b] = -row[target];
  if (excluded) {
    __syncthreads();
    for (Index v = thread; v < n; v += kThreads)
      if (excluded[(first + v) / 64] >> ((first + v) % 64) & 1) row[v] = CatalogCrossEntropy::kExcludedScore;
  }
  const Running before = first == 0 ? Running{-INFINITY, 0} : running[b];
  float top = -INFINITY;
  for (Index v = thread; v < n; v += kThreads) top = fmaxf(top, row[v]);
  top = fmaxf(before.top, block_reduce(top, true));
  float sum = 0;
  for (Index v = thread; v < n; v += kThreads) sum += row[v] = expf(row[v] - top);
  sum = block_reduce(sum, false);
  const float shrink = first == 0 ? 0.0f : expf(before.top - top);
  for (Index d = thread; d < D; d += kThreads) d_queries[b * D + d] = first == 0 ? 0.0f : d_queries[b * D + d] * shrink;
  if (thread == 0) {
    running[b] = {top, before.sum * shrink + sum};
    tile_tops[b] = top;
  }
}

// A warp a query: loss, log Σ exp, and d_queries to its end. The last block adds up the step's loss.
__global__ void __launch_bounds__(kThreads)
    finish_queries_kernel(CatalogCrossEntropy p, const Running* running, float* losses, float* log_sums,
                          float* d_queries, unsigned* counts) {
  __shared__ bool last;
  const Index b = warp_index();
  if (b < p.B) {
    const Running all = running[b];
    const float* target = p.items + p.targets[b] * p.D;
    const float norm = p.normalize_items ? sqrtf(warp_dot(p.D, target, target)) : 1.0f;
    const float weight = p.weights[b], scale = norm > 0 ? weight / norm : 0.0f;
    if (lane_index() == 0) {
      log_sums[b] = all.top + logf(all.sum);
      losses[b] += log_sums[b];
    }
    for (Index d = lane_index(); d < p.D; d += kWarp)
      d_queries[b * p.D + d] = d_queries[b * p.D + d] * (weight / all.sum) - scale * target[d];
  }
  if (!p.step) return;
  __syncthreads();
  if (threadIdx.x == 0) last = comes_last(counts, gridDim.x - 1);
  __syncthreads();
  if (last) total_loss(p.B, p.weights, losses, p.step);
}

// A block a query: scores or kept exponentials -> w p.
__global__ void probabilities_kernel(Index n, Index width, const float* weights, const float* log_sums,
                                     const float* kept_tops, float* z) {
  const Index b = blockIdx.x;
  float* row = z + b * width;
  const float weight = weights[b], log_sum = log_sums[b];
  const float factor = kept_tops ? weight * expf(kept_tops[b] - log_sum) : weight;
  for (Index v = threadIdx.x; v < n; v += kThreads) row[v] = factor * (kept_tops ? row[v] : expf(row[v] - log_sum));
}

// A warp kOwnRows rows of a tile, whose gradients are d_items [n,D].
__global__ void __launch_bounds__(kThreads, 1)
    finish_items_kernel(ItemGradient p, Index first, Index n, float* d_items) {
  const Index row = warp_index() * kOwnRows;
  if (row >= n || (!p.update.d_items && p.update.step->stopped)) return;
  finish_item_rows(p, first + row, static_cast<int>(n - row < kOwnRows ? n - row : kOwnRows), d_items + row * p.D, 0);
}

}  // namespace

// How the catalog is cut, and where a tile's scores are.
struct CudaDevice::Tiles {
  Index width;         // products of a tile, the last one's excepted
  Index count;         // of tiles
  Index kept;          // whose exponentials stay in the workspace
  float* kept_scores;  // [kept][B,width]
  float* kept_tops;    // [kept][B]
  float* scores;       // [B,width] for the others
  float* items;        // [width,D], normalised
  float* tops;         // [B]
  Running* running;    // [B]
  float* of(Index t, Index B) const { return t < kept ? kept_scores + t * B * width : scores; }
  float* tops_of(Index t, Index B) const { return t < kept ? kept_tops + t * B : tops; }
};

CudaDevice::Tiles CudaDevice::tiles_of(const CatalogCrossEntropy& p) {
  Tiles tiles{};
  tiles.width = std::min(p.V, std::max<Index>(64, kTileFloats / std::max(p.B, p.D) / 64 * 64));
  tiles.count = (p.V + tiles.width - 1) / tiles.width;
  tiles.kept = p.workspace ? std::min(tiles.count, p.workspace_size / (p.B * (tiles.width + 1))) : 0;
  tiles.kept_scores = p.workspace;
  tiles.kept_tops = p.workspace + tiles.kept * p.B * tiles.width;
  const Index scores = tiles.kept < tiles.count ? p.B * tiles.width : 0;
  const Index items = p.normalize_items ? tiles.width * p.D : 0;
  tiles.scores = scores_.need(scores + items + 3 * p.B + 2);
  tiles.items = tiles.scores + scores;
  tiles.tops = tiles.items + items;
  tiles.running = reinterpret_cast<Running*>(tiles.tops + p.B);
  return tiles;
}

void CudaDevice::score_tiles(const CatalogCrossEntropy& p, float* losses, float* log_sums, float* d_queries) {
  const Tiles tiles = tiles_of(p);
  for (Index t = 0; t < tiles.count; ++t) {
    const Index first = t * tiles.width, n = std::min(tiles.width, p.V - first);
    const float* items = p.items + first * p.D;
    if (p.normalize_items) {
      launch("normalized items", normalized_items_kernel, blocks_for(n, kWarps), dim3(kThreads), 0, n, p.D, items,
             tiles.items);
      items = tiles.items;
    }
    float* z = tiles.of(t, p.B);
    product(p.B, n, p.D, p.queries, false, items, true, z, false);
    launch("catalog_cross_entropy", softmax_tile_kernel, dim3(static_cast<unsigned>(p.B)), dim3(kThreads), 0, p.D,
           first, n, n, p.targets, p.excluded, z, losses, tiles.running, tiles.tops_of(t, p.B), d_queries);
    product(p.B, p.D, n, z, false, items, false, d_queries, true);
  }
  launch("catalog_cross_entropy's end", finish_queries_kernel, blocks_for(p.B, kWarps), dim3(kThreads), 0, p,
         tiles.running, losses, log_sums, d_queries, arrived_.need(1));
}

void CudaDevice::score_tiles_backward(const CatalogCrossEntropy& p, const float* log_sums,
                                      const ItemGradient& gradient) {
  const Tiles tiles = tiles_of(p);
  float* d_items = gradient.update.d_items ? nullptr : item_gradient_.need(tiles.width * p.D);
  for (Index t = 0; t < tiles.count; ++t) {
    const Index first = t * tiles.width, n = std::min(tiles.width, p.V - first);
    const bool kept = t < tiles.kept;
    float* z = tiles.of(t, p.B);
    if (!kept) {
      const float* items = p.items + first * p.D;
      if (p.normalize_items) {
        launch("normalized items", normalized_items_kernel, blocks_for(n, kWarps), dim3(kThreads), 0, n, p.D, items,
               tiles.items);
        items = tiles.items;
      }
      product(p.B, n, p.D, p.queries, false, items, true, z, false);
    }
    launch("catalog_cross_entropy_backward", probabilities_kernel, dim3(static_cast<unsigned>(p.B)), dim3(kThreads), 0,
           n, n, p.weights, log_sums, kept ? tiles.tops_of(t, p.B) : nullptr, z);
    float* d_tile = gradient.update.d_items ? gradient.update.d_items + first * p.D : d_items;
    product(n, p.D, p.B, z, true, p.queries, false, d_tile, false);
    launch("catalog_cross_entropy_backward's end", finish_items_kernel, blocks_for(n, kOwnRows * kWarps),
           dim3(kThreads), 0, gradient, first, n, d_tile);
  }
}

}  // namespace stamp::cuda
