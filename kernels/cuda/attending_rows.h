// Rows that attend to a stream of others: the two products that the catalog's loss is made of, on tensor cores.
//
//   z = rows · streamᵀ       out += p · stream       p what the caller makes of z
//
// A block of 4 warps owns 128 rows, a warp 32. They lie in shared memory beside two tiles of 64 stream rows; z [32,64]
// and out [32,W] stay in registers (64 + 2·W a lane). ldmatrix brings 6 fragments for 16 mma in the first product, and
// 1 for 4 in the second: at W = 112 70 for 224, 0.63 of what shared memory could bring while mma.sync multiplies.
// Sixteen sums are independent of each other, so two warps a scheduler cover what an mma takes.
#pragma once

#include "kernels/cuda/tensor_rows.h"

namespace stamp::cuda {

template <int W>
constexpr std::size_t kAttendingBytes = 4 * kTileBytes<W>;  // two tiles of the stream, 128 own rows

template <int W>
__device__ bf16* own_rows() {
  return static_cast<bf16*>(dynamic_shared()) + 2 * kStream * kSharedStride<W>;
}

// Stream rows whose scores there are registers for.
template <int W>
constexpr int kChunk = W > 112 ? kStream / 2 : kStream;

// Scores: z[m][n][2h + c] is row 16m + lane / 4 + 8h of the warp and stream row 8n + 2 (lane % 4) + c of the chunk.
template <int W>
using Scores = float[2][kChunk<W> / 8][4];

// Tiles first … last-1 of `stream`, a chunk at a time: visit(the number of its first row, its rows).
template <int W, class Visit>
__device__ void for_chunks(const bf16* stream, int first, int last, Visit&& visit) {
  for_tiles<W>(stream, first, last, [&](int tile, const bf16* rows) {
#pragma unroll 1
    for (int i = 0; i < kStream; i += kChunk<W>) visit(tile * kStream + i, rows + i * kSharedStride<W>);
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

  // z of the warp's rows, which lie at `own`, and a chunk.
  __device__ static void scores(const bf16* own, const bf16* chunk, Scores<W>& z) {
    constexpr int kStride = kSharedStride<W>;
    const int lane = lane_index();
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < kChunk<W> / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) z[m][n][i] = 0;
    const bf16* left = own + lane % 16 * kStride + lane / 16 * 8;
    const bf16* right = chunk + (lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8;
#pragma unroll
    for (int k = 0; k < W / 16; ++k) {
      std::uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) load_matrices(a[m], left + 16 * m * kStride + 16 * k);
#pragma unroll
      for (int j = 0; j < kChunk<W> / 16; ++j) {
        std::uint32_t b[4];
        load_matrices(b, right + 16 * j * kStride + 16 * k);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          mma_m16n8k16(z[m][2 * j], a[m], {b[0], b[1]});
          mma_m16n8k16(z[m][2 * j + 1], a[m], {b[2], b[3]});
        }
      }
    }
  }

  // out += p times the chunk. The accumulators of one product are laid out as the operand of the next.
  __device__ void accumulate(const bf16* chunk, const Scores<W>& p) {
    constexpr int kStride = kSharedStride<W>;
    const int lane = lane_index();
    const bf16* right = chunk + lane % 16 * kStride + lane / 16 * 8;
#pragma unroll
    for (int j = 0; j < kChunk<W> / 16; ++j) {
      std::uint32_t left[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          left[m][i] = pack_bf16(p[m][2 * j + i / 2][i % 2 * 2], p[m][2 * j + i / 2][i % 2 * 2 + 1]);
#pragma unroll
      for (int n = 0; n < W / 16; ++n) {
        std::uint32_t b[4];
        load_matrices_transposed(b, right + 16 * j * kStride + 16 * n);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          mma_m16n8k16(out[m][2 * n], left[m], {b[0], b[1]});
          mma_m16n8k16(out[m][2 * n + 1], left[m], {b[2], b[3]});
        }
      }
    }
  }
};

}  // namespace stamp::cuda
