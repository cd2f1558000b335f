// Rows on tensor cores: bf16 copies of them, fragments that stay in registers, and a stream of tiles past them.
//
// A block of 4 warps owns 128 rows, a warp 32. Tiles of 64 stream rows come by cp.async into two buffers in turn, and
// ldmatrix gives them as they are for z = rows · streamᵀ or transposed for p · stream; each load serves four mma.
#pragma once

#include <ptx.h>

#include <type_traits>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {

constexpr int kTensorThreads = 128;
constexpr int kRows = 128;   // that a block owns
constexpr int kStream = 64;  // stream rows of a tile

// A shared row has W + 8 bf16: eight rows begin in eight different groups of 4 banks, so ldmatrix meets none twice.
template <int W>
constexpr int kSharedStride = W + 8;
template <int W>
constexpr std::size_t kTileBytes = sizeof(bf16) * kStream* kSharedStride<W>;

// A warp's 32 rows: [m] of 16, as mma_m16n8k16 has them.
template <int W>
struct RowFragments {
  std::uint32_t a[2][W / 16][4];

  // From `first`, the warp's first row; rows lie W apart.
  __device__ void load(const bf16* first) {
    const int g = lane_index() / 4, t = lane_index() % 4;
    const auto at = [&](int row, int column) {
      return *reinterpret_cast<const std::uint32_t*>(first + row * W + column);
    };
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int k = 0; k < W / 16; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) a[m][k][i] = at(16 * m + g + i % 2 * 8, 16 * k + 2 * t + i / 2 * 8);
  }

  // z[32,16] of the rows and 16 stream rows, which lie at `tile` in shared memory: z[m][n][2h + c] is row
  // 16m + lane / 4 + 8h and stream row 8n + 2 (lane % 4) + c.
  __device__ void scores(const bf16* tile, float (&z)[2][2][4]) const {
    const int lane = lane_index();
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) z[m][n][i] = 0;
    const bf16* row = tile + (lane % 8 + lane / 16 * 8) * kSharedStride<W> + lane / 8 % 2 * 8;
#pragma unroll
    for (int k = 0; k < W / 16; ++k) {
      std::uint32_t b[4];
      load_matrices(b, row + 16 * k);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        mma_m16n8k16(z[m][0], a[m][k], {b[0], b[1]});
        mma_m16n8k16(z[m][1], a[m][k], {b[2], b[3]});
      }
    }
  }
};

// Tiles first … last-1 of `stream` [·,W] through the front of the block's shared memory: chunk(tile's number, 16 rows
// of it in shared memory, which 16).
template <int W, class Chunk>
__device__ void for_stream(const bf16* stream, Index first, Index last, Chunk&& chunk) {
  auto* shared = static_cast<bf16*>(dynamic_shared());
  constexpr int kStride = kSharedStride<W>, kPieces = W / 8;  // of 16 bytes, a row
  const auto fetch = [&](Index tile) {
    bf16* to = shared + tile % 2 * kStream * kStride;
    const bf16* from = stream + tile * kStream * W;
    for (int i = static_cast<int>(threadIdx.x); i < kStream * kPieces; i += kTensorThreads)
      copy_async(to + i / kPieces * kStride + i % kPieces * 8, from + i * 8);
    copy_async_commit();
  };
  if (first < last) fetch(first);
  for (Index tile = first; tile < last; ++tile) {
    if (tile + 1 < last) {
      fetch(tile + 1);
      copy_async_wait<1>();
    } else {
      copy_async_wait<0>();
    }
    __syncthreads();
#pragma unroll 1  // four chunks at once would not fit into the registers
    for (int i = 0; i < kStream / 16; ++i) chunk(tile, shared + (tile % 2 * kStream + 16 * i) * kStride, i);
    __syncthreads();  // before the next copy overwrites it
  }
}

__device__ inline const float* row_of(const ItemRows& x, Index n, Index D) {
  return x.items + (x.rows ? x.rows[n] : n) * D;
}

// y[N',W] = bf16 of x[N,D], of length 1 where asked for; the rest zero. A warp a row.
__global__ static void bf16_rows_kernel(Index N, Index padded, Index D, int W, ItemRows x, std::uint32_t* y) {
  const Index n = warp_index();
  if (n >= padded) return;
  float scale = x.normalize && x.inverse_norms && n < N ? x.inverse_norms[n] : 1;
  if (x.normalize && !x.inverse_norms && n < N) {
    const float norm = sqrtf(warp_dot(D, row_of(x, n, D), row_of(x, n, D)));
    scale = norm > 0 ? 1 / norm : 0.0f;
  }
  const auto at = [&](Index d) { return n < N && d < D ? row_of(x, n, D)[d] * scale : 0.0f; };
  for (int pair = lane_index(); pair < W / 2; pair += kWarp)
    y[n * (W / 2) + pair] = pack_bf16(at(2 * pair), at(2 * pair + 1));
}

// Calls f(std::integral_constant<int, W>) for the W that D fits into.
template <class F>
void with_width(Index D, F&& f) {
  if (D <= 32)
    f(std::integral_constant<int, 32>());
  else if (D <= 64)
    f(std::integral_constant<int, 64>());
  else if (D <= 112)
    f(std::integral_constant<int, 112>());
  else
    f(std::integral_constant<int, 128>());
}

inline Index rounded(Index n, Index to) { return (n + to - 1) / to * to; }

}  // namespace stamp::cuda
