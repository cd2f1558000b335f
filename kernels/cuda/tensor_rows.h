// Rows on tensor cores: bf16 copies of them, fragments that stay in registers, and a stream of tiles past them.
//
// Copies lie as core matrices, which are 8 rows by 8 columns in 128 bytes: [rows/8][W/8][8,8]. So a tile of rows is one
// stretch of memory, the same in device and in shared memory, where ldmatrix meets no bank twice, and wgmma reads it
// both as rows and transposed.
//
// A block of 4 warps owns 128 rows, a warp 32. Tiles of 64 stream rows come by cp.async into two buffers in turn.
#pragma once

#include <ptx.h>
#include <warpgroup.h>

#include <type_traits>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {

constexpr int kTensorThreads = 128;
constexpr int kRows = 128;   // that a block owns
constexpr int kStream = 64;  // stream rows of a tile

constexpr int kCore = 8;
template <int W>
constexpr std::size_t kTileBytes = sizeof(bf16) * kStream* W;

// Where a row's column is. Adds up over multiples of kCore: those of rows count W each, those of columns kCore.
__device__ inline Index place_of(Index row, int column, Index W) {
  return row / kCore * kCore * W + row % kCore * kCore + column / kCore * (kCore * kCore) + column % kCore;
}

// What lane l names to ldmatrix of 16 rows and 16 columns: the halves of the rows one after the other in the first
// form, as mma_m16n8k16 wants its `a`, and those of the columns in the second, for two of its `b`.
__device__ inline int rows_first(int W) {
  const int l = lane_index();
  return static_cast<int>(place_of(l % 16, l / 16 * kCore, W));
}
__device__ inline int columns_first(int W) {
  const int l = lane_index();
  return static_cast<int>(place_of(l % 8 + l / 16 * 8, l / 8 % 2 * kCore, W));
}

// Rows and columns of core matrices as operands of a warpgroup's product, which adds up over their columns, or over the
// rows themselves.
template <int W>
__device__ std::uint64_t rows_in_shared(const bf16* first) {
  return shared_matrix(first, sizeof(bf16) * kCore * kCore, sizeof(bf16) * kCore * W);
}
template <int W>
__device__ std::uint64_t columns_in_shared(const bf16* first) {
  return shared_matrix(first, sizeof(bf16) * kCore * W, sizeof(bf16) * kCore * kCore);
}

// `count` rows to shared memory, as one group of copies; by the block.
template <int W, int count>
__device__ void fetch_rows(const bf16* from, bf16* to) {
  constexpr int kPieces = count * W / 8;  // of 16 bytes
  static_assert(kPieces % kTensorThreads == 0);
#pragma unroll
  for (int i = 0; i < kPieces; i += kTensorThreads) {
    const int at = (i + static_cast<int>(threadIdx.x)) * 8;
    copy_async(to + at, from + at);
  }
  copy_async_commit();
}

// Tiles first … last-1 of `stream` [·,W] through the front of the block's shared memory: visit(tile's number, its
// rows). Whatever the block fetched before is there, too.
template <int W, class Visit>
__device__ void for_tiles(const bf16* stream, int first, int last, Visit&& visit) {
  auto* shared = static_cast<bf16*>(dynamic_shared());
  constexpr int kTile = kStream * W;
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
    fence_async_proxy();
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
    for (int i = 0; i < kStream / 16; ++i) chunk(tile, rows + 16 * i * W, i);
  });
}

__device__ inline const float* row_of(const ItemRows& x, Index n, Index D) {
  return x.items + (x.rows ? x.rows[n] : n) * D;
}

// y [W/8][8,8] = bf16 of 8 rows: pair(row, column) is what they have there and in the next column. By a warp.
template <class Pair>
__device__ void write_bf16_rows(int W, Pair&& pair, std::uint32_t* y) {
  const int row = lane_index() / 4, column = lane_index() % 4 * 2;
#pragma unroll 2
  for (int first = 0; first < W; first += kCore) {
    const float2 x = pair(row, first + column);
    y[first / kCore * kWarp + lane_index()] = pack_bf16(x.x, x.y);
  }
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
