// Packed catalogs, and pass 1 of the top-k on tensor cores (top_k.h): of each query and chunk the largest bf16 score
// with a bound on its error.
//
//   z̃ = bf16(q) · bf16(x)     |z - z̃| <= e = error |q| |x|     upper = max (z̃ + e)     lower = max (z̃ - e)
//
// Rounding to bf16 is off by 2^-8 of a factor at most, a product of two by little more than 2^-7, and Σ |q_d x_d| is at
// most |q| |x|; sums of D terms in fp32 are off by D 2^-24 of that, and tensor cores, which cut where others round, by
// no more than as much again: relative_error is beyond all of it, and the rounding of the bounds. Boosts are added to
// both bounds as to scores, and that rounding keeps order. Lengths so large that a sum might overflow count as
// infinite, and what is not finite stays so (max_or_nan).
//
// A block of 4 warps owns 32, 64 or 128 queries in registers (tensor_rows.h) and a part of the catalog, which streams
// past in tiles of 64; where queries are few the warps divide the chunks of a tile. Nothing is sorted, nothing kept.
// Rows of more than 128 dimensions come in slices of up to 128, one after the other for each tile; 32 queries wait for
// them in shared memory.
//
// 2·B·V·W flops, 2·V·W bytes and 4·B·V/16 written. At V = 1,000,000, W = 112: for one query 224 MB, 56 µs at 4 TB/s
// (7 Gflop for its 32 rows are 18 µs at what mma.sync reaches, some 400 Tflop/s, and hide in it); for 256 57 Gflop, 143
// µs, and 64 MB beside it. At V = 43,097: 10 MB for one, from the second-level cache, 4 µs; for 256 2.5 Gflop, 6 µs,
// and some 3 to begin and end. In slices queries come from shared memory as items do, three ldmatrix for four mma,
// which bounds it at some 200 Tflop/s: D = 300 and V = 1,000,000 are 672 MB, 168 µs, for up to 32 queries, 0.9 ms for
// 256.
#include <algorithm>

#include "kernels/cuda/tensor_rows.h"
#include "kernels/cuda/top_k.h"

namespace stamp::cuda {
namespace {

// Shorter rows have bounds of this length, as squares may vanish; of longer ones nothing is known.
constexpr float kShortest = 1e-15f, kLongest = 1e18f;
constexpr int kBlocks = 3;  // of a multiprocessor: their registers, and 43 KB of tiles on their way
constexpr Index kTileChunks = kStream / kChunk;
static_assert(kChunk == 16 && kTileChunks == 4, "a chunk is what a warp multiplies at once, a tile a float4 of bounds");

float relative_error(Index D) { return 1.04f * 0x1p-7f + 0x1p-22f * static_cast<float>(D); }

// How D dimensions are cut: `count` slices of the width of one of the kernels, the last of them filled up with zeros.
struct Slices {
  Index count, width;
  explicit Slices(Index D) : count((D + kWidest - 1) / kWidest) {
    with_width((D + count - 1) / count, [&](auto w) { width = w; });
  }
  Index all() const { return count * width; }
};

// Of 32 queries, and the tiles that stream past them.
std::size_t wide_shared(const Slices& slices) {
  return sizeof(bf16) * (2 * kStream * (slices.width + 8) + 32 * (slices.all() + 8));
}

// Where a catalog's parts lie in packed memory.
struct Packed {
  float* panels;   // [panel][D][64]
  bf16* rows;      // [Vp/64][slice][64,W]
  float* lengths;  // [Vp]; -inf behind the catalog
  float* longest;  // [Vp/16] of a chunk
};

Packed packed_at(const std::byte* memory, Index V, Index D) {
  const Index Vp = rounded(V, kStream);
  auto* panels = reinterpret_cast<float*>(const_cast<std::byte*>(memory));
  float* lengths = panels + Vp * D + Vp * Slices(D).all() / 2;
  return {panels, reinterpret_cast<bf16*>(panels + Vp * D), lengths, lengths + Vp};
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

// Rows in bf16 [Vp/64][slice][64,W], of length 1 where asked for; zeros behind them. A warp a row.
__global__ void pack_rows_kernel(Index V, Index padded, Index D, Index slices, Index W, ItemRows items,
                                 std::uint32_t* rows) {
  const Index v = warp_index();
  if (v >= padded) return;
  const float scale = items.normalize && v < V ? items.inverse_norms[v] : 1.0f;
  const auto at = [&](Index d) { return v < V && d < D ? row_of(items, v, D)[d] * scale : 0.0f; };
  for (Index pair = lane_index(); pair < slices * W / 2; pair += kWarp) {
    const Index slice = pair / (W / 2), place = (v / kStream * slices + slice) * kStream + v % kStream;
    rows[place * (W / 2) + pair % (W / 2)] = pack_bf16(at(2 * pair), at(2 * pair + 1));
  }
}

// A warp a row.
__global__ void inverse_norms_kernel(Index V, Index D, ItemRows items, float* norms) {
  const Index v = warp_index();
  if (v >= V) return;
  const float norm = sqrtf(warp_dot(D, row_of(items, v, D), row_of(items, v, D)));
  if (lane_index() == 0) norms[v] = norm > 0 ? 1 / norm : 1.0f;
}

// What |x| counts as in bounds; by a warp.
__device__ float bounded_length(const ItemRows& x, Index n, Index D) {
  const float scale = x.normalize ? x.inverse_norms[n] : 1.0f;
  float sum = 0;
  for (Index d = lane_index(); d < D; d += kWarp) {
    const float value = row_of(x, n, D)[d] * scale;
    sum += value * value;
  }
  const float length = sqrtf(warp_sum(sum));
  return length <= kLongest ? fmaxf(length, kShortest) : INFINITY;
}

// A warp a chunk.
__global__ void lengths_kernel(Index V, Index padded, Index D, ItemRows items, float* lengths, float* longest) {
  const Index chunk = warp_index();
  if (chunk * kChunk >= padded) return;
  float most = -INFINITY;
  for (Index v = chunk * kChunk; v < (chunk + 1) * kChunk; ++v) {
    const float length = v < V ? bounded_length(items, v, D) : -INFINITY;
    if (lane_index() == 0) lengths[v] = length;
    most = fmaxf(most, length);
  }
  if (lane_index() == 0) longest[chunk] = most;
}

// Queries in bf16 [Bp,W], of all slices, zeros behind them; and the errors of their scores [B]. A warp a query.
__global__ void prepare_queries_kernel(CatalogTopK p, Index padded, Index W, float error, std::uint32_t* rows,
                                       float* errors) {
  const Index b = warp_index();
  if (b >= padded) return;
  const auto at = [&](Index d) { return b < p.B && d < p.D ? p.queries[b * p.D + d] : 0.0f; };
  for (Index pair = lane_index(); pair < W / 2; pair += kWarp)
    rows[b * (W / 2) + pair] = pack_bf16(at(2 * pair), at(2 * pair + 1));
  if (b >= p.B) return;
  const float length = bounded_length(ItemRows{p.queries}, b, p.D);
  if (lane_index() == 0) errors[b] = error * length;
}

// Of four rows, each in the four lanes of a quad: the maximum of the row of this lane's number in the quad.
__device__ float quad_max(const float (&rows)[4]) {
  const int t = lane_index() % 4;
  const auto exchange = [&](float even, float odd, int bit) {  // keeps the row of this lane's bit, hands the other over
    const bool keeps_odd = t & bit;
    const float other = __shfl_xor_sync(kAll, keeps_odd ? even : odd, bit);
    return max_or_nan(keeps_odd ? odd : even, other);
  };
  return exchange(exchange(rows[0], rows[1], 1), exchange(rows[2], rows[3], 1), 2);
}

// A warp's 32 queries where they do not fit into registers: all slices of them, in shared memory.
template <int W>
class WideRows {
 public:
  static constexpr int kPad = 8;  // so that ldmatrix meets no bank twice

  // [32,width] of them; by the block.
  __device__ WideRows(const bf16* queries, Index width) : stride_(width + kPad) {
    rows_ = static_cast<bf16*>(dynamic_shared()) + 2 * kStream * kSharedStride<W>;
    const int pieces = static_cast<int>(width / 8);  // of 16 bytes, a row
    for (int i = static_cast<int>(threadIdx.x); i < 32 * pieces; i += kTensorThreads)
      copy_async(rows_ + i / pieces * stride_ + i % pieces * 8, queries + Index{i} * 8);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
  }

  // z += the product of one slice, laid out as that of RowFragments.
  __device__ void add_scores(Index slice, const bf16* tile, float (&z)[2][2][4]) const {
    const int lane = lane_index();
    const bf16* item = tile + (lane % 8 + lane / 16 * 8) * kSharedStride<W> + lane / 8 % 2 * 8;
    const bf16* query = rows_ + lane % 16 * stride_ + slice * W + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < W / 16; ++k) {
      std::uint32_t a[4], b[4];
      load_matrices(b, item + 16 * k);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        load_matrices(a, query + 16 * m * stride_ + 16 * k);
        mma_m16n8k16(z[m][0], a, {b[0], b[1]});
        mma_m16n8k16(z[m][1], a, {b[2], b[3]});
      }
    }
  }

 private:
  bf16* rows_;
  Index stride_;
};

// `queries` [Bp,W] of all slices, `items` as packed; grid: parts of the catalog, blocks of 32 `groups` queries, one
// group where rows are wide.
template <int W, bool kWide, bool kBoosted>
__global__ void __launch_bounds__(kTensorThreads, kBlocks)
    scan_bounds_kernel(CatalogTopK p, Index tiles, Index slices, int groups, const bf16* queries, const bf16* items,
                       const float* lengths, ChunkBounds bounds) {
  const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / kWarp, g = lane / 4, t = lane % 4;
  const int splits = kTensorThreads / kWarp / groups, split = warp / groups;  // of the chunks of a tile
  const Index part = blockIdx.x, parts = gridDim.x;
  const Index own = (static_cast<Index>(blockIdx.y) * groups + warp % groups) * 32;
  const auto row_at = [&](int r) { return own + r * 8 + g; };  // 0 to 3: 16m + 8h of the fragments
  using Rows = std::conditional_t<kWide, WideRows<W>, RowFragments<W>>;
  const Rows rows = [&] {
    if constexpr (kWide) {
      return Rows(queries + own * slices * W, slices * W);
    } else {
      Rows fragments;
      fragments.load(queries + own * W);
      return fragments;
    }
  }();
  if (!kWide) slices = 1;
  float errors[4];
  bool excludes = false;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const Index b = row_at(r);
    errors[r] = b < p.B ? bounds.errors[b] : 0;
    excludes |= p.excluded && b < p.B && p.excluded[b];
  }
  excludes = __any_sync(kAll, excludes);
  float upper[kTileChunks] = {}, lower[kTileChunks] = {};  // of row t of this lane, in one tile

  float z[2][2][4] = {};

  const Index begin = part * tiles / parts * slices, end = (part + 1) * tiles / parts * slices;
  for_stream<W>(items, begin, end, [&](Index at, const bf16* chunk, int i) {
    if (i % splits != split) return;
    Index tile = at;
    if constexpr (kWide) {
      tile = at / slices;
      const Index slice = at - tile * slices;
      rows.add_scores(slice, chunk, z);
      if (slice < slices - 1) return;
    } else {
      rows.scores(chunk, z);
    }
    const Index first = tile * kStream + kChunk * i + 2 * t;
    float length[2][2];
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) length[n][c] = lengths[first + 8 * n + c];
    float highest[4], surest[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      highest[r] = surest[r] = -INFINITY;
      unsigned out = 0;  // bit 8n + c
      if (excludes && row_at(r) < p.B && p.excluded[row_at(r)])
        out = static_cast<unsigned>(p.excluded[row_at(r)][tile] >> (kChunk * i + 2 * t));
      const float* boosts = kBoosted && p.boosts && row_at(r) < p.B ? p.boosts[row_at(r)] : nullptr;
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const float score = z[r / 2][n][r % 2 * 2 + c];
          float high = fmaf(errors[r], length[n][c], score);
          bool is_out = out >> (8 * n + c) & 1;
          if (kBoosted) {
            const Index v = first + 8 * n + c;
            is_out |= v >= p.V;
            float low = fmaf(-errors[r], length[n][c], score);
            if (boosts && !is_out) high += boosts[v], low += boosts[v];
            surest[r] = max_or_nan(surest[r], is_out ? -INFINITY : low);
          }
          highest[r] = max_or_nan(highest[r], is_out ? -INFINITY : high);
        }
    }
    const Index b = row_at(t);
    const auto keep = [&](float(&kept)[kTileChunks], float bound, float* to) {
#pragma unroll
      for (int j = 0; j < kTileChunks; ++j) kept[j] = i == j ? bound : kept[j];
      if (b >= p.B) return;
      to += b * bounds.chunks + tile * kTileChunks;
      if (splits > 1)
        to[i] = bound;
      else if (i == kTileChunks - 1)
        *reinterpret_cast<float4*>(to) = make_float4(kept[0], kept[1], kept[2], kept[3]);
    };
    keep(upper, quad_max(highest), bounds.upper);
    if (kBoosted) keep(lower, quad_max(surest), bounds.lower);
    if constexpr (kWide)
#pragma unroll
      for (int j = 0; j < 16; ++j) z[j / 8][j / 4 % 2][j % 4] = 0;
  });
}

}  // namespace

Index CudaDevice::packed_size(Index V, Index D) const {
  const Index Vp = rounded(V, kStream);
  const Index bounds = can_scan_bounds(D) ? Vp * Slices(D).all() / 2 + Vp + Vp / kChunk : 0;
  return static_cast<Index>(sizeof(float)) * (Vp * D + bounds);
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
  if (!can_scan_bounds(D)) return;
  const Index Vp = rounded(V, kStream);
  const Slices slices(D);
  launch("pack_items' bf16 rows", pack_rows_kernel, blocks_for(Vp, kWarps), dim3(kThreads), 0, V, Vp, D, slices.count,
         slices.width, items, reinterpret_cast<std::uint32_t*>(at.rows));
  launch("pack_items' lengths", lengths_kernel, blocks_for(Vp / kChunk, kWarps), dim3(kThreads), 0, V, Vp, D, items,
         at.lengths, at.longest);
}

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
  launch("catalog_top_k's queries", prepare_queries_kernel, blocks_for(Bp, kWarps), dim3(kThreads), 0, p, Bp,
         slices.all(), relative_error(p.D), reinterpret_cast<std::uint32_t*>(queries), errors);
  bounds.errors = errors;
  bounds.longest = packed.longest;
  const Index parts = std::min(tiles, std::max<Index>(1, kBlocks * multiprocessors_ / blocks));
  const auto scan = [&](auto kernel, std::size_t shared) {
    launch("catalog_top_k's bounds", kernel, dim3(static_cast<unsigned>(parts), static_cast<unsigned>(blocks)),
           dim3(kTensorThreads), shared, p, tiles, slices.count, groups, queries, packed.rows, packed.lengths, bounds);
  };
  with_width(slices.width, [&](auto width) {
    constexpr int W = width;
    if (!wide)
      scan(p.boosts ? scan_bounds_kernel<W, false, true> : scan_bounds_kernel<W, false, false>, 2 * kTileBytes<W>);
    else if constexpr (W > 64)  // as slices are
      scan(p.boosts ? scan_bounds_kernel<W, true, true> : scan_bounds_kernel<W, true, false>, wide_shared(slices));
  });
}

}  // namespace stamp::cuda
