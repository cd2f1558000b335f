// Exact top-k at the speed of tensor cores: bf16 scores with a bound on their error leave few products that can be
// among the k best, and those are scored exactly.
//
//   z̃ = bf16(q) · bf16(x)     |z - z̃| <= e = kRelativeError |q| |x|     lower = z̃ - e, upper = z̃ + e
//
// Rounding to bf16 is off by 2^-8 of a factor at most, a product of two by little more than 2^-7, and Σ |q_d x_d| is at
// most |q| |x|; sums in fp32 of up to 128 terms, of both kinds of score, are far within the rest of kRelativeError. A
// product whose upper bound is below k lower bounds is not among the k best, so no answer depends on precision, batch
// or cut. Products with a floor stay out of the scan and are scored at the end.
//
// A block owns 128 queries (tensor_rows.h) and a part of the catalog; each query has a queue of 128 candidates in
// shared memory. Candidates that come to a full queue make the warp sort it by lower bound and drop what its k-th now
// rules out: seldom, after the first tiles. A block a query merges the parts and scores what is left in fp32. Where
// bounds rule out too little for a queue (all products nearly alike, say), that block scores the whole catalog.
//
// 2·B·V·W flops and 2·V·W bytes: at V = 1,000,000, W = 112 57 Gflop for 256 queries, 58 µs at 990 Tflop/s; for few
// queries 224 MB, 47 µs at 4.8 TB/s.
#include <algorithm>

#include "kernels/cuda/tensor_rows.h"
#include "kernels/cuda/top_k.h"

namespace stamp::cuda {
namespace {

constexpr int kQueue = 128;  // candidates of a query, in a part of the catalog
constexpr int kAtOnce = 16;  // that a chunk may bring
constexpr float kRelativeError = 1.05f * 0x1p-7f;
constexpr float kSmallestNorm = 1e-18f, kLargestNorm = 1e37f;

// Where a catalog's parts lie in packed memory: fp32 panels, lengths, bf16 rows.
struct Packed {
  float* panels;  // [panel][D][64]
  float* norms;   // [Vp]
  bf16* rows;     // [Vp,W]
};

Index width_of(Index D) {
  Index width = 0;
  with_width(D, [&](auto w) { width = w; });
  return width;
}

Packed packed_at(const std::byte* memory, Index V, Index D) {
  auto* panels = reinterpret_cast<float*>(const_cast<std::byte*>(memory));
  float* norms = panels + rounded(V, kPanel) * D;
  return {panels, norms, reinterpret_cast<bf16*>(norms + rounded(V, kRows))};
}

// packed[panel][d][64] = x, or x times its inverse norm; zeros behind the catalog. A block a panel.
__global__ void pack_items_kernel(Index V, Index D, ItemRows items, float* packed) {
  const Index first = static_cast<Index>(blockIdx.x) * kPanel;
  for (Index i = threadIdx.x; i < D * kPanel; i += kThreads) {
    const Index v = first + i % kPanel;
    const float scale = items.normalize && v < V ? items.inverse_norms[v] : 1.0f;
    packed[first * D + i] = v < V ? row_of(items, v, D)[i / kPanel] * scale : 0.0f;
  }
}

// A warp a row.
__global__ void inverse_norms_kernel(Index V, Index D, ItemRows items, float* norms) {
  const Index v = warp_index();
  if (v >= V) return;
  const float norm = sqrtf(warp_dot(D, row_of(items, v, D), row_of(items, v, D)));
  if (lane_index() == 0) norms[v] = norm > 0 ? 1 / norm : 1.0f;
}

// norms[n] = |x_n|, or 1 where it is scaled to that; NaN behind the N rows, so that no comparison holds for them.
// Where squares vanish or overflow, what products may still be. A warp a row.
__global__ void row_norms_kernel(Index N, Index padded, Index D, ItemRows x, float* norms) {
  const Index n = warp_index();
  if (n >= padded) return;
  const float norm = n < N ? sqrtf(warp_dot(D, row_of(x, n, D), row_of(x, n, D))) : NAN;
  const float bounded = n < N ? fminf(fmaxf(norm, kSmallestNorm), kLargestNorm) : NAN;
  if (lane_index() == 0) norms[n] = x.normalize && norm > 0 ? 1.0f : bounded;
}

// What a query's quad of lanes knows of its queue.
struct Candidates {
  int count = 0;  // -1: they did not fit
  float bound = -INFINITY;
  float error = NAN;  // of a score, in units of |x|
};

constexpr Candidates kNotFitting{-1, INFINITY, NAN};

// Sorts one queue and drops what cannot be among the k best. By a warp, the queue being that of `quad`'s lanes.
__device__ __noinline__ Candidates pruned(Candidates own, int quad, int k, Key* keys, const float* norms) {
  const int lane = lane_index(), count = __shfl_sync(kAll, own.count, 4 * quad);
  const float error = __shfl_sync(kAll, own.error, 4 * quad);
  __syncwarp();
  sort_best_first(keys, count, kQueue);
  const float bound = count >= k ? score_of(keys[k - 1]) : -INFINITY;
  Key mine[kQueue / kWarp];
  for (int j = 0; j < kQueue / kWarp; ++j) mine[j] = keys[j * kWarp + lane];
  __syncwarp();
  int kept = 0;
  for (const Key key : mine) {
    const bool keep = key && fmaf(2 * error, norms[key ? id_of(key) : 0], score_of(key)) >= bound;
    const unsigned keeping = __ballot_sync(kAll, keep);
    if (keep) keys[kept + __popc(keeping & ((1u << lane) - 1))] = key;
    kept += __popc(keeping);
  }
  __syncwarp();
  if (lane / 4 != quad) return own;
  if (kept + kAtOnce > kQueue) return kNotFitting;
  return {kept, bound, error};
}

// candidates [parts][Bp,kQueue], by lower bound, and how many [parts][Bp].
template <int W>
__global__ void __launch_bounds__(kTensorThreads, 1)
    scan_bounds_kernel(CatalogTopK p, int k, Index tiles, Index padded, const bf16* queries, const float* query_norms,
                       const bf16* items, const float* norms, Key* candidates, int* counts) {
  const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / kWarp, g = lane / 4, t = lane % 4;
  const Index part = blockIdx.x, parts = gridDim.x, own = static_cast<Index>(blockIdx.y) * kRows + warp * 32;
  auto* queues =
      reinterpret_cast<Key*>(static_cast<std::byte*>(dynamic_shared()) + 2 * kTileBytes<W>) + warp * 32 * kQueue;
  RowFragments<W> rows;
  rows.load(queries + own * W);
  Candidates state[2][2];
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) state[m][h].error = kRelativeError * query_norms[own + 16 * m + 8 * h + g];

  for_stream<W>(items, part * tiles / parts, (part + 1) * tiles / parts, [&](Index tile, const bf16* chunk, int i) {
    float z[2][2][4];
    rows.scores(chunk, z);
    const Index first = tile * kStream + 16 * i + 2 * t;
    float norm[2][2];
    bool any = false;
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        norm[n][c] = norms[first + 8 * n + c];
#pragma unroll
        for (int m = 0; m < 2; ++m)
#pragma unroll
          for (int h = 0; h < 2; ++h)
            any |= fmaf(state[m][h].error, norm[n][c], z[m][n][2 * h + c]) >= state[m][h].bound;
      }
    if (!__any_sync(kAll, any)) return;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        Candidates& row = state[m][h];
        const unsigned full = __ballot_sync(kAll, row.count + kAtOnce > kQueue);
        for (int quad = 0; full && quad < 8; ++quad)
          if (full >> 4 * quad & 1) row = pruned(row, quad, k, queues + (16 * m + 8 * h + quad) * kQueue, norms);
        Key* queue = queues + (16 * m + 8 * h + g) * kQueue;
        const Index b = own + 16 * m + 8 * h + g;
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            const Index v = first + 8 * n + c;
            const float score = z[m][n][2 * h + c], error = row.error * norm[n][c];
            const bool enters = score + error >= row.bound && !Filter(p, b).excludes(v) && !Floors(p.floors, b).has(v);
            const unsigned entering = __ballot_sync(kAll, enters) >> 4 * g & 0xf;
            if (enters) queue[row.count + __popc(entering & ((1u << t) - 1))] = key_of(score - error, v);
            row.count += __popc(entering);
            // Beyond what fp32 holds there is no bound to go by.
            if (__ballot_sync(kAll, enters && !std::isfinite(score - error)) >> 4 * g & 0xf) row = kNotFitting;
          }
      }
  });

  __syncwarp();
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h)
      for (int quad = 0; quad < 8; ++quad) {
        const int row = 16 * m + 8 * h + quad, count = __shfl_sync(kAll, state[m][h].count, 4 * quad);
        const Index at = part * padded + own + row;
        for (int j = lane; j < count; j += kWarp) candidates[at * kQueue + j] = queues[row * kQueue + j];
        if (lane == 0) counts[at] = count;
      }
}

// The k best of what the block's warps keep, in the queue of the first; `keys` are all their queues.
__device__ void gather_best(Queue& own, const Key* keys, int k) {
  own.sort();
  __syncthreads();
  if (threadIdx.x < kWarp) {
    for (int warp = 1; warp < kWarps; ++warp)
      for (int i = 0; i < k; i += kWarp) {
        const int at = i + lane_index();
        own.offer(at < k ? keys[warp * kQueue + at] : 0);
      }
    own.sort();
  }
}

// A block a query.
__global__ void __launch_bounds__(kThreads, 1)
    merge_bounds_kernel(CatalogTopK p, int k, int parts, Index padded, const float* query_norms, const float* norms,
                        const Key* candidates, const int* counts) {
  __shared__ Key keys[kWarps * kQueue];
  __shared__ float bound;
  const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / kWarp;
  const Index b = blockIdx.x;
  const Filter filter(p, b);
  const Queue empty(keys + warp * kQueue, kQueue, k);
  Queue best = empty;
  bool missing = false;
  for (int part = lane; part < parts; part += kWarp) missing |= counts[part * padded + b] < 0;
  if (__any_sync(kAll, missing)) {
    for (Index first = warp * kWarp; first < p.V; first += kThreads) {
      const Index v = first + lane;
      best.offer(v < p.V ? filter.key(score(p, b, v), v) : 0);
    }
  } else {
    const auto for_candidates = [&](auto&& key_of_candidate) {
      for (int part = warp; part < parts; part += kWarps) {
        const Index at = part * padded + b;
        const int count = counts[at];
        for (int i = 0; i < count; i += kWarp)
          best.offer(i + lane < count ? key_of_candidate(candidates[at * kQueue + i + lane]) : 0);
      }
    };
    for_candidates([](Key key) { return key; });
    gather_best(best, keys, k);
    if (threadIdx.x == 0) bound = best.count() == k ? score_of(best[k - 1]) : -INFINITY;
    __syncthreads();
    best = empty;
    const float error = kRelativeError * query_norms[b];
    for_candidates([&](Key key) {
      const Index v = id_of(key);
      return fmaf(2 * error, norms[v], score_of(key)) >= bound ? filter.key(score(p, b, v), v) : 0;
    });
    const Floors floors(p.floors, b);
    for (int first = floors.first + warp * kWarp; first < floors.last; first += kThreads) {
      const int i = first + lane;
      best.offer(i < floors.last ? filter.key(score(p, b, floors.ids[i]), floors.ids[i]) : 0);
    }
  }
  gather_best(best, keys, k);
  if (warp == 0) write_list(p, b, k, best);
}

}  // namespace

Index CudaDevice::packed_size(Index V, Index D) const {
  const Index panels = rounded(V, kPanel) * D, Vp = rounded(V, kRows);
  return static_cast<Index>(sizeof(float)) * (D <= kWidest ? panels + Vp + Vp * width_of(D) / 2 : panels);
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
  if (D > kWidest) return;
  const Index Vp = rounded(V, kRows);
  launch("pack_items' lengths", row_norms_kernel, blocks_for(Vp, kWarps), dim3(kThreads), 0, V, Vp, D, items, at.norms);
  launch("pack_items' bf16 rows", bf16_rows_kernel, blocks_for(Vp, kWarps), dim3(kThreads), 0, V, Vp, D,
         static_cast<int>(width_of(D)), items, reinterpret_cast<std::uint32_t*>(at.rows));
}

bool CudaDevice::can_scan_bounds(const CatalogTopK& p, Index k) const {
  constexpr Index kLongest = 40;  // so that some three times as many candidates fit
  return k <= kLongest && p.D <= kWidest && !p.targets && !p.boosts &&
         2 * sizeof(bf16) * kStream * (kWidest + 8) + sizeof(Key) * kRows * kQueue <= shared_limit_;
}

void CudaDevice::scan_bounds(const CatalogTopK& p, int k) {
  with_width(p.D, [&](auto width) {
    constexpr int W = width;
    const Packed packed = packed_at(p.packed, p.V, p.D);
    const Index Bp = rounded(p.B, kRows), tiles = rounded(p.V, kRows) / kStream, blocks = Bp / kRows;
    bf16* queries = query_tiles_.need(Bp * W);
    float* query_norms = query_values_.need(Bp);
    launch("catalog_top_k's bf16 queries", bf16_rows_kernel, blocks_for(Bp, kWarps), dim3(kThreads), 0, p.B, Bp, p.D, W,
           ItemRows{p.queries}, reinterpret_cast<std::uint32_t*>(queries));
    launch("catalog_top_k's lengths", row_norms_kernel, blocks_for(Bp, kWarps), dim3(kThreads), 0, p.B, Bp, p.D,
           ItemRows{p.queries}, query_norms);
    const Index parts = std::min(tiles, std::max<Index>(1, multiprocessors_ / blocks));
    Key* candidates = candidates_.need(parts * Bp * kQueue);
    auto* counts = reinterpret_cast<int*>(ranks_.need((parts * Bp + 1) / 2));
    launch("catalog_top_k", scan_bounds_kernel<W>, dim3(static_cast<unsigned>(parts), static_cast<unsigned>(blocks)),
           dim3(kTensorThreads), 2 * kTileBytes<W> + sizeof(Key) * kRows * kQueue, p, k, tiles, Bp, queries,
           query_norms, packed.rows, packed.norms, candidates, counts);
    launch("catalog_top_k's merge", merge_bounds_kernel, dim3(static_cast<unsigned>(p.B)), dim3(kThreads), 0, p, k,
           static_cast<int>(parts), Bp, query_norms, packed.norms, candidates, counts);
  });
}

}  // namespace stamp::cuda
