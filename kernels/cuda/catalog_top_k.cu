// Exact top-k over the catalog, fused with scoring in fp32: what catalog_scan.cu does not do, which is ranks of
// targets, boosts, long lists and wide rows.
//
//   z_bv = q_b · x_v, raised to floors (+ boost)     the k best v of each b, ties by lower v; targets' ranks
//
// Items lie in panels of 64, one line per dimension. A block owns 8·R queries and a part of the catalog, a warp R of
// the queries: two panels at a time come into shared memory, 32 dimensions after another, and each lane adds up the
// scores of four products for its R queries in the order of the dimensions, so a score is the same for any batch. A
// score above the worst that the query keeps enters its queue, which the warp sorts when it is full. Parts are merged
// by a second kernel. A candidate is one 64-bit key, so order is total and no answer depends on the cut.
//
// 2·B·V·D flops in fp32, 4·V·D bytes for each 8·R queries: at V = 1,000,000, D = 100, B = 256 51 Gflop, 0.85 ms at
// 60 Tflop/s; for one query 400 MB, 0.08 ms at 4.8 TB/s.
//
// Lists longer than kFused are made by sorting all keys of a query.
#include <ptx.h>
#include <sort.h>

#include <algorithm>
#include <bit>
#include <type_traits>

#include "kernels/cuda/top_k.h"

namespace stamp::cuda {
namespace {

constexpr int kProducts = 2 * kPanel;        // of a tile
constexpr int kPerLane = kProducts / kWarp;  // whose scores a lane adds up
constexpr int kLines = 32;                   // dimensions in shared memory at once
constexpr Index kFused = 1024;               // the longest list that queues hold
constexpr int kSmallestQueue = 128;
constexpr std::size_t kStaticShared = 32 << 10;  // of scan_catalog_kernel, at most

// Keys of a queue for lists of k.
int capacity_for(Index k) {
  return std::max(kSmallestQueue, 2 * static_cast<int>(std::bit_ceil(static_cast<unsigned>(k))));
}

__global__ void target_scores_kernel(CatalogTopK p, float* scores) {
  const Index b = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (b < p.B) scores[b] = p.targets[b] >= 0 ? score(p, b, p.targets[b]) : NAN;
}

struct Rank {
  std::int64_t above, tied;
};

// candidates [parts][B,k]; ranks [parts][B], of the targets.
template <int R>
__global__ void __launch_bounds__(kThreads, 1)
    scan_catalog_kernel(CatalogTopK p, int k, int capacity, const float* target_scores, Key* candidates, Rank* ranks) {
  __shared__ float lines[kLines][kProducts];
  __shared__ float queries[kWarps * R][kLines];
  const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / kWarp;
  const Index tiles = (p.V + kProducts - 1) / kProducts, end = (p.V + kPanel - 1) / kPanel * kPanel;
  const Index part = blockIdx.x, parts = gridDim.x, block_first = static_cast<Index>(blockIdx.y) * kWarps * R;
  const Index own_first = block_first + warp * R;
  Queue queues[R];
  int above[R], tied[R];
#pragma unroll
  for (int r = 0; r < R; ++r) {
    queues[r] = Queue(static_cast<Key*>(dynamic_shared()) + (warp * R + r) * capacity, capacity, k);
    above[r] = tied[r] = 0;
  }

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
      for (int d = 0; d < n; ++d)
#pragma unroll
        for (int r = 0; r < R; ++r)
#pragma unroll
          for (int j = 0; j < kPerLane; ++j)
            z[r][j] = fmaf(queries[warp * R + r][d], lines[d][lane + kWarp * j], z[r][j]);
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
        const Index v = first + lane + kWarp * j;
        above[r] += v < p.V && z[r][j] > target;
        tied[r] += v < p.V && z[r][j] == target;
        queues[r].offer(v < p.V ? filter.key(z[r][j], v) : 0);
      }
    }
  }

#pragma unroll
  for (int r = 0; r < R; ++r) {
    const Index b = own_first + r;
    if (b >= p.B) continue;
    queues[r].sort();
    for (int i = lane; i < k; i += kWarp) candidates[(part * p.B + b) * k + i] = queues[r][i];
    const std::int64_t all_above = warp_sum(above[r]), all_tied = warp_sum(tied[r]);
    if (p.targets && lane == 0) ranks[part * p.B + b] = {all_above, all_tied};
  }
}

__device__ void write_rank(const CatalogTopK& p, Index b, float target_score, Rank rank) {
  const bool counted = p.targets[b] >= 0 && !std::isnan(target_score);
  p.above[b] = counted ? rank.above : p.V;
  p.tied[b] = counted ? rank.tied - 1 : 0;
}

// A block of one warp a query.
__global__ void merge_parts_kernel(CatalogTopK p, int k, int capacity, int parts, const float* target_scores,
                                   const Key* candidates, const Rank* ranks) {
  const Index b = blockIdx.x;
  Queue best(static_cast<Key*>(dynamic_shared()), capacity, k);
  for (int part = 0; part < parts; ++part)
    for (int i = 0; i < k; i += kWarp) {
      const int at = i + lane_index();
      best.offer(at < k ? candidates[(part * p.B + b) * k + at] : 0);
    }
  best.sort();
  write_list(p, b, k, best);
  if (!p.targets || lane_index() != 0) return;
  Rank all{0, 0};
  for (int part = 0; part < parts; ++part) {
    all.above += ranks[part * p.B + b].above;
    all.tied += ranks[part * p.B + b].tied;
  }
  write_rank(p, b, target_scores[b], all);
}

// All keys of query b [V]; a thread a product.
__global__ void keys_kernel(CatalogTopK p, Index b, const float* target_scores, Key* keys, unsigned* counts) {
  const Index v = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (v >= p.V) return;
  const float z = score(p, b, v);
  keys[v] = Filter(p, b).key(z, v);
  if (!p.targets) return;
  if (z > target_scores[b]) atomicAdd(&counts[0], 1u);
  if (z == target_scores[b]) atomicAdd(&counts[1], 1u);
}

__global__ void sorted_list_kernel(CatalogTopK p, Index b, const float* target_scores, const Key* ascending,
                                   const unsigned* counts) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < p.k) {
    const Key key = i < p.V ? ascending[p.V - 1 - i] : 0;
    p.ids[b * p.k + i] = key ? id_of(key) : -1;
    p.scores[b * p.k + i] = key ? score_of(key) : -INFINITY;
  }
  if (i == 0 && p.targets) write_rank(p, b, target_scores[b], {counts[0], counts[1]});
}

}  // namespace

void CudaDevice::catalog_top_k(const CatalogTopK& problem) {
  CatalogTopK p = problem;
  if (!p.packed) {
    std::byte* packed = packed_.need(packed_size(p.V, p.D));
    pack_items(p.V, p.D, p.items, packed);
    p.packed = packed;
  }
  float* target_scores = query_values_.need(p.B);
  if (p.targets)
    launch("catalog_top_k's targets", target_scores_kernel, blocks_for(p.B, kThreads), dim3(kThreads), 0, p,
           target_scores);
  const Index k = std::min(p.k, p.V);
  if (k > kFused || sizeof(Key) * kWarps * capacity_for(k) + kStaticShared > shared_limit_)
    sort_scores(p, target_scores);
  else if (can_scan_bounds(p, k))
    scan_bounds(p, static_cast<int>(k));
  else
    scan_scores(p, static_cast<int>(k), target_scores);
}

void CudaDevice::scan_scores(const CatalogTopK& p, int k, const float* target_scores) {
  const int capacity = capacity_for(k);
  const auto scan = [&](auto queries_of_a_warp) {
    constexpr int R = queries_of_a_warp;
    const Index blocks = (p.B + kWarps * R - 1) / (kWarps * R), tiles = (p.V + kProducts - 1) / kProducts;
    const Index parts = std::min(tiles, std::max<Index>(1, 2 * multiprocessors_ / blocks));
    Key* candidates = candidates_.need(parts * p.B * k);
    auto* ranks = reinterpret_cast<Rank*>(ranks_.need(2 * parts * p.B));
    launch("catalog_top_k", scan_catalog_kernel<R>, dim3(static_cast<unsigned>(parts), static_cast<unsigned>(blocks)),
           dim3(kThreads), sizeof(Key) * kWarps * R * capacity, p, k, capacity, target_scores, candidates, ranks);
    launch("catalog_top_k's merge", merge_parts_kernel, dim3(static_cast<unsigned>(p.B)), dim3(kWarp),
           sizeof(Key) * capacity, p, k, capacity, static_cast<int>(parts), target_scores, candidates, ranks);
  };
  // As many queries as there are and as queues leave room for: 64 KiB at most, but for the longest lists.
  if (p.B > 4 * kWarps && capacity <= 128)
    scan(std::integral_constant<int, 8>());
  else if (p.B > kWarps && capacity <= 256)
    scan(std::integral_constant<int, 4>());
  else
    scan(std::integral_constant<int, 1>());
}

void CudaDevice::sort_scores(const CatalogTopK& p, const float* target_scores) {
  const std::size_t bytes = sort_keys_bytes(static_cast<int>(p.V));
  std::byte* sorting = sorting_.need(static_cast<Index>(bytes));
  Key *keys = candidates_.need(2 * p.V), *sorted = keys + p.V;
  auto* counts = reinterpret_cast<unsigned*>(ranks_.need(1));
  for (Index b = 0; b < p.B; ++b) {
    zero(counts, 2 * sizeof(unsigned));
    launch("catalog_top_k's keys", keys_kernel, blocks_for(p.V, kThreads), dim3(kThreads), 0, p, b, target_scores, keys,
           counts);
    check(sort_keys(sorting, bytes, keys, sorted, static_cast<int>(p.V), stream_), "catalog_top_k's sort");
    launch("catalog_top_k's list", sorted_list_kernel, blocks_for(p.k, kThreads), dim3(kThreads), 0, p, b,
           target_scores, sorted, counts);
  }
}

}  // namespace stamp::cuda
