// Rows on tensor cores: bf16 copies of them, and a stream of their tiles.
//
// Copies lie as core matrices, which are 8 rows by 8 columns in 128 bytes: [rows/8][W/8][8,8]. So a tile of rows is one
// stretch of memory, the same in device and in shared memory, where ldmatrix meets no bank twice, and wgmma reads it
// both as rows and transposed.
//
// A block of 4 warps owns 128 rows. Tiles of 64 stream rows come into two buffers in turn.
#pragma once

#include <bulk_copy.h>
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
  from += threadIdx.x * 8;
  to += threadIdx.x * 8;
#pragma unroll
  for (int i = 0; i < kPieces; i += kTensorThreads) copy_async(to + i * 8, from + i * 8);
  copy_async_commit();
}

// Behind the tiles of a stream: 128 rows that the block owns.
template <int W>
__device__ bf16* own_rows() {
  return static_cast<bf16*>(dynamic_shared()) + 2 * kStream * W;
}

// Tiles that stream through two buffers in front of the block's shared memory: as bulk copies, which one thread asks
// for and all await, or each thread a piece (cp.async). One a kernel.
template <int W>
class TileStream {
 public:
  // By the block; a barrier, for what its threads wrote to shared memory.
  __device__ TileStream() {
    if (has_bulk_copies() && threadIdx.x == 0)
      for (int i = 0; i < 2; ++i) begin_arrivals(arrivals() + i);
    fence_async_proxy();
    __syncthreads();
  }

  // Tiles first … last-1 of `stream` [·,W]: visit(tile's number, its rows). `own`: what comes to own_rows() before the
  // first; or null. Nobody may read what is there, nor come from writing it without a fence_async_proxy() and a
  // barrier.
  template <class Visit>
  __device__ void visit(const bf16* stream, int first, int last, const bf16* own, Visit&& visit) {
    const auto buffer = [&](int tile) { return static_cast<bf16*>(dynamic_shared()) + (tile - first) % 2 * kTile; };
    const auto at = [&](int tile) { return stream + static_cast<Index>(tile) * kTile; };
    if (has_bulk_copies()) {
      const auto fetch = [&](int tile) {
        if (threadIdx.x != 0) return;
        Arrival* arrival = arrivals() + (tile - first) % 2;
        const bool brings_own = own && tile == first;
        expect_bytes(arrival, kTileBytes<W> + (brings_own ? kOwnBytes : 0));
        copy_bulk(buffer(tile), at(tile), kTileBytes<W>, arrival);
        if (brings_own) copy_bulk(own_rows<W>(), own, kOwnBytes, arrival);
      };
      for (int tile = first; tile < last && tile < first + 2; ++tile) fetch(tile);
#pragma unroll 1
      for (int tile = first; tile < last; ++tile) {
        const int i = (tile - first) % 2;
        await(arrivals() + i, phases_ >> i & 1);
        phases_ ^= 1u << i;
        visit(tile, buffer(tile));
        __syncthreads();  // before the next copy overwrites it
        if (tile + 2 < last) fetch(tile + 2);
      }
    } else {
      const auto fetch = [&](int tile) { fetch_rows<W, kStream>(at(tile), buffer(tile)); };
      if (own) fetch_rows<W, kRows>(own, own_rows<W>());
      if (first < last) fetch(first);
      for (int tile = first; tile < last; ++tile) {
        if (tile + 1 < last) {
          fetch(tile + 1);
          copy_async_wait<1>();
        } else {
          copy_async_wait<0>();
        }
        __syncthreads();
        visit(tile, buffer(tile));
        __syncthreads();
      }
    }
  }

 private:
  static constexpr int kTile = kStream * W;
  static constexpr std::uint32_t kOwnBytes = sizeof(bf16) * kRows * W;

  __device__ static Arrival* arrivals() {  // of the buffers
    __shared__ Arrival both[2];
    return both;
  }
  unsigned phases_ = 0;  // bit i: the parity that buffer i waits for
};

// Its tiles 16 rows at a time: chunk(tile's number, 16 rows of it, which 16).
template <int W, class Chunk>
__device__ void for_stream(const bf16* stream, int first, int last, Chunk&& chunk) {
  TileStream<W> tiles;
  tiles.visit(stream, first, last, nullptr, [&](int tile, const bf16* rows) {
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
