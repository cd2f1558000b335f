// The catalog's loss on tensor cores, shaped like flash attention: the item table is both keys and values. bf16
// operands, fp32 sums, no score ever in memory.
//
//   forward    rows: queries, stream: items     z = q Eᵀ, p = exp(z - top)      out = Σ_v p x_v      -> d_q, log Σ exp
//   backward   rows: items,   stream: queries   zᵀ = E qᵀ, p = w exp(z - logΣ)  out = Σ_b p q_b      -> d_E -> Adam
//
// Both are two products over a stream of tiles. A block of 4 warps owns 128 rows, a warp 32: their bf16 fragments and
// out stay in registers (56 + 112 of 255 a lane at W = 112). Tiles of 64 stream rows come by cp.async
// into two buffers in turn; ldmatrix gives them as they are for the first product and transposed for the second, each
// load serves four mma. Forward, the catalog is split over blocks as in flash decoding, so that few queries fill the
// chip; the parts are combined in one order. Backward, the owner of 128 items finishes their rows (item_update.h).
//
// With W = D rounded up to 32, 64, 112 or 128: 4·B·V·W flops each way; bytes: 4·V·D + 2·V·W to make the bf16 copies,
// 24·V·D for weights and moments, the stream from the second-level cache, 2·V·W a 128 queries and back. At V = 43,097,
// D = 100, B = 512: 20 Gflop, 20 µs at 990 Tflop/s and some 40 at what mma.sync reaches; 140 MB, 30 µs at 4.8 TB/s.
#include <algorithm>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/item_update.h"
#include "kernels/cuda/tensor_rows.h"

namespace stamp::cuda {
namespace {

constexpr float kLog2e = 1.4426950408889634f;

// Rows, and what the second product adds up for them.
template <int W>
struct AttendingRows : RowFragments<W> {
  float out[2][W / 8][4] = {};

  // out += p times the same stream rows. The accumulators of one product are laid out as the operand of the next.
  __device__ void accumulate(const bf16* tile, const float (&p)[2][2][4]) {
    const int lane = lane_index();
    std::uint32_t left[2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) left[m][i] = pack_bf16(p[m][i / 2][i % 2 * 2], p[m][i / 2][i % 2 * 2 + 1]);
    const bf16* row = tile + lane % 16 * kSharedStride<W> + lane / 16 * 8;
#pragma unroll
    for (int n = 0; n < W / 16; ++n) {
      std::uint32_t b[4];
      load_matrices_transposed(b, row + 16 * n);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        mma_m16n8k16(out[m][2 * n], left[m], {b[0], b[1]});
        mma_m16n8k16(out[m][2 * n + 1], left[m], {b[2], b[3]});
      }
    }
  }
};

// Part blockIdx.x of the catalog for 128 queries: stats [parts][Bp] of (top, Σ exp2(z log2 e - top)), outs
// [parts][Bp,W] of Σ exp2(…) x.
template <int W>
__global__ void __launch_bounds__(kTensorThreads, 2)
    attend_catalog_kernel(Index V, Index tiles, Index padded, const bf16* queries, const bf16* items, float2* stats,
                          float* outs) {
  const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / kWarp, g = lane / 4, t = lane % 4;
  const Index part = blockIdx.x, parts = gridDim.x, own = static_cast<Index>(blockIdx.y) * kRows + warp * 32;
  AttendingRows<W> rows;
  rows.load(queries + own * W);
  float tops[2][2], sums[2][2];  // of rows g and g + 8; sums are this lane's share
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) tops[m][h] = -INFINITY, sums[m][h] = 0;

  for_stream<W>(items, part * tiles / parts, (part + 1) * tiles / parts, [&](Index tile, const bf16* chunk, int i) {
    float z[2][2][4];
    rows.scores(chunk, z);
    const Index first = tile * kStream + 16 * i;
    if (first + 16 > V)  // rows behind the catalog
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int c = 0; c < 4; ++c)
            if (first + 8 * n + 2 * t + c % 2 >= V) z[m][n][c] = -INFINITY;
    float before[2][2];
    bool grown = false;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float top = fmaxf(fmaxf(z[m][0][2 * h], z[m][0][2 * h + 1]), fmaxf(z[m][1][2 * h], z[m][1][2 * h + 1]));
        top = fmaxf(top, __shfl_xor_sync(kAll, top, 1));
        top = fmaxf(top, __shfl_xor_sync(kAll, top, 2)) * kLog2e;
        before[m][h] = tops[m][h];
        grown |= top > tops[m][h];
        tops[m][h] = fmaxf(tops[m][h], top);
      }
    if (__any_sync(kAll, grown)) {  // seldom, after the first tiles
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const float shrink = before[m][h] == tops[m][h] ? 1.0f : exp2_approx(before[m][h] - tops[m][h]);
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
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          // -inf: behind the catalog, and perhaps nothing else so far.
          z[m][n][c] = z[m][n][c] == -INFINITY ? 0.0f : exp2_approx(fmaf(z[m][n][c], kLog2e, -tops[m][c / 2]));
          sums[m][c / 2] += z[m][n][c];
        }
    rows.accumulate(chunk, z);
  });

#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = sums[m][h];
      sum += __shfl_xor_sync(kAll, sum, 1);
      sum += __shfl_xor_sync(kAll, sum, 2);
      const Index row = part * padded + own + 16 * m + g + 8 * h;
      if (t == 0) stats[row] = make_float2(tops[m][h], sum);
#pragma unroll
      for (int n = 0; n < W / 8; ++n)
        *reinterpret_cast<float2*>(outs + row * W + 8 * n + 2 * t) =
            make_float2(rows.out[m][n][2 * h], rows.out[m][n][2 * h + 1]);
    }
}

// Combines the parts, a warp a query. The target's score is that of the bf16 rows, as in the sum.
__global__ void combine_parts_kernel(CatalogCrossEntropy p, int W, Index padded, int parts, const bf16* queries,
                                     const bf16* items, const float2* stats, const float* outs, float* losses,
                                     float* log_sums, float* d_queries) {
  const Index b = warp_index();
  if (b >= p.B) return;
  float top = -INFINITY, sum = 0;
  for (int part = lane_index(); part < parts; part += kWarp) top = fmaxf(top, stats[part * padded + b].x);
  top = warp_max(top);
  for (int part = lane_index(); part < parts; part += kWarp)
    sum += stats[part * padded + b].y * exp2_approx(stats[part * padded + b].x - top);
  sum = warp_sum(sum);
  const Index target = p.targets[b];
  float score = 0;
  for (int d = lane_index(); d < W; d += kWarp)
    score += __bfloat162float(queries[b * W + d]) * __bfloat162float(items[target * W + d]);
  score = warp_sum(score);
  const float* item = p.items + target * p.D;
  const float norm = p.normalize_items ? sqrtf(warp_dot(p.D, item, item)) : 1.0f;
  const float weight = p.weights[b], of_target = norm > 0 ? weight / norm : 0.0f;
  if (lane_index() == 0) {
    log_sums[b] = top / kLog2e + logf(sum);
    losses[b] = log_sums[b] - score;
  }
  float out[kWidest / kWarp] = {};
#pragma unroll 4
  for (int part = 0; part < parts; ++part) {
    const float factor = exp2_approx(stats[part * padded + b].x - top);
#pragma unroll
    for (int j = 0; j < kWidest / kWarp; ++j)
      if (const int d = lane_index() + j * kWarp; d < W) out[j] += factor * outs[(part * padded + b) * W + d];
  }
#pragma unroll
  for (int j = 0; j < kWidest / kWarp; ++j)
    if (const Index d = lane_index() + j * kWarp; d < p.D)
      d_queries[b * p.D + d] = out[j] * (weight / sum) - of_target * item[d];
}

// shares[b] = (log Σ exp in powers of 2, w); rows behind the batch weigh nothing.
__global__ void shares_kernel(Index B, Index padded, const float* weights, const float* log_sums, float2* shares) {
  const Index b = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (b < padded) shares[b] = b < B ? make_float2(log_sums[b] * kLog2e, weights[b]) : make_float2(0, 0);
}

template <int W>
__global__ void __launch_bounds__(kTensorThreads, 2)
    attend_catalog_backward_kernel(ItemGradient p, Index tiles, const bf16* items, const bf16* queries,
                                   const float2* shares) {
  if (!p.update.d_items && p.update.step->stopped) return;
  const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / kWarp, g = lane / 4, t = lane % 4;
  const Index own = static_cast<Index>(blockIdx.x) * kRows;
  AttendingRows<W> rows;
  rows.load(items + (own + warp * 32) * W);
  for_stream<W>(queries, 0, tiles, [&](Index tile, const bf16* chunk, int i) {
    float z[2][2][4];
    rows.scores(chunk, z);
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const float2 share = shares[tile * kStream + 16 * i + 8 * n + 2 * t + c];
#pragma unroll
        for (int m = 0; m < 2; ++m)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            float& value = z[m][n][2 * h + c];
            value = share.y * exp2_approx(fmaf(value, kLog2e, -share.x));
          }
      }
    rows.accumulate(chunk, z);
  });

  constexpr int kStride = W + 4;
  auto* d_rows = static_cast<float*>(dynamic_shared());
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < W / 8; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h)
        *reinterpret_cast<float2*>(d_rows + (warp * 32 + 16 * m + g + 8 * h) * kStride + 8 * n + 2 * t) =
            make_float2(rows.out[m][n][2 * h], rows.out[m][n][2 * h + 1]);
  __syncthreads();
  finish_item_rows<kTensorThreads>(p, own, static_cast<int>(p.V - own < kRows ? p.V - own : kRows), d_rows, kStride);
}

}  // namespace

void CudaDevice::attend_catalog(const CatalogCrossEntropy& p, float* losses, float* log_sums, float* d_queries) {
  with_width(p.D, [&](auto width) {
    constexpr int W = width;
    const Index Bp = rounded(p.B, kRows), Vp = rounded(p.V, kRows), tiles = Vp / kStream, blocks = Bp / kRows;
    bf16* items = item_tiles_.need(Vp * W);
    bf16* queries = query_tiles_.need(Bp * W);
    launch("bf16 items", bf16_rows_kernel, blocks_for(Vp, kWarps), dim3(kThreads), 0, p.V, Vp, p.D, W,
           ItemRows{.items = p.items, .normalize = p.normalize_items}, reinterpret_cast<std::uint32_t*>(items));
    launch("bf16 queries", bf16_rows_kernel, blocks_for(Bp, kWarps), dim3(kThreads), 0, p.B, Bp, p.D, W,
           ItemRows{p.queries}, reinterpret_cast<std::uint32_t*>(queries));
    const Index parts = std::min(tiles, std::max<Index>(1, 2 * multiprocessors_ / blocks));  // two blocks each
    float* outs = parts_.need(parts * Bp * (W + 2));
    auto* stats = reinterpret_cast<float2*>(outs + parts * Bp * W);
    launch("catalog_cross_entropy", attend_catalog_kernel<W>,
           dim3(static_cast<unsigned>(parts), static_cast<unsigned>(blocks)), dim3(kTensorThreads), 2 * kTileBytes<W>,
           p.V, tiles, Bp, queries, items, stats, outs);
    launch("catalog_cross_entropy's end", combine_parts_kernel, blocks_for(p.B, kWarps), dim3(kThreads), 0, p, W, Bp,
           static_cast<int>(parts), queries, items, stats, outs, losses, log_sums, d_queries);
  });
}

// Uses the bf16 rows that forward left.
void CudaDevice::attend_catalog_backward(const CatalogCrossEntropy& p, const float* log_sums,
                                         const ItemGradient& gradient) {
  with_width(p.D, [&](auto width) {
    constexpr int W = width;
    const Index Bp = rounded(p.B, kRows), Vp = rounded(p.V, kRows);
    auto* shares = reinterpret_cast<float2*>(parts_.need(2 * Bp));
    launch("catalog_cross_entropy_backward's shares", shares_kernel, blocks_for(Bp, kThreads), dim3(kThreads), 0, p.B,
           Bp, p.weights, log_sums, shares);
    constexpr std::size_t kShared = std::max(2 * kTileBytes<W>, sizeof(float) * kRows * (W + 4));
    launch("catalog_cross_entropy_backward", attend_catalog_backward_kernel<W>, blocks_for(Vp, kRows),
           dim3(kTensorThreads), kShared, gradient, Bp / kStream, item_tiles_.data(), query_tiles_.data(), shares);
  });
}

}  // namespace stamp::cuda
