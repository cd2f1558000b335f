// Pass 1 of the top-k on tensor cores (top_k.h): of each query and chunk of 16 products the largest bf16 score with a
// bound on its error.
//
//   z̃ = bf16(q) · bf16(x)     |z - z̃| <= e = error |q| |x|     upper = max (z̃ + e)     lower = max (z̃ - e)
//
// Rounding to bf16 is off by 2^-8 of a factor at most, a product of two by little more than 2^-7, and Σ |q_d x_d| is at
// most |q| |x|; sums of D terms in fp32 are off by D 2^-24 of that, and tensor cores, which cut where others round, by
// no more than as much again: relative_error is beyond all of it, and the rounding of the bounds. Boosts are added to
// both bounds as to scores, and that rounding keeps order. Lengths so large that a sum might overflow count as
// infinite, and what is not finite stays so (max_or_nan).
//
// A block of 4 warps owns 32, 64 or 128 queries in registers and a part of the catalog, which streams past in tiles of
// 64 (tensor_rows.h). A warpgroup multiplies a tile by 64 queries at once; where there are none, a warp a chunk by its
// 32, and where queries are few the warps divide the chunks of a tile. Nothing is sorted, nothing kept. Rows of more
// than 128 dimensions come in slices of up to 128, one after the other for each tile; 32 queries wait for them in
// shared memory, and warps multiply.
//
// 2·B·V·W flops, 2·V·W bytes and 4·B·V/16 written. At V = 1,000,000, W = 112: for one query 224 MB, 56 µs at 4 TB/s (14
// Gflop for the 64 rows of a warpgroup are 23 µs at 600 Tflop/s, 7 for 32 by mma.sync 18 at some 400, and hide in it);
// for 256 57 Gflop, 95 µs by warpgroups if they reach the 600 of others' products, 143 by mma.sync, and 64 MB beside
// it. At V = 43,097: 10 MB for one, from the second-level cache, 4 µs; for 256 2.5 Gflop, 4 or 6 µs, and some 3 to
// begin and end. In slices queries come from shared memory as items do, three ldmatrix for four mma, which bounds it at
// some 200 Tflop/s: D = 300 and V = 1,000,000 are 672 MB, 168 µs, for up to 32 queries, 0.9 ms for 256.
#include <algorithm>

#include "kernels/cuda/packed_catalog.h"

namespace stamp::cuda {
namespace {

// Blocks of a multiprocessor: their registers, and 43 KB of tiles on their way.
template <int W, bool kBoosted>
constexpr int kBlocks = W > 112 && kBoosted ? 2 : 3;
constexpr Index kTileChunks = kStream / kChunk;
static_assert(kChunk == 16 && kTileChunks == 4, "a chunk is what a warp multiplies at once, a tile a float4 of bounds");

float relative_error(Index D) { return 1.04f * 0x1p-7f + 0x1p-22f * static_cast<float>(D); }

// Of 32 queries, and the tiles that stream past them.
std::size_t wide_shared(const Slices& slices) {
  return sizeof(bf16) * (2 * kStream * slices.width + 32 * slices.all());
}

// Queries in bf16 [Bp,W], of all slices, zeros behind them; and the errors of their scores [B]. A warp 8 queries.
__global__ void prepare_queries_kernel(CatalogTopK p, Index padded, Index W, float error, std::uint32_t* rows,
                                       float* errors) {
  const Index first = warp_index() * kCore, b = first + lane_index() / 4;
  if (first >= padded) return;
  const auto at = [&](Index d) { return b < p.B && d < p.D ? p.queries[b * p.D + d] : 0.0f; };
  float squared = 0;  // of the query, this lane's share
  const auto pair = [&](int, int column) {
    const float2 x = make_float2(at(column), at(column + 1));
    squared = fmaf(x.y, x.y, fmaf(x.x, x.x, squared));
    return x;
  };
  write_bf16_rows(static_cast<int>(W), pair, rows + first * (W / 2));
  squared += __shfl_xor_sync(kAll, squared, 1);
  squared += __shfl_xor_sync(kAll, squared, 2);
  if (b < p.B && lane_index() % 4 == 0) errors[b] = error * bounded(sqrtf(squared));
}

// Of four values, each in the four lanes of a quad: the maximum of the value of this lane's number in the quad.
__device__ float quad_max(const float (&values)[4]) {
  const int t = lane_index() % 4;
  const auto exchange = [&](float even, float odd, int bit) {  // keeps the one of this lane's bit, hands the other over
    const bool keeps_odd = t & bit;
    const float other = __shfl_xor_sync(kAll, keeps_odd ? even : odd, bit);
    return max_or_nan(keeps_odd ? odd : even, other);
  };
  return exchange(exchange(values[0], values[1], 1), exchange(values[2], values[3], 1), 2);
}

// What bounds of a query take beside its scores.
struct Query {
  Index b;
  float error;
  bool excludes;  // somebody of the warp's does
};

struct Bounds {
  float upper, lower;  // lower where boosts want it
};

// The largest bounds of four products of a query: those numbered 8n + c from `first` on, in tile `tile`, with scores
// z[n][c].
template <bool kBoosted>
__device__ Bounds bounds_of(const CatalogTopK& p, const Query& query, Index tile, int first, const float (&z)[2][2],
                            const float (&lengths)[2][2]) {
  Bounds most{-INFINITY, -INFINITY};
  unsigned out = 0;  // bit 8n + c
  if (query.excludes && query.b < p.B && p.excluded[query.b])
    out = static_cast<unsigned>(p.excluded[query.b][tile] >> first);
  const float* boosts = kBoosted && p.boosts && query.b < p.B ? p.boosts[query.b] : nullptr;
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      float high = fmaf(query.error, lengths[n][c], z[n][c]);
      bool is_out = out >> (8 * n + c) & 1;
      if (kBoosted) {
        const Index v = tile * kStream + first + 8 * n + c;
        is_out |= v >= p.V;
        float low = fmaf(-query.error, lengths[n][c], z[n][c]);
        if (boosts && !is_out) high += boosts[v], low += boosts[v];
        most.lower = max_or_nan(most.lower, is_out ? -INFINITY : low);
      }
      most.upper = max_or_nan(most.upper, is_out ? -INFINITY : high);
    }
  return most;
}

__device__ float error_of(const CatalogTopK& p, const ChunkBounds& bounds, Index b) {
  return b < p.B ? bounds.errors[b] : 0.0f;
}
__device__ bool excludes(const CatalogTopK& p, Index b) { return p.excluded && b < p.B && p.excluded[b]; }

// The left operand of tensor cores, in registers: rows of 16 as mma_m16n8k16 has them.
template <int W>
struct RowFragments {
  std::uint32_t a[2][W / 16][4];

  // Rows [16,W] from `first` on, a multiple of 16.
  __device__ void load(int m, const bf16* first) {
    const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
    for (int k = 0; k < W / 16; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        a[m][k][i] =
            *reinterpret_cast<const std::uint32_t*>(first + place_of(g + i % 2 * 8, 16 * k + 2 * t + i / 2 * kCore, W));
  }
  __device__ void clear(int m) {
#pragma unroll
    for (auto& fragment : a[m])
#pragma unroll
      for (std::uint32_t& pair : fragment) pair = 0;
  }
};

// The bounds of the block's queries, `count` from `own` on, and the chunks of tiles begin … end - 1: 64 queries by 64
// products at once, of which a lane has two rows.
template <int W, bool kBoosted>
__device__ void scan_by_warpgroup(const CatalogTopK& p, int begin, int end, Index own, int count, const bf16* queries,
                                  const bf16* items, const float* lengths, const ChunkBounds& bounds) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, g = lane_index() / 4, t = lane_index() % 4;
  const auto query_at = [&](int m, int h) {  // behind the batch where it is nobody's
    const int row = 64 * m + 16 * warp + 8 * h + g;
    return row < count ? own + row : p.B;
  };
  RowFragments<W> rows;
  float errors[2][2];
  bool any = false;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    const int first = 64 * m + 16 * warp;
    if (first < count)
      rows.load(m, queries + (own + first) * W);
    else
      rows.clear(m);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      errors[m][h] = error_of(p, bounds, query_at(m, h));
      any |= excludes(p, query_at(m, h));
    }
  }
  any = __any_sync(kAll, any);
  TileStream<W> stream;
  stream.visit(items, begin, end, nullptr, [&](int tile, const bf16* products) {
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      if (64 * m >= count) break;
      float z[1][kStream / 8][4];  // z[0][n][2h + c]: row 8h + lane / 4 of the warp's, product 8n + 2t + c
      __syncwarp();                // as lanes whose queries are nobody's write nothing
      warpgroup_arrive();
#pragma unroll
      for (int k = 0; k < W / 16; ++k)
        warpgroup_multiply(z[0], rows.a[m][k], rows_in_shared<W>(products + 16 * kCore * k), k > 0);
      warpgroup_commit();
      float2 length[kStream / 8];
#pragma unroll
      for (int n = 0; n < kStream / 8; ++n)
        length[n] = *reinterpret_cast<const float2*>(lengths + Index{tile} * kStream + 8 * n + 2 * t);
      warpgroup_wait(z);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const Query query{query_at(m, h), errors[m][h], any};
        float upper[kTileChunks], lower[kTileChunks];  // of this lane's products
#pragma unroll
        for (int i = 0; i < kTileChunks; ++i) {
          const float of_chunk[2][2] = {{z[0][2 * i][2 * h], z[0][2 * i][2 * h + 1]},
                                        {z[0][2 * i + 1][2 * h], z[0][2 * i + 1][2 * h + 1]}};
          const float their_lengths[2][2] = {{length[2 * i].x, length[2 * i].y},
                                             {length[2 * i + 1].x, length[2 * i + 1].y}};
          const auto most = bounds_of<kBoosted>(p, query, tile, kChunk * i + 2 * t, of_chunk, their_lengths);
          upper[i] = most.upper, lower[i] = most.lower;
        }
        const float high = quad_max(upper), low = kBoosted ? quad_max(lower) : 0;
        if (query.b >= p.B) continue;
        const Index place = query.b * bounds.chunks + tile * kTileChunks + t;
        bounds.upper[place] = high;
        if (kBoosted) bounds.lower[place] = low;
      }
    }
  });
}

// The same by warps of 32 queries, 32 queries by a chunk at once.
template <bool kBoosted>
class ChunkByWarp {
 public:
  // Queries from `own` on; which of `splits` warps that divide the chunks this one is.
  __device__ ChunkByWarp(const CatalogTopK& p, Index own, int split, int splits, const ChunkBounds& bounds)
      : split_(split), splits_(splits) {
    bool any = false;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const Index b = own + 8 * r + lane_index() / 4;  // 16m + 8h of the fragments
      queries_[r] = {b, error_of(p, bounds, b), false};
      any |= excludes(p, b);
    }
    any = __any_sync(kAll, any);
#pragma unroll
    for (Query& query : queries_) query.excludes = any;
  }

  __device__ bool has(int i) const { return i % splits_ == split_; }

  // From the scores of chunk i of a tile, z[m][n][2h + c].
  __device__ void keep(const CatalogTopK& p, Index tile, int i, const float (&z)[2][2][4], const float* lengths,
                       const ChunkBounds& bounds) {
    const int t = lane_index() % 4, first = kChunk * i + 2 * t;
    float length[2][2];
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) length[n][c] = lengths[tile * kStream + first + 8 * n + c];
    float upper[4], lower[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const auto& row = z[r / 2];
      const int h = r % 2 * 2;
      const float of_row[2][2] = {{row[0][h], row[0][h + 1]}, {row[1][h], row[1][h + 1]}};
      const auto most = bounds_of<kBoosted>(p, queries_[r], tile, first, of_row, length);
      upper[r] = most.upper, lower[r] = most.lower;
    }
    const Index b = t < 2 ? (t == 0 ? queries_[0].b : queries_[1].b) : (t == 2 ? queries_[2].b : queries_[3].b);
    write(quad_max(upper), i, upper_, b, p.B, tile, bounds.chunks, bounds.upper);
    if (kBoosted) write(quad_max(lower), i, lower_, b, p.B, tile, bounds.chunks, bounds.lower);
  }

 private:
  __device__ void write(float bound, int i, float (&kept)[kTileChunks], Index b, Index B, Index tile, Index chunks,
                        float* to) const {
#pragma unroll
    for (int j = 0; j < kTileChunks; ++j) kept[j] = i == j ? bound : kept[j];
    if (b >= B) return;
    to += b * chunks + tile * kTileChunks;
    if (splits_ > 1)
      to[i] = bound;
    else if (i == kTileChunks - 1)
      *reinterpret_cast<float4*>(to) = make_float4(kept[0], kept[1], kept[2], kept[3]);
  }

  Query queries_[4];
  int split_, splits_;
  float upper_[kTileChunks] = {}, lower_[kTileChunks] = {};  // of row t of this lane, in one tile
};

template <int W, bool kBoosted>
__device__ void scan_by_warps(const CatalogTopK& p, int begin, int end, Index own, int split, int splits,
                              const bf16* queries, const bf16* items, const float* lengths, const ChunkBounds& bounds) {
  RowFragments<W> rows;
  rows.load(0, queries + own * W);
  rows.load(1, queries + (own + 16) * W);
  ChunkByWarp<kBoosted> chunks(p, own, split, splits, bounds);
  for_stream<W>(items, begin, end, [&](int tile, const bf16* products, int i) {
    if (!chunks.has(i)) return;
    float z[2][2][4] = {};
#pragma unroll
    for (int k = 0; k < W / 16; ++k) {
      std::uint32_t b[4];
      load_matrices(b, products + columns_first(W) + 16 * kCore * k);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        mma_m16n8k16(z[m][0], rows.a[m][k], {b[0], b[1]});
        mma_m16n8k16(z[m][1], rows.a[m][k], {b[2], b[3]});
      }
    }
    chunks.keep(p, tile, i, z, lengths, bounds);
  });
}

// `queries` [Bp,W], `items` as packed; grid: parts of the catalog, blocks of 32 `groups` queries.
template <int W, bool kBoosted>
__global__ void __launch_bounds__(kTensorThreads, kBlocks<W, kBoosted>)
    scan_bounds_kernel(CatalogTopK p, Index tiles, int groups, const bf16* queries, const bf16* items,
                       const float* lengths, ChunkBounds bounds) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const Index part = blockIdx.x, parts = gridDim.x, own = Index{blockIdx.y} * groups * 32;
  const int begin = static_cast<int>(part * tiles / parts), end = static_cast<int>((part + 1) * tiles / parts);
  if (has_warpgroups())
    scan_by_warpgroup<W, kBoosted>(p, begin, end, own, 32 * groups, queries, items, lengths, bounds);
  else
    scan_by_warps<W, kBoosted>(p, begin, end, own + warp % groups * 32, warp / groups, kTensorThreads / kWarp / groups,
                               queries, items, lengths, bounds);
}

// A warp's 32 queries where they do not fit into registers: all slices of them, in shared memory.
template <int W>
class WideRows {
 public:
  // [32,width] of them; by the block.
  __device__ WideRows(const bf16* queries, Index width) : width_(static_cast<int>(width)) {
    rows_ = static_cast<bf16*>(dynamic_shared()) + 2 * kStream * W;
    for (int i = static_cast<int>(threadIdx.x) * 8; i < 32 * width_; i += kTensorThreads * 8)
      copy_async(rows_ + i, queries + i);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
  }

  // z += the product of one slice, laid out as in ChunkByWarp::keep.
  __device__ void add_scores(Index slice, const bf16* chunk, float (&z)[2][2][4]) const {
    const bf16* item = chunk + columns_first(W);
    const bf16* query = rows_ + rows_first(width_) + slice * W * kCore;
#pragma unroll
    for (int k = 0; k < W / 16; ++k) {
      std::uint32_t a[4], b[4];
      load_matrices(b, item + 16 * kCore * k);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        load_matrices(a, query + 16 * m * width_ + 16 * kCore * k);
        mma_m16n8k16(z[m][0], a, {b[0], b[1]});
        mma_m16n8k16(z[m][1], a, {b[2], b[3]});
      }
    }
  }

 private:
  bf16* rows_;
  int width_;
};

// The same for rows in `slices`; grid: parts of the catalog, blocks of 32 queries.
template <int W, bool kBoosted>
__global__ void __launch_bounds__(kTensorThreads, kBlocks<W, kBoosted>)
    scan_wide_bounds_kernel(CatalogTopK p, Index tiles, Index slices, const bf16* queries, const bf16* items,
                            const float* lengths, ChunkBounds bounds) {
  const int warps = kTensorThreads / kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const Index part = blockIdx.x, parts = gridDim.x, own = Index{blockIdx.y} * 32;
  const WideRows<W> rows(queries + own * slices * W, slices * W);
  ChunkByWarp<kBoosted> chunks(p, own, warp, warps, bounds);
  float z[2][2][4] = {};
  const auto begin = static_cast<int>(part * tiles / parts * slices);
  const auto end = static_cast<int>((part + 1) * tiles / parts * slices);
  for_stream<W>(items, begin, end, [&](int at, const bf16* products, int i) {
    if (!chunks.has(i)) return;
    const Index tile = at / slices, slice = at - tile * slices;
    rows.add_scores(slice, products, z);
    if (slice < slices - 1) return;
    chunks.keep(p, tile, i, z, lengths, bounds);
#pragma unroll
    for (int j = 0; j < 16; ++j) z[j / 8][j / 4 % 2][j % 4] = 0;
  });
}

}  // namespace

bool CudaDevice::can_scan_bounds(Index D) const { return D <= kWidest || wide_shared(Slices(D)) <= shared_limit_; }

// Pass 1 on tensor cores, into `bounds`.
void CudaDevice::scan_bounds(const CatalogTopK& p, ChunkBounds& bounds) {
  const Packed packed = packed_at(p.packed, p.V, p.D);
  const Slices slices(p.D);
  const bool wide = slices.count > 1;
  const int groups = wide || p.B <= 32 ? 1 : p.B <= 64 ? 2 : 4;
  const Index Bp = rounded(p.B, 32 * groups), blocks = Bp / (32 * groups), tiles = bounds.chunks / kTileChunks;
  bf16* queries = query_tiles_.need(Bp * slices.all());
  float* errors = query_values_.need(p.B);
  launch("catalog_top_k's queries", prepare_queries_kernel, blocks_for(Bp / kCore, kWarps), dim3(kThreads), 0, p, Bp,
         slices.all(), relative_error(p.D), reinterpret_cast<std::uint32_t*>(queries), errors);
  bounds.errors = errors;
  bounds.longest = packed.longest;
  with_width(slices.width, [&](auto width) {
    constexpr int W = width;
    const auto scan = [&](auto boosted) {
      constexpr bool kBoosted = boosted;
      const Index places = kBlocks<W, kBoosted> * multiprocessors_;
      const dim3 grid(static_cast<unsigned>(std::min(tiles, std::max<Index>(1, places / blocks))),
                      static_cast<unsigned>(blocks));
      if (!wide)
        launch("catalog_top_k's bounds", scan_bounds_kernel<W, kBoosted>, grid, dim3(kTensorThreads), 2 * kTileBytes<W>,
               p, tiles, groups, queries, packed.rows, packed.lengths, bounds);
      else if constexpr (W > 64)  // as slices are
        launch("catalog_top_k's bounds", scan_wide_bounds_kernel<W, kBoosted>, grid, dim3(kTensorThreads),
               wide_shared(slices), p, tiles, slices.count, queries, packed.rows, packed.lengths, bounds);
    };
    if (p.boosts)
      scan(std::true_type());
    else
      scan(std::false_type());
  });
}

}  // namespace stamp::cuda
