// Rows that attend to a stream of others: the two products that the catalog's loss is made of, on tensor cores.
//
//   z = rows · streamᵀ       out += p · stream       p what the caller makes of z
//
// A block of 4 warps owns 128 rows, which lie in shared memory beside two tiles of 64 stream rows; z [128,64] and out
// [128,W] stay in registers (64 + W a lane; z is half as wide where W is 128). Two blocks a multiprocessor: one
// multiplies while the other makes p.
//
// Compute capability 9.0 has warpgroups multiply from shared memory (wgmma), 64 rows at once: both operands of the
// first product are read there, 4 KB for what takes 32 cycles, which is all that it brings, and one of the second, half
// of that; at W = 128, 3 KB for 16 cycles, so that the first takes half as long again. Elsewhere a warp multiplies its
// 32 rows (mma.sync): ldmatrix brings 6 fragments for 16 mma in the first product, and 1 for 4 in the second; at W =
// 112 70 for 224, 0.63 of what shared memory could bring meanwhile. Sixteen sums are independent of each other, so two
// warps a scheduler cover what an mma takes.
#pragma once

#include "kernels/cuda/tensor_rows.h"

namespace stamp::cuda {

template <int W>
constexpr std::size_t kAttendingBytes = 4 * kTileBytes<W>;  // two tiles of the stream, 128 own rows

// Which of the block's rows this thread has in [m] and, of a fragment, in [2h] and [2h + 1].
__device__ inline int own_row(int m, int h) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, g = lane_index() / 4 + 8 * h;
  return has_warpgroups() ? 64 * m + 16 * warp + g : 32 * warp + 16 * m + g;
}

// Stream rows whose scores there are registers for.
template <int W>
constexpr int kChunk = W > 112 ? kStream / 2 : kStream;

// Scores: z[m][n][2h + c] is row own_row(m, h) and stream row 8n + 2 (lane % 4) + c of the chunk.
template <int W>
using Scores = float[2][kChunk<W> / 8][4];

// A stream's tiles a chunk at a time: visit(the number of its first row, its rows).
template <int W, class Visit>
__device__ void for_chunks(TileStream<W>& tiles, const bf16* stream, int first, int last, const bf16* own,
                           Visit&& visit) {
  tiles.visit(stream, first, last, own, [&](int tile, const bf16* rows) {
#pragma unroll 1
    for (int i = 0; i < kStream; i += kChunk<W>) visit(tile * kStream + i, rows + i * W);
  });
}

template <int W>
struct AttendingRows {
  float out[2][W / 8][4];  // likewise, with columns for stream rows

  __device__ void clear() {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < W / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) out[m][n][i] = 0;
  }

  // z of the block's rows, at own_rows(), and a chunk.
  __device__ static void scores(const bf16* chunk, Scores<W>& z) {
    if (has_warpgroups())
      scores_by_warpgroup(chunk, z);
    else
      scores_by_warps(chunk, z);
  }

  // out += p times the chunk. The accumulators of one product are laid out as the operand of the next.
  __device__ void accumulate(const bf16* chunk, const Scores<W>& p) {
    if (has_warpgroups())
      accumulate_by_warpgroup(chunk, p);
    else
      accumulate_by_warps(chunk, p);
  }

 private:
  __device__ static void scores_by_warpgroup(const bf16* chunk, Scores<W>& z) {
    warpgroup_arrive();
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int k = 0; k < W / 16; ++k)
        warpgroup_multiply(z[m], rows_in_shared<W>(own_rows<W>() + 64 * m * W + 16 * kCore * k),
                           rows_in_shared<W>(chunk + 16 * kCore * k), k > 0);
    warpgroup_commit();
    warpgroup_wait(z);
  }

  __device__ void accumulate_by_warpgroup(const bf16* chunk, const Scores<W>& p) {
    std::uint32_t left[2][kChunk<W> / 16][4];
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int j = 0; j < kChunk<W> / 16; ++j) pack(p[m][2 * j], p[m][2 * j + 1], left[m][j]);
    hold(out);
    hold(left);
    warpgroup_arrive();
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int j = 0; j < kChunk<W> / 16; ++j)
        warpgroup_add(out[m], left[m][j], columns_in_shared<W>(chunk + 16 * j * W));
    warpgroup_commit();
    warpgroup_wait(out);
  }

  __device__ static void scores_by_warps(const bf16* chunk, Scores<W>& z) {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < kChunk<W> / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) z[m][n][i] = 0;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const bf16 *left = own_rows<W>() + warp * 32 * W + rows_first(W), *right = chunk + columns_first(W);
#pragma unroll
    for (int k = 0; k < W / 16; ++k) {
      std::uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) load_matrices(a[m], left + 16 * m * W + 16 * kCore * k);
#pragma unroll
      for (int j = 0; j < kChunk<W> / 16; ++j) {
        std::uint32_t b[4];
        load_matrices(b, right + 16 * j * W + 16 * kCore * k);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          mma_m16n8k16(z[m][2 * j], a[m], {b[0], b[1]});
          mma_m16n8k16(z[m][2 * j + 1], a[m], {b[2], b[3]});
        }
      }
    }
  }

  __device__ void accumulate_by_warps(const bf16* chunk, const Scores<W>& p) {
    const bf16* right = chunk + rows_first(W);
#pragma unroll
    for (int j = 0; j < kChunk<W> / 16; ++j) {
      std::uint32_t left[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) pack(p[m][2 * j], p[m][2 * j + 1], left[m]);
#pragma unroll
      for (int n = 0; n < W / 16; ++n) {
        std::uint32_t b[4];
        load_matrices_transposed(b, right + 16 * j * W + 16 * kCore * n);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          mma_m16n8k16(out[m][2 * n], left[m], {b[0], b[1]});
          mma_m16n8k16(out[m][2 * n + 1], left[m], {b[2], b[3]});
        }
      }
    }
  }

  // Sixteen stream rows of p as the left operand.
  __device__ static void pack(const float (&low)[4], const float (&high)[4], std::uint32_t (&a)[4]) {
    a[0] = pack_bf16(low[0], low[1]);
    a[1] = pack_bf16(low[2], low[3]);
    a[2] = pack_bf16(high[0], high[1]);
    a[3] = pack_bf16(high[2], high[3]);
  }
};

}  // namespace stamp::cuda
