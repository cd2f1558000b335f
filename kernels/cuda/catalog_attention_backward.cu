// The item table's half of the catalog's loss on tensor cores: rows are products, the stream are queries.
//
//   zᵀ = E qᵀ,  p = w exp(z - logΣ),  out = Σ_b p q_b    ->    d_E    ->    Adam, and the rows' new bf16 copy
//
// Tiles of 128 products are dealt to as many blocks as are on the chip at once. Each has so many whole ones; what is
// left is cut by queries too, into equal shares, so that all blocks have as much to multiply. Who brings the last part
// of a tile adds its parts up, in their order, and finishes the rows (item_update.h), a warp 32. So nobody waits for
// anybody, and bits depend on nothing but the sizes and the chip. Half of the blocks, one on each multiprocessor, begin
// with their share: one of two neighbours moves memory while the other multiplies. Weights and moments of a tile are
// asked into the second-level cache when its products begin.
//
// 4·B·V·W flops, B·V exponentials, 24·V·D + 4·V·W bytes, parts of 512·W bytes: two written and read a block at most. At
// V = 43,097, D = 100, B = 512: 9.9 Gflop, 20 to 23 µs as forward does them; 122 MB, 31 µs at 3.98 TB/s, of which the
// 52 MB read and a third of what is written pass while others multiply; the last tiles' 46 MB go to the second-level
// cache in some 9 µs. With 3 µs to begin and for the parts: predicted 40 µs. At V = 466,867 memory is the bound: 1.33
// GB, 334 µs, beside 107 Gflop, 215 µs; 14 tiles a block overlap: predicted 360 µs, and 250 forward.
#include <algorithm>

#include "kernels/cuda/attending_rows.h"
#include "kernels/cuda/item_update.h"
#include "kernels/cuda/last_block.h"

namespace stamp::cuda {
namespace {

constexpr float kLog2e = 1.4426950408889634f;

// A tile of products, and of queries those from begin to end.
struct Job {
  int tile, begin, end;
};

// How tiles are dealt. A share is a stretch of the units of the tiles that nobody has whole, where a unit is a tile of
// products and one of queries.
struct Deal {
  int tiles, streams;  // of products, of queries
  int blocks, whole;   // tiles 0 … whole - 1 are whole ones of blocks 0, 1, …, 0, 1, …
  int sharing;         // blocks that have a share

  __host__ __device__ int units() const { return (tiles - whole) * streams; }
  __host__ __device__ int first_unit(int block) const { return block * units() / sharing; }
  // The block whose share a unit is.
  __host__ __device__ int sharer(int unit) const { return ((unit + 1) * sharing - 1) / units(); }
  // Of all parts, in the order of their units: both a next block and a next tile begin one.
  __host__ __device__ int part(int block, int shared_tile) const { return block + shared_tile; }
  __host__ __device__ int parts() const { return sharing + tiles - whole; }

  // What a block does: its whole tiles and its share, of two tiles at most. The first half of the blocks begin with it.
  __device__ int pieces(int block) const {
    if (block >= sharing) return 0;
    return (first_unit(block + 1) - 1) / streams - first_unit(block) / streams + 1;
  }
  __device__ int jobs(int block) const { return whole / blocks + pieces(block); }
  __device__ Job job(int block, int i) const {
    const int of_whole = block < blocks / 2 ? i - pieces(block) : i;
    if (of_whole >= 0 && of_whole < whole / blocks) return {block + of_whole * blocks, 0, streams};
    const int first = first_unit(block), last = first_unit(block + 1);
    const int tile = first / streams + (of_whole < 0 ? i : i - whole / blocks);
    return {whole + tile, first > tile * streams ? first - tile * streams : 0,
            last < (tile + 1) * streams ? last - tile * streams : streams};
  }
};

// Fewer tiles than blocks are shared, so that products of these numbers fit.
Deal deal(Index V, Index B, int places) {
  Deal d{};
  d.tiles = static_cast<int>(rounded(V, kRows) / kRows);
  d.streams = static_cast<int>(rounded(B, kStream) / kStream);
  d.blocks = static_cast<int>(std::min<Index>(places, Index{d.tiles} * d.streams));
  d.whole = d.tiles / d.blocks * d.blocks;
  d.sharing = std::min(d.blocks, d.units());
  return d;
}

// What the block adds up for its rows over queries first … last - 1 of the stream.
template <int W>
__device__ void attend_queries(AttendingRows<W>& rows, TileStream<W>& stream, const bf16* items, const bf16* queries,
                               const float2* shares, int first, int last) {
  rows.clear();
  const int t = lane_index() % 4;
  for_chunks(stream, queries, first, last, items, [&](int b, const bf16* chunk) {
    Scores<W> z;
    rows.scores(chunk, z);
#pragma unroll
    for (int n = 0; n < kChunk<W> / 8; ++n) {
      const float4 pair = *reinterpret_cast<const float4*>(shares + b + 8 * n + 2 * t);
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const float log_sum = c % 2 ? pair.z : pair.x, weight = c % 2 ? pair.w : pair.y;
          z[m][n][c] = weight * exp2_approx(fmaf(z[m][n][c], kLog2e, -log_sum));
        }
    }
    rows.accumulate(chunk, z);
  });
}

// A part of out, as the threads have it: [2·W/8] float4 each.
template <int W>
__device__ float4* part_at(float* parts, int part) {
  return reinterpret_cast<float4*>(parts + static_cast<Index>(part) * (kRows * W)) + threadIdx.x;
}

// Leaves the block's part, and gathers all of the tile's where it is the last: counts[shared_tile] have come.
template <int W>
__device__ bool gather_parts(AttendingRows<W>& rows, const Deal& deal, int shared_tile, float* parts,
                             unsigned* counts) {
  __shared__ bool last;
  float4* own = part_at<W>(parts, deal.part(static_cast<int>(blockIdx.x), shared_tile));
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < W / 8; ++n) {
      const float(&x)[4] = rows.out[m][n];
      own[(m * (W / 8) + n) * kTensorThreads] = make_float4(x[0], x[1], x[2], x[3]);
    }
  const int begin = deal.sharer(shared_tile * deal.streams), end = deal.sharer((shared_tile + 1) * deal.streams - 1);
  __syncthreads();
  if (threadIdx.x == 0) last = comes_last(counts + shared_tile, static_cast<unsigned>(end - begin));
  __syncthreads();
  if (!last) return false;
  rows.clear();
  for (int block = begin; block <= end; ++block) {
    const float4* part = part_at<W>(parts, deal.part(block, shared_tile));
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < W / 8; ++n) {
        const float4 x = __ldcg(part + (m * (W / 8) + n) * kTensorThreads);
        float(&sum)[4] = rows.out[m][n];
        sum[0] += x.x, sum[1] += x.y, sum[2] += x.z, sum[3] += x.w;
      }
  }
  return true;
}

// The tile's gradients to shared memory, rows D apart, of which each warp finishes 32.
template <int W>
__device__ void finish_rows(const AttendingRows<W>& rows, const ItemGradient& p, Index first) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, t = lane_index() % 4;
  const int D = static_cast<int>(p.D);
  auto* d_rows = static_cast<float*>(dynamic_shared());
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < W / 8; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int d = 8 * n + 2 * t;
        float* to = d_rows + own_row(m, h) * D + d;
        if (D % 2 == 0 && d < D) {
          *reinterpret_cast<float2*>(to) = make_float2(rows.out[m][n][2 * h], rows.out[m][n][2 * h + 1]);
        } else {
          if (d < D) to[0] = rows.out[m][n][2 * h];
          if (d + 1 < D) to[1] = rows.out[m][n][2 * h + 1];
        }
      }
  __syncthreads();
  const Index own = first + warp * 32, left = p.V - own;
  if (left > 0) finish_item_rows(p, own, static_cast<int>(left < 32 ? left : 32), d_rows + warp * 32 * D, W);
  fence_async_proxy();
  __syncthreads();  // before the next tile comes
}

template <int W>
__global__ void __launch_bounds__(kTensorThreads, 2)
    attend_catalog_backward_kernel(const __grid_constant__ ItemGradient p, const __grid_constant__ Deal deal,
                                   const bf16* items, const bf16* queries, const float2* shares, float* parts,
                                   unsigned* counts) {
  if (!p.update.d_items && p.update.step->stopped) return;
  const int block = static_cast<int>(blockIdx.x);
  TileStream<W> stream;
#pragma unroll 1
  for (int i = 0; i < deal.jobs(block); ++i) {
    const Job job = deal.job(block, i);
    const Index first = static_cast<Index>(job.tile) * kRows;
    if (threadIdx.x == 0 && job.begin == 0 && !p.update.d_items) {
      const Index fours = (p.V - first < kRows ? p.V - first : kRows) * p.D / 4;
      for (const float* state : {p.update.items, p.update.moment1, p.update.moment2})
        if (fours > 0) prefetch_bulk(state + first * p.D, sizeof(float4) * static_cast<std::size_t>(fours));
    }
    AttendingRows<W> rows;
    attend_queries(rows, stream, items + first * W, queries, shares, job.begin, job.end);
    const bool whole = job.end - job.begin == deal.streams;
    if (whole || gather_parts(rows, deal, job.tile - deal.whole, parts, counts)) finish_rows(rows, p, first);
  }
}

}  // namespace

// Uses the bf16 rows and shares that forward left.
void CudaDevice::attend_catalog_backward(const CatalogCrossEntropy& p, const ItemGradient& gradient) {
  with_width(p.D, [&](auto width) {
    constexpr int W = width;
    const Deal d = deal(p.V, p.B, 2 * multiprocessors_);
    float* parts = parts_.need(d.parts() * kRows * W);
    unsigned* counts = arrived_.need(d.tiles - d.whole + 1);  // zeros, as every launch leaves them
    const auto* items = p.rounded ? reinterpret_cast<const bf16*>(p.rounded) : item_tiles_.data();
    launch("catalog_cross_entropy_backward", attend_catalog_backward_kernel<W>, dim3(static_cast<unsigned>(d.blocks)),
           dim3(kTensorThreads), kAttendingBytes<W>, gradient, d, items, query_tiles_.data(), shares_.data(), parts,
           counts);
  });
}

}  // namespace stamp::cuda
