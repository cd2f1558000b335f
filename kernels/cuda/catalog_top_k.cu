// Exact top-k over the catalog: which way a call goes, pass 1 in fp32, and lists too long for pass 2 (top_k.h).
//
// Pass 1 in fp32 scores everything, for the ranks of targets (and for rows of which 32 do not fit into shared memory).
// Bounds of bf16 would not pay for ranks: for a target in the middle of the catalog they leave most chunks undecided,
// and a score of pass 2 costs as much as fifteen here, where a product in shared memory meets many queries.
//
// Items lie in panels of 64, one line per dimension. A block owns 8·R queries and a part of the catalog, a warp R of
// the queries: two panels at a time come into shared memory, 32 dimensions after another, and each lane adds up the
// scores of four products for its R queries in the order of the dimensions, so a score is the same for any batch.
//
// 2·B·V·D flops in fp32, 4·V·D bytes for each 8·R queries: at V = 43,097, D = 100, B = 512 4.4 Gflop, 0.1 ms at 45
// Tflop/s; of each 4 dimensions a warp loads 24 lines of shared memory for 128 fmaf, so these bound it.
#include <ptx.h>
#include <sort.h>

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/top_k.h"

namespace stamp::cuda {
namespace {

constexpr int kProducts = 2 * kPanel;        // of a tile
constexpr int kPerLane = kProducts / kWarp;  // whose scores a lane adds up
constexpr int kLines = 32;                   // dimensions in shared memory at once
constexpr Index kMostBounds = 1 << 25;       // of chunks, at once: 128 MiB

__global__ void target_scores_kernel(CatalogTopK p, float* scores) {
  const Index b = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (b < p.B) scores[b] = p.targets[b] >= 0 ? score(p, b, p.targets[b]) : NAN;
}

// Bounds, which are scores here; ranks [parts][B], of the targets.
template <int R>
__global__ void __launch_bounds__(kThreads, 2)
    score_chunks_kernel(CatalogTopK p, ChunkBounds bounds, const float* target_scores, Rank* ranks) {
  __shared__ float lines[kLines][kProducts];
  __shared__ __align__(16) float queries[kWarps * R][kLines];
  const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / kWarp;
  const Index tiles = (p.V + kProducts - 1) / kProducts, end = (p.V + kPanel - 1) / kPanel * kPanel;
  const Index part = blockIdx.x, parts = gridDim.x, block_first = static_cast<Index>(blockIdx.y) * kWarps * R;
  const Index own_first = block_first + warp * R;
  int above[R] = {}, tied[R] = {};

  for (Index tile = part * tiles / parts; tile < (part + 1) * tiles / parts; ++tile) {
    const Index first = tile * kProducts;
    float z[R][kPerLane] = {};
    for (Index line = 0; line < p.D; line += kLines) {
      for (int i = static_cast<int>(threadIdx.x); i < kLines * kProducts; i += kThreads) {
        const Index v = first + i % kProducts, d = line + i / kProducts;
        lines[i / kProducts][i % kProducts] =
            v < end && d < p.D ? panels_of(p)[v / kPanel * kPanel * p.D + d * kPanel + v % kPanel] : 0.0f;
      }
      for (int i = static_cast<int>(threadIdx.x); i < kWarps * R * kLines; i += kThreads) {
        const Index b = block_first + i / kLines, d = line + i % kLines;
        queries[i / kLines][i % kLines] = b < p.B && d < p.D ? p.queries[b * p.D + d] : 0.0f;
      }
      __syncthreads();
      const int n = static_cast<int>(p.D - line < kLines ? p.D - line : kLines);
      for (int d = 0; d < n; d += 4) {  // beyond n are zeros
        float4 query[R];
#pragma unroll
        for (int r = 0; r < R; ++r) query[r] = *reinterpret_cast<const float4*>(&queries[warp * R + r][d]);
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) {
          const float *line_at = &lines[d][lane + kWarp * j], x0 = line_at[0], x1 = line_at[kProducts],
                      x2 = line_at[2 * kProducts], x3 = line_at[3 * kProducts];
#pragma unroll
          for (int r = 0; r < R; ++r)
            z[r][j] = fmaf(query[r].w, x3, fmaf(query[r].z, x2, fmaf(query[r].y, x1, fmaf(query[r].x, x0, z[r][j]))));
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const Index b = own_first + r;
      if (b >= p.B) continue;  // the warp's, whole
      const Filter filter(p, b);
      const Floors floors(p.floors, b);
      for (int i = floors.at(first); i < floors.last && floors.ids[i] < first + kProducts; ++i) {
        const int place = static_cast<int>(floors.ids[i] - first);
#pragma unroll
        for (int j = 0; j < kPerLane; ++j)
          if (place == lane + kWarp * j) z[r][j] = raised(z[r][j], floors.values[i]);
      }
      const float target = p.targets ? target_scores[b] : NAN;
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) {
        const Index v = first + lane + kWarp * j, chunk = v / kChunk;
        above[r] += v < p.V && z[r][j] > target;
        tied[r] += v < p.V && z[r][j] == target;
        const float candidate = v < p.V && !filter.excludes(v) ? filter.boosted(z[r][j], v) : -INFINITY;
        float top = std::isnan(candidate) ? -INFINITY : candidate;  // never listed
        for (int bits = kChunk / 2; bits > 0; bits /= 2) top = fmaxf(top, __shfl_xor_sync(kAll, top, bits));
        if (lane % kChunk == 0 && chunk < bounds.chunks) bounds.upper[b * bounds.chunks + chunk] = top;
      }
    }
  }

  if (!p.targets) return;
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const Index b = own_first + r;
    if (b >= p.B) continue;
    const std::int64_t all_above = warp_sum(above[r]), all_tied = warp_sum(tied[r]);
    if (lane == 0) ranks[part * p.B + b] = {all_above, all_tied};
  }
}

// Adds the parts of a rank up. A thread a query.
__global__ void ranks_kernel(CatalogTopK p, int parts, const float* target_scores, const Rank* ranks) {
  const Index b = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (b >= p.B) return;
  Rank all{0, 0};
  for (int part = 0; part < parts; ++part) {
    all.above += ranks[part * p.B + b].above;
    all.tied += ranks[part * p.B + b].tied;
  }
  const bool counted = p.targets[b] >= 0 && !std::isnan(target_scores[b]);
  p.above[b] = counted ? all.above : p.V;
  p.tied[b] = counted ? all.tied - 1 : 0;
}

// All keys of query b [V]; a thread a product.
__global__ void keys_kernel(CatalogTopK p, Index b, Key* keys) {
  const Index v = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (v < p.V) keys[v] = Filter(p, b).key(score(p, b, v), v);
}

__global__ void sorted_list_kernel(CatalogTopK p, Index b, const Key* ascending) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= p.k) return;
  const Key key = i < p.V ? ascending[p.V - 1 - i] : 0;
  p.ids[b * p.k + i] = key ? id_of(key) : -1;
  p.scores[b * p.k + i] = key ? score_of(key) : -INFINITY;
}

}  // namespace

void CudaDevice::catalog_top_k(const CatalogTopK& problem) {
  CatalogTopK p = problem;
  if (!p.packed) {
    std::byte* packed = packed_.need(packed_size(p.V, p.D));
    pack_items(p.V, p.D, p.items, packed);
    p.packed = packed;
  }
  // As many queries at once as their bounds leave room for.
  const Index chunks = (p.V + kPanel - 1) / kPanel * (kPanel / kChunk),
              at_once = std::max<Index>(1, kMostBounds / chunks);
  for (Index first = 0; first < problem.B; first += at_once) {
    p.B = std::min(at_once, problem.B - first);
    list_best(p, chunks);
    p.queries += p.B * p.D;
    if (p.floors.begin) p.floors.begin += p.B;
    if (p.excluded) p.excluded += p.B;
    if (p.boosts) p.boosts += p.B;
    if (p.targets) p.targets += p.B, p.above += p.B, p.tied += p.B;
    p.ids += p.B * p.k;
    p.scores += p.B * p.k;
  }
}

void CudaDevice::list_best(const CatalogTopK& p, Index chunks) {
  const Index k = std::min(p.k, p.V);
  const bool sorts = !can_select(chunks, k), exact = p.targets || !can_scan_bounds(p.D);
  ChunkBounds bounds{.chunks = chunks, .upper = nullptr};
  if (!sorts || p.targets) bounds.upper = bounds_.need((p.boosts && !exact ? 2 : 1) * p.B * chunks);
  if (p.boosts && !exact) bounds.lower = bounds.upper + p.B * chunks;
  if (p.targets || (!sorts && exact))
    score_chunks(p, bounds);
  else if (!sorts)
    scan_bounds(p, bounds);
  if (sorts)
    sort_scores(p);
  else
    select_chunks(p, static_cast<int>(k), bounds);
}

// Pass 1 in fp32, into `bounds`; and ranks.
void CudaDevice::score_chunks(const CatalogTopK& p, const ChunkBounds& bounds) {
  float* target_scores = query_values_.need(p.B);
  if (p.targets)
    launch("catalog_top_k's targets", target_scores_kernel, blocks_for(p.B, kThreads), dim3(kThreads), 0, p,
           target_scores);
  const auto scan = [&](auto queries_of_a_warp) {
    constexpr int R = queries_of_a_warp;
    const Index blocks = (p.B + kWarps * R - 1) / (kWarps * R), tiles = (p.V + kProducts - 1) / kProducts;
    const Index parts = std::min(tiles, std::max<Index>(1, 2 * multiprocessors_ / blocks));
    auto* ranks = reinterpret_cast<Rank*>(ranks_.need(2 * parts * p.B));
    launch("catalog_top_k's scores", score_chunks_kernel<R>,
           dim3(static_cast<unsigned>(parts), static_cast<unsigned>(blocks)), dim3(kThreads), 0, p, bounds,
           target_scores, ranks);
    if (p.targets)
      launch("catalog_top_k's ranks", ranks_kernel, blocks_for(p.B, kThreads), dim3(kThreads), 0, p,
             static_cast<int>(parts), target_scores, ranks);
  };
  if (p.B > 4 * kWarps)
    scan(std::integral_constant<int, 8>());
  else if (p.B > kWarps)
    scan(std::integral_constant<int, 4>());
  else
    scan(std::integral_constant<int, 1>());
}

// Lists that pass 2 has no room for: all keys of a query, sorted.
void CudaDevice::sort_scores(const CatalogTopK& p) {
  const std::size_t bytes = sort_keys_bytes(static_cast<int>(p.V));
  std::byte* sorting = sorting_.need(static_cast<Index>(bytes));
  Key *keys = candidates_.need(2 * p.V), *sorted = keys + p.V;
  for (Index b = 0; b < p.B; ++b) {
    launch("catalog_top_k's keys", keys_kernel, blocks_for(p.V, kThreads), dim3(kThreads), 0, p, b, keys);
    check(sort_keys(sorting, bytes, keys, sorted, static_cast<int>(p.V), stream_), "catalog_top_k's sort");
    launch("catalog_top_k's list", sorted_list_kernel, blocks_for(p.k, kThreads), dim3(kThreads), 0, p, b, sorted);
  }
}

}  // namespace stamp::cuda
