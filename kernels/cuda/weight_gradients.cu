// The gradients of the encoder's dense weights, in one launch: five products d_w = d_yᵀ x over the rows of a batch, and
// four sums of rows.
//
// A block owns 32 outputs by 32 inputs of one matrix; its 8 warps have every eighth 16 rows and are added up in their
// order, so the batch is split without a second launch and the sum has one order. The sums: a block 32 columns, a warp
// every eighth row.
//
// At L = 768, D = 100, B = 512: 16 blocks a matrix, 80 in all, and 16 of sums; 54 Mflop. A block reads 130 to 200 KB of
// rows from the second-level cache, 13 MB in all. Predicted: 1.7 µs to launch, 2.3 for the load units (four bytes a
// lane), 1 for the first rows to come, 0.5 to add up: 5.5 µs.
#include "kernels/cuda/encoder.h"

namespace stamp::cuda {
namespace {

constexpr int kSide = 32;  // outputs and inputs of a block
constexpr int kSideStride = kSide + 1;
constexpr int kProducts = 5, kSums = 4;

struct Jobs {
  Ranges ranges;
  Index D;
  struct {
    const float *d_y, *x;  // [N,D]
    float* d_w;            // [D,D]
    bool of_events;        // N: events that an example may read; else B
  } products[kProducts];
  struct {
    const float* rows;  // [B,D]
    float* sum;         // [D]; null: not wanted
  } sums[kSums];
};

// sums[m][n] += d_y[16 rows from k, outputs]ᵀ x[the same rows, inputs], in the layout of mma.
template <int bits>
__device__ void add_rows(float (&sums)[2][4][4], Index N, Index D, const float* d_y, const float* x, Index k,
                         Index outputs, Index inputs) {
  const int g = lane_index() / 4, t = lane_index() % 4;
  const auto at = [&](const float* rows, Index row, Index d) { return row < N && d < D ? rows[row * D + d] : 0.0f; };
  if constexpr (bits == 24) {
    for (int row = 0; row < 16; ++row) {
      float left[2][2], right[4][2];
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int h = 0; h < 2; ++h) left[m][h] = at(d_y, k + row, outputs + 16 * m + 8 * h + g);
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) right[n][c] = at(x, k + row, inputs + 8 * n + 2 * t + c);
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) sums[m][n][i] = fmaf(left[m][i / 2], right[n][i % 2], sums[m][n][i]);
    }
  } else {
    const auto four = [&](const float* rows, Index d) {
      const Index row = k + 4 * t;
      return make_float4(at(rows, row, d), at(rows, row + 1, d), at(rows, row + 2, d), at(rows, row + 3, d));
    };
    float4 left[2][2], right[4];
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) left[m][h] = four(d_y, outputs + 16 * m + 8 * h + g);
#pragma unroll
    for (int n = 0; n < 4; ++n) right[n] = four(x, inputs + 8 * n + g);
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n) multiply_fours<bits>(sums[m][n], left[m][0], left[m][1], right[n]);
  }
}

template <int bits>
__global__ void __launch_bounds__(kThreads) weight_gradients_kernel(Jobs jobs) {
  auto* parts = static_cast<float*>(dynamic_shared());  // [kWarps][kSide][kSideStride]
  const int thread = static_cast<int>(threadIdx.x), lane = lane_index(), warp = thread / kWarp;
  const Index D = jobs.D, sides = (D + kSide - 1) / kSide, B = jobs.ranges.B;

  if (blockIdx.y >= kProducts) {
    const auto& job = jobs.sums[blockIdx.y - kProducts];
    const Index d = static_cast<Index>(blockIdx.x) * kSide + lane;
    if (blockIdx.x >= sides || !job.sum) return;
    float sum = 0;
    if (d < D)
      for (Index b = warp; b < B; b += kWarps) sum += job.rows[b * D + d];
    parts[warp * kSide + lane] = sum;
    __syncthreads();
    if (warp != 0 || d >= D) return;
    sum = 0;
    for (int of = 0; of < kWarps; ++of) sum += parts[of * kSide + lane];
    job.sum[d] = sum;
    return;
  }

  const auto& job = jobs.products[blockIdx.y];
  const Index outputs = blockIdx.x / sides * kSide, inputs = blockIdx.x % sides * kSide;
  const Index N = job.of_events ? end_of(jobs.ranges, B - 1) : B;
  float sums[2][4][4] = {};
  for (Index k = 16 * warp; k < N; k += 16 * kWarps) add_rows<bits>(sums, N, D, job.d_y, job.x, k, outputs, inputs);
  float* own = parts + warp * kSide * kSideStride;
#pragma unroll
  for (int m = 0; m < 2; ++m)
    for_outputs(16 * m, sums[m], [&](int output, int input, float sum) { own[output * kSideStride + input] = sum; });
  __syncthreads();
  for (int i = thread; i < kSide * kSide; i += kThreads) {
    const int output = i / kSide, input = i % kSide;
    float sum = 0;
#pragma unroll
    for (int of = 0; of < kWarps; ++of) sum += parts[(of * kSide + output) * kSideStride + input];
    if (outputs + output < D && inputs + input < D) job.d_w[(outputs + output) * D + inputs + input] = sum;
  }
}

}  // namespace

void CudaDevice::weight_gradients(const Encoder& p, const EncoderRows& rows, const EncoderWeights<float>& g) {
  const Jobs jobs{
      p.ranges,
      p.D,
      {{rows.d_keys, rows.x, g.w1, true},
       {rows.d_query, rows.anchor, g.w2, false},
       {rows.d_query, rows.mean, g.w3, false},
       {rows.d_s, rows.memory, g.session_weight, false},
       {rows.d_t, rows.anchor, g.anchor_weight, false}},
      {{rows.d_w0, g.w0}, {rows.d_query, g.attention_bias}, {rows.d_s, g.session_bias}, {rows.d_t, g.anchor_bias}}};
  const auto sides = static_cast<unsigned>((p.D + kSide - 1) / kSide);
  with_operands(precision_, p.D, [&](auto bits, auto) {
    launch("encode_backward of weights", weight_gradients_kernel<bits>, dim3(sides * sides, kProducts + kSums),
           dim3(kThreads), sizeof(float) * kWarps * kSide * kSideStride, jobs);
  });
}

}  // namespace stamp::cuda
