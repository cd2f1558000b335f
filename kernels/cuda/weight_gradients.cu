// The gradients of the encoder's dense weights, in one launch: five products d_w = d_yᵀ x over the rows of a batch,
// four sums of rows, and three more for each objective; and Adam, by the block that has an element's gradient.
//
// A block owns 32 outputs by 32 inputs of one matrix; its 8 warps have every eighth 16 rows and are added up in their
// order, so the batch is split without a second launch and the sum has one order. The sums: a block 32 columns, a warp
// every eighth row.
//
// At L = 768, D = 100, B = 512: 16 blocks a matrix, 80 in all, and 16 of sums; 56 Mflop. A block reads 130 to 200 KB of
// rows from the second-level cache, 13 MB in all: 1.8 µs at 64 bytes a cycle. Predicted: 1.7 µs to launch, 2.5 for
// three rounds of loads, 0.8 to add up and write, and for Adam 1.5, a load and two powers: 6.5 µs.
#include "kernels/cuda/adam.h"
#include "kernels/cuda/encoder.h"

namespace stamp::cuda {
namespace {

constexpr int kSide = 32;  // outputs and inputs of a block
constexpr int kSideStride = kSide + 1;
constexpr int kProducts = 5, kSums = 4, kMostSums = kSums + 3 * Objectives::kMost;

struct Jobs {
  Ranges ranges;
  Index D;
  struct {
    const float *d_y, *x;  // [N,D]
    Parameter weight;      // [D,D]
    bool of_events;        // N: events that an example may read; else B
  } products[kProducts];
  struct {
    const float* rows;     // [B,D]
    Parameter weight;      // [D]; without a gradient: not wanted
    const float* factors;  // one of each row, K apart; null: 1
  } sums[kMostSums];
  Index K;
  const TrainingStep* step;  // of Adam; null: gradients alone
};

// Writes the gradients of elements at[i], of none where negative, and has Adam apply them. All loads are under way
// together.
template <int n>
__device__ void finish(const Parameter& p, bool train, const AdamFactors& factors, const Index (&at)[n],
                       const float (&gradients)[n]) {
  float values[n], moments1[n], moments2[n];
#pragma unroll
  for (int i = 0; i < n; ++i)
    if (train && at[i] >= 0) {
      values[i] = p.value[at[i]];
      moments1[i] = p.moment1[at[i]];
      moments2[i] = p.moment2[at[i]];
    }
#pragma unroll
  for (int i = 0; i < n; ++i) {
    if (at[i] < 0) continue;
    p.gradient[at[i]] = gradients[i];
    if (!train) continue;
    p.value[at[i]] = adam(factors, gradients[i], values[i], moments1[i], moments2[i]);
    p.moment1[at[i]] = moments1[i];
    p.moment2[at[i]] = moments2[i];
  }
}

// sums[m][n] += d_y[16 rows from k, outputs]ᵀ x[the same rows, inputs], where sums[m][n][2h + c] is output
// 4 (lane / 4) + 2m + h and input 4 (2 (lane % 4) + c) + n of the block's: so a lane's four neighbours are four of
// them.
template <int bits, bool general>
__device__ void add_rows(float (&sums)[2][4][4], Index N, int D, const float* d_y, const float* x, Index k, int outputs,
                         int inputs) {
  const int g = lane_index() / 4, t = lane_index() % 4;
  const auto four = [&](const float* rows, Index row, int d) {
    return four_of<general>(rows + (row < N ? row : 0) * D, row < N ? d : D, D);
  };
  if constexpr (bits == 24) {
#pragma unroll 2
    for (int row = 0; row < 16; ++row) {
      const float4 of_left = four(d_y, k + row, outputs + 4 * g);
      const float4 of_right[2] = {four(x, k + row, inputs + 8 * t), four(x, k + row, inputs + 8 * t + 4)};
      const float left[4] = {of_left.x, of_left.y, of_left.z, of_left.w};
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float4& right = of_right[i % 2];
          sums[m][0][i] = fmaf(left[2 * m + i / 2], right.x, sums[m][0][i]);
          sums[m][1][i] = fmaf(left[2 * m + i / 2], right.y, sums[m][1][i]);
          sums[m][2][i] = fmaf(left[2 * m + i / 2], right.z, sums[m][2][i]);
          sums[m][3][i] = fmaf(left[2 * m + i / 2], right.w, sums[m][3][i]);
        }
    }
  } else {
    float4 l[4], r[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      l[j] = four(d_y, k + 4 * t + j, outputs + 4 * g);
      r[j] = four(x, k + 4 * t + j, inputs + 4 * g);
    }
    const float4 left[4] = {make_float4(l[0].x, l[1].x, l[2].x, l[3].x), make_float4(l[0].y, l[1].y, l[2].y, l[3].y),
                            make_float4(l[0].z, l[1].z, l[2].z, l[3].z), make_float4(l[0].w, l[1].w, l[2].w, l[3].w)};
    const float4 right[4] = {make_float4(r[0].x, r[1].x, r[2].x, r[3].x), make_float4(r[0].y, r[1].y, r[2].y, r[3].y),
                             make_float4(r[0].z, r[1].z, r[2].z, r[3].z), make_float4(r[0].w, r[1].w, r[2].w, r[3].w)};
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n) multiply_fours<bits>(sums[m][n], left[2 * m], left[2 * m + 1], right[n]);
  }
}

template <int bits, bool general>
__global__ void __launch_bounds__(kThreads, 1) weight_gradients_kernel(Jobs jobs) {
  auto* parts = static_cast<float*>(dynamic_shared());  // [kWarps][kSide][kSideStride]
  __shared__ AdamFactors factors;
  const int thread = static_cast<int>(threadIdx.x), lane = lane_index(), warp = thread / kWarp;
  const Index D = jobs.D, sides = (D + kSide - 1) / kSide, B = jobs.ranges.B;
  const bool train = jobs.step && !jobs.step->stopped;
  if (train && thread == kThreads - 1) factors = adam_factors(*jobs.step);

  if (blockIdx.y >= kProducts) {
    const auto& job = jobs.sums[blockIdx.y - kProducts];
    const Index d = static_cast<Index>(blockIdx.x) * kSide + lane;
    if (blockIdx.x >= sides || !job.weight.gradient) return;
    float sum = 0;
    if (d < D)
      for (Index b = warp; b < B; b += kWarps)
        sum += job.factors ? job.factors[b * jobs.K] * job.rows[b * D + d] : job.rows[b * D + d];
    parts[warp * kSide + lane] = sum;
    __syncthreads();
    if (warp != 0 || d >= D) return;
    sum = 0;
    for (int of = 0; of < kWarps; ++of) sum += parts[of * kSide + lane];
    finish<1>(job.weight, train, factors, {d}, {sum});
    return;
  }

  const auto& job = jobs.products[blockIdx.y];
  const int outputs = static_cast<int>(blockIdx.x / sides) * kSide,
            inputs = static_cast<int>(blockIdx.x % sides) * kSide;
  const Index N = job.of_events ? end_of(jobs.ranges, B - 1) : B;
  float sums[2][4][4] = {};
#pragma unroll(general ? 1 : 2)
  for (Index k = 16 * warp; k < N; k += 16 * kWarps)
    add_rows<bits, general>(sums, N, static_cast<int>(D), job.d_y, job.x, k, outputs, inputs);
  float* own = parts + warp * kSide * kSideStride;
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) own[(4 * g + 2 * m + i / 2) * kSideStride + 4 * (2 * t + i % 2) + n] = sums[m][n][i];
  __syncthreads();
  Index at[kSide / kWarps];
  float gradients[kSide / kWarps] = {};
#pragma unroll
  for (int i = 0; i < kSide / kWarps; ++i) {
    const int output = warp + i * kWarps;
    at[i] = outputs + output < D && inputs + lane < D ? (outputs + output) * D + inputs + lane : -1;
#pragma unroll
    for (int of = 0; of < kWarps; ++of) gradients[i] += parts[(of * kSide + output) * kSideStride + lane];
  }
  finish(job.weight, train, factors, at, gradients);
}

}  // namespace

void CudaDevice::weight_gradients(const Encoder& p, const EncoderRows& rows, const EncoderWeights<float>& g,
                                  std::span<const Parameter> parameters) {
  const auto weight_of = [&](float* gradient) {
    for (const Parameter& parameter : parameters)
      if (parameter.gradient == gradient) return parameter;
    return Parameter{0, nullptr, gradient, nullptr, nullptr};
  };
  // Row k of a matrix.
  const auto row_of = [](Parameter matrix, Index k, Index D) {
    for (float** array : {&matrix.value, &matrix.gradient, &matrix.moment1, &matrix.moment2})
      if (*array) *array += k * D;
    return matrix;
  };
  Jobs jobs{p.ranges,
            p.D,
            {{rows.d_keys, rows.x, weight_of(g.w1), true},
             {rows.d_query, rows.anchor, weight_of(g.w2), false},
             {rows.d_query, rows.mean, weight_of(g.w3), false},
             {rows.d_s, rows.memory, weight_of(g.session_weight), false},
             {rows.d_t, rows.anchor, weight_of(g.anchor_weight), false}},
            {{rows.d_w0, weight_of(g.w0), nullptr},
             {rows.d_query, weight_of(g.attention_bias), nullptr},
             {rows.d_s, weight_of(g.session_bias), nullptr},
             {rows.d_t, weight_of(g.anchor_bias), nullptr}},
            p.K,
            parameters.empty() ? nullptr : p.step};
  int sums = kSums;
  for (Index k = 0; k < p.K; ++k)
    for (const auto& [d_rows, gradient] : {std::pair{rows.d_query, g.attention_objectives},
                                           {rows.d_s, g.session_objectives},
                                           {rows.d_t, g.anchor_objectives}})
      jobs.sums[sums++] = {d_rows, row_of(weight_of(gradient), k, p.D), p.preferences + k};
  const auto sides = static_cast<unsigned>((p.D + kSide - 1) / kSide);
  with_operands(precision_, p.D, [&](auto bits, auto general) {
    launch("encode_backward of weights", weight_gradients_kernel<bits, general>,
           dim3(sides * sides, static_cast<unsigned>(kProducts + sums)), dim3(kThreads),
           sizeof(float) * kWarps * kSide * kSideStride, jobs);
  });
}

}  // namespace stamp::cuda
