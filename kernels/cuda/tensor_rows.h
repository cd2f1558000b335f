// Rows on tensor cores: bf16 copies of them, fragments that stay in registers, and a stream of tiles past them.
//
// A block of 4 warps owns 128 rows, a warp 32. Tiles of 64 stream rows come by cp.async into two buffers in turn.
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

// Rows [count,W] to shared memory, kSharedStride apart, as one group of copies. A thread keeps to its columns, so that
// all addresses are one and constants.
template <int W, int count>
__device__ void fetch_rows(const bf16* from, bf16* to) {
  constexpr int kPieces = W / 8, kAtOnce = kTensorThreads / kPieces;  // pieces of 16 bytes of a row; rows
  const int row = static_cast<int>(threadIdx.x) / kPieces, column = static_cast<int>(threadIdx.x) % kPieces * 8;
  from += row * W + column;
  to += row * kSharedStride<W> + column;
#pragma unroll
  for (int i = 0; i < count; i += kAtOnce)
    if (row < kAtOnce && row + i < count) copy_async(to + i * kSharedStride<W>, from + i * W);
  copy_async_commit();
}

// Tiles first … last-1 of `stream` [·,W] through the front of the block's shared memory: visit(tile's number, its
// rows). Whatever the block fetched before is there, too.
template <int W, class Visit>
__device__ void for_tiles(const bf16* stream, int first, int last, Visit&& visit) {
  auto* shared = static_cast<bf16*>(dynamic_shared());
  constexpr int kTile = kStream * kSharedStride<W>;
  const auto fetch = [&](int tile) {
    fetch_rows<W, kStream>(stream + static_cast<Index>(tile) * (kStream * W), shared + tile % 2 * kTile);
  };
  if (first < last) fetch(first);
  for (int tile = first; tile < last; ++tile) {
    if (tile + 1 < last) {
      fetch(tile + 1);
      copy_async_wait<1>();
    } else {
      copy_async_wait<0>();
    }
    __syncthreads();
    visit(tile, shared + tile % 2 * kTile);
    __syncthreads();  // before the next copy overwrites it
  }
}

// The same, 16 rows at a time: chunk(tile's number, 16 rows of it, which 16).
template <int W, class Chunk>
__device__ void for_stream(const bf16* stream, int first, int last, Chunk&& chunk) {
  for_tiles<W>(stream, first, last, [&](int tile, const bf16* rows) {
#pragma unroll 1  // four chunks at once would not fit into the registers
    for (int i = 0; i < kStream / 16; ++i) chunk(tile, rows + 16 * i * kSharedStride<W>, i);
  });
}

__device__ inline const float* row_of(const ItemRows& x, Index n, Index D) {
  return x.items + (x.rows ? x.rows[n] : n) * D;
}

// y[W] = bf16 of row[D] times `scale`, the rest zero. By a warp.
__device__ inline void write_bf16_row(Index D, int W, const float* row, float scale, std::uint32_t* y) {
  const auto at = [&](Index d) { return d < D ? row[d] * scale : 0.0f; };
  for (int pair = lane_index(); pair < W / 2; pair += kWarp) y[pair] = pack_bf16(at(2 * pair), at(2 * pair + 1));
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
