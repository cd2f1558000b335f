// The catalog's loss on tensor cores, shaped like flash attention: the item table is both keys and values. bf16
// operands, fp32 sums, no score ever in memory.
//
//   z = q Eᵀ,  p = exp(z - top),  out = Σ_v p x_v,  Σ_v p    ->    loss, log Σ exp, d_q
//
// A block owns 128 queries, which it rounds to bf16 itself, and a part of the catalog, as in flash decoding, so that
// few queries fill the chip. The largest score so far is kept for each query (two shuffles a tile of 64 products), and
// what was added up shrinks when it grows. Parts are combined by a block a query, in one order.
//
// With W = D rounded up to 32, 64, 112 or 128: 4·B·V·W flops, B·V exponentials; 2·V·W bytes, once for each 128 queries,
// and parts of 4·B·W bytes each, written and read. At V = 43,097, D = 100, B = 512: 9.9 Gflop, 10 µs at what tensor
// cores could do and 23 at the 440 Tflop/s that flash attention makes of wgmma at such widths (28 at 350 by mma.sync);
// exponentials 6, 40 MB through the second-level cache 8, both beside the products. With 2 µs to begin and 15 MB of
// parts to write: predicted 27 µs. Combining: 15 MB read, 3 µs, a launch, and 1 for the last block: predicted 6 µs.
#include <algorithm>

#include "kernels/cuda/attending_rows.h"
#include "kernels/cuda/last_block.h"

namespace stamp::cuda {
namespace {

// y[N',W] = bf16 of x[N,D], of length 1 where asked for; the rest zero. A warp 8 rows.
__global__ void bf16_rows_kernel(Index N, Index padded, Index D, int W, ItemRows x, std::uint32_t* y) {
  const Index first = warp_index() * kCore;
  if (first >= padded) return;
  float scale = 1;  // of the row that this lane writes
  for (int row = 0; x.normalize && row < kCore && first + row < N; ++row) {
    const float* at = row_of(x, first + row, D);
    const float own = x.inverse_norms ? x.inverse_norms[first + row] : unit_scale(warp_dot(D, at, at));
    if (lane_index() / 4 == row) scale = own;
  }
  const auto pair = [&](int row, int column) {
    const auto at = [&](Index d) { return first + row < N && d < D ? row_of(x, first + row, D)[d] * scale : 0.0f; };
    return make_float2(at(column), at(column + 1));
  };
  write_bf16_rows(W, pair, y + first * (W / 2));
}

constexpr float kLog2e = 1.4426950408889634f;

// Columns d and d + 1 of a row[D], zeros behind it.
__device__ float2 columns_at(const float* row, Index D, Index d) {
  if (D % 2 == 0) return d < D ? *reinterpret_cast<const float2*>(row + d) : make_float2(0, 0);
  return make_float2(d < D ? row[d] : 0.0f, d + 1 < D ? row[d + 1] : 0.0f);
}

// bf16 of 32 queries from `first` on to shared memory, by a warp; zeros behind the batch.
template <int W>
__device__ void round_queries(const CatalogCrossEntropy& p, Index first, bf16* to) {
  constexpr int kAtOnce = W / kCore / 2;  // under way together: half of a row, for which there are registers
#pragma unroll 1
  for (int turn = 0; turn < 2 * 32 / kCore; ++turn) {
    const int row = turn / 2 * kCore, from = turn % 2 * kAtOnce;
    const Index b = first + row + lane_index() / 4;
    float2 x[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i)
      x[i] =
          b < p.B ? columns_at(p.queries + b * p.D, p.D, kCore * (from + i) + lane_index() % 4 * 2) : make_float2(0, 0);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i)
      reinterpret_cast<std::uint32_t*>(to + row * W)[(from + i) * kWarp + lane_index()] = pack_bf16(x[i].x, x[i].y);
  }
}

// Which of `size` products from `first` on have no score, as bits: excluded ones, and what is behind the catalog.
__device__ inline std::uint64_t left_out(const CatalogCrossEntropy& p, int first, int size) {
  const int count = static_cast<int>(p.V) - first;
  const std::uint64_t behind = count < size ? ~std::uint64_t{0} << count : 0;
  return p.excluded ? behind | p.excluded[first / 64] >> (first % 64) : behind;
}

// Part blockIdx.x of the catalog for 128 queries: stats [parts][Bp] of (top, Σ exp2(z log2 e - top)), outs
// [parts][Bp,W] of Σ exp2(…) x. The first part leaves the queries in bf16 [Bp,W].
template <int W>
__global__ void __launch_bounds__(kTensorThreads, 2)
    attend_catalog_kernel(const __grid_constant__ CatalogCrossEntropy p, int tiles, Index padded, const bf16* items,
                          bf16* queries, float2* stats, float* outs) {
  const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / kWarp, t = lane % 4;
  const int part = static_cast<int>(blockIdx.x), parts = static_cast<int>(gridDim.x);
  const int own = static_cast<int>(blockIdx.y) * kRows;
  bf16* of_warp = own_rows<W>() + warp * 32 * W;
  round_queries<W>(p, own + warp * 32, of_warp);
  __syncwarp();
  if (part == 0)
    for (int i = lane; i < 32 * W / 8; i += kWarp)
      reinterpret_cast<uint4*>(queries + (Index{own} + warp * 32) * W)[i] = reinterpret_cast<const uint4*>(of_warp)[i];
  AttendingRows<W> rows;
  rows.clear();
  float tops[2][2], sums[2][2];  // of own_row(m, h); sums are this lane's share
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) tops[m][h] = -INFINITY, sums[m][h] = 0;

  const int begin = static_cast<int>(Index{part} * tiles / parts);
  const int end = static_cast<int>((Index{part} + 1) * tiles / parts);
  TileStream<W> stream;
  for_chunks(stream, items, begin, end, nullptr, [&](int first, const bf16* products) {
    if (first >= p.V || (!has_warpgroups() && own + warp * 32 >= p.B)) return;  // no products, nobody's queries
    Scores<W> z;
    rows.scores(products, z);
    if (const std::uint64_t out = left_out(p, first, kChunk<W>))  // or behind the catalog
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < kChunk<W> / 8; ++n)
#pragma unroll
          for (int c = 0; c < 4; ++c)
            if (out >> (8 * n + 2 * t + c % 2) & 1) z[m][n][c] = CatalogCrossEntropy::kExcludedScore;
    float growth[2][2];
    bool grown = false;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float top = z[m][0][2 * h];
#pragma unroll
        for (int n = 0; n < kChunk<W> / 8; ++n) top = fmaxf(top, fmaxf(z[m][n][2 * h], z[m][n][2 * h + 1]));
        top = fmaxf(top, __shfl_xor_sync(kAll, top, 1));
        top = fmaxf(top, __shfl_xor_sync(kAll, top, 2)) * kLog2e;
        top = fmaxf(tops[m][h], top);
        growth[m][h] = tops[m][h] - top;
        grown |= top > tops[m][h];
        tops[m][h] = top;
      }
    if (__any_sync(kAll, grown)) {  // seldom, after the first tiles
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const float shrink = exp2_approx(growth[m][h]);
          sums[m][h] *= shrink;
#pragma unroll
          for (int n = 0; n < W / 8; ++n) {
            rows.out[m][n][2 * h] *= shrink;
            rows.out[m][n][2 * h + 1] *= shrink;
          }
        }
    }
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < kChunk<W> / 8; ++n)
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          z[m][n][c] = exp2_approx(fmaf(z[m][n][c], kLog2e, -tops[m][c / 2]));
          sums[m][c / 2] += z[m][n][c];
        }
    rows.accumulate(products, z);
  });

#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = sums[m][h];
      sum += __shfl_xor_sync(kAll, sum, 1);
      sum += __shfl_xor_sync(kAll, sum, 2);
      const Index b = own + own_row(m, h), row = part * padded + b;
      if (b >= p.B) continue;
      if (t == 0) stats[row] = make_float2(tops[m][h], sum);
#pragma unroll
      for (int n = 0; n < W / 8; ++n)
        *reinterpret_cast<float2*>(outs + row * W + 8 * n + 2 * t) =
            make_float2(rows.out[m][n][2 * h], rows.out[m][n][2 * h + 1]);
    }
}

// Combines the parts, a block a query, a warp every kWarps-th part; what the warps have is added up in their order. The
// target's score is that of the bf16 rows, as in the sum. shares[b] is what backward wants: (log Σ exp in powers of 2,
// w), of no weight behind the batch. The last block adds up the step's loss.
__global__ void __launch_bounds__(kThreads)
    combine_parts_kernel(CatalogCrossEntropy p, int W, Index padded, int parts, const bf16* queries, const bf16* items,
                         const float2* stats, const float* outs, float* losses, float* log_sums, float* d_queries,
                         float2* shares, unsigned* counts) {
  __shared__ float4 sums[kWarps][kWarp];
  __shared__ bool last;
  const Index b = blockIdx.x;
  const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / kWarp;
  if (b >= p.B) {
    if (threadIdx.x == 0) shares[b] = make_float2(0, 0);
    return;
  }
  const auto stat = [&](int part) { return stats[part * padded + b]; };
  float top = -INFINITY, sum = 0;
  for (int part = lane; part < parts; part += kWarp) top = fmaxf(top, stat(part).x);
  top = warp_max(top);
  for (int part = lane; part < parts; part += kWarp) sum = fmaf(stat(part).y, exp2_approx(stat(part).x - top), sum);
  sum = warp_sum(sum);

  float4 out = make_float4(0, 0, 0, 0);
  if (4 * lane < W)
#pragma unroll 4
    for (int part = warp; part < parts; part += kWarps) {
      const float factor = exp2_approx(stat(part).x - top);
      const float4 x = reinterpret_cast<const float4*>(outs + (part * padded + b) * W)[lane];
      out.x = fmaf(factor, x.x, out.x);
      out.y = fmaf(factor, x.y, out.y);
      out.z = fmaf(factor, x.z, out.z);
      out.w = fmaf(factor, x.w, out.w);
    }
  sums[warp][lane] = out;
  const Index target = p.targets[b];
  const float* item = p.items + target * p.D;
  const float weight = p.weights[b];
  const float of_target = p.normalize_items ? weight * unit_scale(warp_dot(p.D, item, item)) : weight;
  if (warp == 0) {
    float score = 0;
    for (int d = lane; d < W; d += kWarp)
      score =
          fmaf(__bfloat162float(queries[place_of(b, d, W)]), __bfloat162float(items[place_of(target, d, W)]), score);
    score = warp_sum(score);
    const float log_sum = top / kLog2e + logf(sum);
    if (lane == 0) {
      log_sums[b] = log_sum;
      losses[b] = log_sum - score;
      shares[b] = make_float2(log_sum * kLog2e, weight);
      last = p.step && comes_last(counts, static_cast<unsigned>(p.B - 1));
    }
  }
  __syncthreads();
  const int d = static_cast<int>(threadIdx.x);
  if (d < p.D) {
    float total = 0;
    for (int i = 0; i < kWarps; ++i) total += reinterpret_cast<const float*>(sums[i])[d];
    d_queries[b * p.D + d] = fmaf(total, weight / sum, -(of_target * item[d]));
  }
  if (last) total_loss(p.B, p.weights, losses, p.step);
}

}  // namespace

Index CudaDevice::rounded_size(Index V, Index D) const {
  Index bytes = 0;
  if (precision_ == Precision::bf16 && D <= kWidest)
    with_width(D, [&](auto width) { bytes = rounded(V, kRows) * width * static_cast<Index>(sizeof(bf16)); });
  return bytes;
}

// 4·V·D bytes read, 2·V·W written.
void CudaDevice::round_items(Index V, Index D, const ItemRows& items, std::byte* copy) {
  with_width(D, [&](auto width) {
    const Index Vp = rounded(V, kRows);
    launch("round_items", bf16_rows_kernel, blocks_for(Vp / kCore, kWarps), dim3(kThreads), 0, V, Vp, D, int{width},
           items, reinterpret_cast<std::uint32_t*>(copy));
  });
}

const bf16* CudaDevice::rounded_items(const CatalogCrossEntropy& p) {
  if (p.rounded) return reinterpret_cast<const bf16*>(p.rounded);
  auto* copy = reinterpret_cast<std::byte*>(item_tiles_.need(rounded_size(p.V, p.D) / Index{sizeof(bf16)}));
  round_items(p.V, p.D, {.items = p.items, .normalize = p.normalize_items}, copy);
  return reinterpret_cast<const bf16*>(copy);
}

void CudaDevice::attend_catalog(const CatalogCrossEntropy& p, float* losses, float* log_sums, float* d_queries) {
  with_width(p.D, [&](auto width) {
    constexpr int W = width;
    const bf16* items = rounded_items(p);
    const Index Bp = rounded(p.B, kRows), blocks = Bp / kRows;
    const int tiles = static_cast<int>(rounded(p.V, kStream) / kStream);
    const Index parts = std::min<Index>(tiles, std::max<Index>(1, 2 * multiprocessors_ / blocks));  // two blocks each
    bf16* queries = query_tiles_.need(Bp * W);
    float* outs = parts_.need(parts * Bp * (W + 2));
    auto* stats = reinterpret_cast<float2*>(outs + parts * Bp * W);
    launch("catalog_cross_entropy", attend_catalog_kernel<W>,
           dim3(static_cast<unsigned>(parts), static_cast<unsigned>(blocks)), dim3(kTensorThreads), kAttendingBytes<W>,
           p, tiles, Bp, items, queries, stats, outs);
    launch("catalog_cross_entropy's end", combine_parts_kernel, dim3(static_cast<unsigned>(rounded(p.B, kStream))),
           dim3(kThreads), 0, p, W, Bp, static_cast<int>(parts), queries, items, stats, outs, losses, log_sums,
           d_queries, shares_.need(Bp), arrived_.need(1));
  });
}

}  // namespace stamp::cuda
