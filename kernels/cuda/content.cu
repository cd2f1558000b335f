// Item rows of attributes, and from the gradients of the rows to those of what they are made of.
//
//   x_v = c_v + k_v δ_v      c_v = Σ_{a of v} A_a      dA_a = Σ_{v having a} G_v      dδ_v = k_v G_v
//
// A warp owns a product's row, or a piece of the products that have a value; what the pieces of one value add up is
// added by a block, in their order. Bound by memory: with J attributes a product, J·4 bytes an element of [V,D] read
// for dA, and 8 to 12 for the rows; attribute rows are few and stay in the second-level cache. At V = 43,097, D = 100,
// J = 4: 69 MB and 17 µs, 34 MB and 9 µs at 3.98 TB/s.
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"
#include "stamp/philox.h"

namespace stamp::cuda {
namespace {

constexpr int kColumns = 4;  // of a lane at once, kWarp apart

// Whether the step drops the difference of product v.
__device__ bool is_dropped(const ContentRows& p, const TrainingStep* step, Index v) {
  if (!step || !(p.dropout > 0) || p.row_offsets[v] == p.row_offsets[v + 1]) return false;
  const auto words =
      philox(p.seed, streams::kContent + static_cast<std::uint64_t>(step->number), static_cast<std::uint64_t>(v / 4));
  std::uint32_t word = words[3];
  if (v % 4 == 0) word = words[0];
  if (v % 4 == 1) word = words[1];
  if (v % 4 == 2) word = words[2];
  return uniform(word) < p.dropout;
}

// Columns column, column + kWarp, … of the sum of attribute rows begin … end - 1 of the list, in its order.
__device__ void content_at(const ContentRows& p, Index begin, Index end, Index column, float (&c)[kColumns]) {
#pragma unroll
  for (int j = 0; j < kColumns; ++j) c[j] = 0;
  for (Index i = begin; i < end; ++i) {
    const float* row = p.attribute_rows + p.rows[i] * p.D;
#pragma unroll
    for (int j = 0; j < kColumns; ++j)
      if (const Index d = column + j * kWarp; d < p.D) c[j] += row[d];
  }
}

__global__ void __launch_bounds__(kThreads) content_rows_kernel(ContentRows p, const TrainingStep* step) {
  const Index v = warp_index();
  if (v >= p.V) return;
  const Index begin = p.row_offsets[v], end = p.row_offsets[v + 1];
  float *x = p.items + v * p.D, *difference = p.differences + v * p.D;
  float c[kColumns], squares[2] = {};  // of c and δ
  if (begin < end) {
    for (Index column = lane_index(); column < p.D; column += kColumns * kWarp) {
      content_at(p, begin, end, column, c);
#pragma unroll
      for (int j = 0; j < kColumns; ++j)
        if (const Index d = column + j * kWarp; d < p.D) {
          squares[0] = fmaf(c[j], c[j], squares[0]);
          squares[1] = fmaf(difference[d], difference[d], squares[1]);
        }
    }
    warp_sums(squares);
  }
  const float most = p.bound * sqrtf(squares[0]), length = sqrtf(squares[1]);
  const bool is_cut = begin < end && length > most;
  const float cut = is_cut ? most / length * (1 - ContentRows::kBelow) : 1.0f;
  const bool dropped = is_dropped(p, step, v);
  for (Index column = lane_index(); column < p.D; column += kColumns * kWarp) {
    content_at(p, begin, end, column, c);
#pragma unroll
    for (int j = 0; j < kColumns; ++j)
      if (const Index d = column + j * kWarp; d < p.D) {
        const float own = fmaf(difference[d], cut, 0.0f);  // rounded here, as it will be read
        if (is_cut) difference[d] = own;
        x[d] = dropped ? c[j] : c[j] + own;
      }
  }
}

// Sums of kPiece products' gradients at most, to their row where it has no more, else to sums [pieces,D].
__global__ void __launch_bounds__(kThreads)
    sum_pieces_kernel(ContentRows p, const float* d_items, float* d_attribute_rows, float* sums) {
  constexpr int kAtOnce = 4;
  const Index piece = warp_index();
  if (piece >= p.pieces) return;
  const Index row = p.piece_rows[piece], first_piece = p.first_pieces[row];
  const Index first = p.product_offsets[row] + (piece - first_piece) * ContentRows::kPiece;
  const Index end = p.product_offsets[row + 1];
  const Index last = first + ContentRows::kPiece < end ? first + ContentRows::kPiece : end;
  float* to = p.first_pieces[row + 1] - first_piece == 1 ? d_attribute_rows + row * p.D : sums + piece * p.D;
  for (Index column = lane_index(); column < p.D; column += kColumns * kWarp) {
    float sum[kColumns] = {};
    for (Index i = first; i < last; i += kAtOnce) {
      float g[kAtOnce][kColumns];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const float* from = i + k < last ? d_items + p.products[i + k] * p.D : nullptr;
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          const Index d = column + j * kWarp;
          g[k][j] = from && d < p.D ? from[d] : 0.0f;
        }
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k)
#pragma unroll
        for (int j = 0; j < kColumns; ++j) sum[j] += g[k][j];
    }
#pragma unroll
    for (int j = 0; j < kColumns; ++j)
      if (const Index d = column + j * kWarp; d < p.D) to[d] = sum[j];
  }
}

// A block adds the pieces of a long row up: a warp every kWarps-th, and what the warps have in their order.
__global__ void __launch_bounds__(kThreads)
    add_pieces_kernel(ContentRows p, const float* sums, float* d_attribute_rows) {
  __shared__ float parts[kWarps][kColumns * kWarp];
  const Index row = p.long_row_ids[blockIdx.x];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  for (Index first = 0; first < p.D; first += kColumns * kWarp) {
    float sum[kColumns] = {};
#pragma unroll 4
    for (Index piece = p.first_pieces[row] + warp; piece < p.first_pieces[row + 1]; piece += kWarps)
#pragma unroll
      for (int j = 0; j < kColumns; ++j)
        if (const Index d = first + lane_index() + j * kWarp; d < p.D) sum[j] += sums[piece * p.D + d];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) parts[warp][lane_index() + j * kWarp] = sum[j];
    __syncthreads();
    const Index d = first + threadIdx.x;
    if (threadIdx.x < kColumns * kWarp && d < p.D) {
      float total = 0;
      for (int i = 0; i < kWarps; ++i) total += parts[i][threadIdx.x];
      d_attribute_rows[row * p.D + d] = total;
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kThreads)
    drop_gradients_kernel(ContentRows p, const TrainingStep* step, float* d_items) {
  const Index v = warp_index();
  if (v >= p.V || !is_dropped(p, step, v)) return;
  for (Index d = lane_index(); d < p.D; d += kWarp) d_items[v * p.D + d] = 0;
}

}  // namespace

void CudaDevice::content_rows(const ContentRows& p, const TrainingStep* step) {
  launch("content_rows", content_rows_kernel, blocks_for(p.V, kWarps), dim3(kThreads), 0, p, step);
}

void CudaDevice::content_gradients(const ContentRows& p, const TrainingStep* step, float* d_items,
                                   float* d_attribute_rows) {
  float* sums = content_sums_.need(p.long_rows > 0 ? p.pieces * p.D : 0);
  launch("content_gradients", sum_pieces_kernel, blocks_for(p.pieces, kWarps), dim3(kThreads), 0, p, d_items,
         d_attribute_rows, sums);
  launch("content_gradients' sums", add_pieces_kernel, dim3(static_cast<unsigned>(p.long_rows)), dim3(kThreads), 0, p,
         sums, d_attribute_rows);
  if (p.dropout > 0)
    launch("content_gradients' drops", drop_gradients_kernel, blocks_for(p.V, kWarps), dim3(kThreads), 0, p, step,
           d_items);
}

}  // namespace stamp::cuda
