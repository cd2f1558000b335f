// From events to queries, in one launch: a block has 8 examples, and the events that these hold pass through it in
// chunks of 64, twice where there are more.
//
//   look up (max_norm, dropout) -> anchor, mean -> query = W2 x_t + W3 m_s + b_a
//   keys = W1 x -> a = w0 · σ(keys + query), softmax -> memory = Σ a x (+ residual) -> two cells -> q (to its length)
//
// Examples of neighbouring blocks may share events: each looks them up and multiplies them itself, so blocks need not
// wait for each other; the one that has the first example which holds an event leaves it for backward. What is summed
// over the events of an example is summed in their order, so no chunk and no batch shows in a bit.
//
// Bound by latency. At L = 768, D = 100, B = 512: 64 blocks, one wave; 54 Mflop, 0.3 MB looked up and 1.9 MB left. A
// block reads five matrices, 200 KB, from the second-level cache: 1.9 µs at 64 bytes a cycle, 13 MB in all.
// Predicted: 1.7 µs to launch; 2.5 for three loads that wait for each other (range, id, row); 4 for three rounds of
// products, 0.6 each for their weights to come and 2.2 in all to pass the load units; 1.9 for gates, sums, cells and
// length; 1.5 for instructions to come: 11.5 µs. One request of five events takes the same.
#include "kernels/cuda/encoder.h"

namespace stamp::cuda {
namespace {

constexpr int kChunk = 64;                            // events
constexpr int kGroup = 32;                            // of them, whose keys a warp computes at once
constexpr int kRowsOfBlock = 2 * kChunk + 4 * kTile;  // x and keys; anchor, mean, query, memory

// Events chunk … to-1 into the kChunk rows of x, zeros behind them; by all warps, each every eighth row, to be seen
// after a barrier. All of a warp's loads are under way together.
template <bool general>
__device__ void look_up(const Encoder& p, Index chunk, Index to, float* x) {
  constexpr int kOwn = kChunk / kWarps, kAtOnce = 4;
  const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int D = static_cast<int>(p.D), width = padded(D), stride = stride_of(D);
  std::int32_t ids[kOwn];
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    const Index l = chunk + warp + i * kWarps;
    ids[i] = l < to ? p.events[l] : -1;
  }
#pragma unroll 1
  for (int column = lane; column < width; column += kAtOnce * kWarp) {
    float values[kOwn][kAtOnce];
#pragma unroll
    for (int i = 0; i < kOwn; ++i)
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j)
        values[i][j] = ids[i] >= 0 && column + j * kWarp < D ? p.items[Index{ids[i]} * D + column + j * kWarp] : 0.0f;
#pragma unroll
    for (int i = 0; i < kOwn; ++i)
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j)
        if (column + j * kWarp < width) x[(warp + i * kWarps) * stride + column + j * kWarp] = values[i][j];
  }
  if (!(p.max_norm > 0) && !(p.dropout > 0)) return;
#pragma unroll 1
  for (int row = warp; row < kChunk && chunk + row < to; row += kWarps) {
    float* own = x + row * stride;  // of zeros where the event has no row: they stay so
    const float factor = shortened<general>(p, own);
    __syncwarp();
    for_masked<general>(p, chunk + row, [&](int d, float mask) { own[d] = mask == 0 ? 0.0f : factor * own[d] * mask; });
  }
}

// sums[d] = add(row, d, sums[d]) for one row after another and all columns, by a warp.
template <class F>
__device__ void over_rows(int D, int first, int last, float* sums, F&& add) {
  constexpr int kAtOnce = kWidest / kWarp;
#pragma unroll 1
  for (int column = lane_index(); column < D; column += kWidest) {
    float own[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) own[j] = column + j * kWarp < D ? sums[column + j * kWarp] : 0.0f;
#pragma unroll 2
    for (int row = first; row < last; ++row)
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j)
        if (const int d = column + j * kWarp; d < D) own[j] = add(row, d, own[j]);
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j)
      if (const int d = column + j * kWarp; d < D) sums[d] = own[j];
  }
}

template <int bits, bool general>
__global__ void __launch_bounds__(kThreads, 1) encode_kernel(Encoder p, EncoderRows left, float* room, float* queries) {
  __shared__ float a[kChunk][kTile], shrink[kChunk][kTile];  // weights of the chunk; what sums before them shrink by
  __shared__ float totals[kTile];                            // of the softmax
  __shared__ Index begins[kTile], ends[kTile];
  const int thread = static_cast<int>(threadIdx.x), lane = lane_index(), warp = thread / kWarp;
  const int D = static_cast<int>(p.D), width = padded(D), stride = stride_of(D);
  const bool softmax = p.normalization == Normalization::softmax;

  float* x =
      general ? room + static_cast<Index>(blockIdx.x) * kRowsOfBlock * stride : static_cast<float*>(dynamic_shared());
  float *keys = x + kChunk * stride, *anchors = keys + kChunk * stride, *means = anchors + kTile * stride,
        *queries_of_gates = means + kTile * stride, *memories = queries_of_gates + kTile * stride;
  float *anchor = anchors + warp * stride, *mean = means + warp * stride, *memory = memories + warp * stride;

  // Example `own` is this warp's; its events are begin … end-1. Those of the block are from … to-1, and from `fresh` on
  // no block before has them.
  const Index first = static_cast<Index>(blockIdx.x) * kTile, own = first + warp;
  const Index last = first + kTile < p.ranges.B ? first + kTile : p.ranges.B;
  const bool present = own < last;
  const Index begin = present ? p.ranges.begin[own] : 0, end = present ? end_of(p.ranges, own) : 0;
  const Index fresh = first > 0 ? end_of(p.ranges, first - 1) : 0, to = end_of(p.ranges, last - 1);
  const Index from = p.ranges.begin[first] < fresh ? p.ranges.begin[first] : fresh;
  if (lane == 0) begins[warp] = begin, ends[warp] = end;

  Index held = -1;  // the chunk that x holds
  const auto hold = [&](Index chunk) {
    if (chunk == held) return;
    __syncthreads();
    look_up<general>(p, chunk, to, x);
    __syncthreads();
    held = chunk;
  };
  // The rows of a chunk that are this warp's example's: first_row … last_row-1.
  const auto first_row = [&](Index chunk) { return begin > chunk ? static_cast<int>(begin - chunk) : 0; };
  const auto last_row = [&](Index chunk) { return end < chunk + kChunk ? static_cast<int>(end - chunk) : kChunk; };

  for_columns<general>(width, [&](int d) { anchor[d] = mean[d] = memory[d] = 0; });
#pragma unroll 1
  for (Index chunk = from; chunk < to; chunk += kChunk) {
    hold(chunk);
    if (left.x)
      for (int row = warp; row < kChunk; row += kWarps)
        if (const Index l = chunk + row; l >= fresh && l < to)
          for_columns<general>(D, [&](int d) { left.x[l * D + d] = x[row * stride + d]; });
    const int row_begin = first_row(chunk), row_end = last_row(chunk);
    over_rows(D, row_begin, row_end, mean, [&](int row, int d, float sum) { return sum + x[row * stride + d]; });
    if (end > chunk && end <= chunk + kChunk)
      for_columns<general>(D, [&](int d) { anchor[d] = x[(row_end - 1) * stride + d]; });
  }
  if (present)
    for_columns<general>(D, [&](int d) {
      mean[d] *= 1.0f / static_cast<float>(end - begin);
      if (!left.x) return;
      left.mean[own * D + d] = mean[d];
      left.anchor[own * D + d] = anchor[d];
    });
  __syncthreads();

#pragma unroll 1
  for (int m = 16 * warp; m < D; m += 16 * kWarps) {
    float sums[1][4] = {};
    multiply<bits, general>(sums, D, p.weights.w2, m, anchors, stride);
    multiply<bits, general>(sums, D, p.weights.w3, m, means, stride);
    for_outputs(D, m, sums, [&](int d, int row, float value) {
      if (d < D && p.weights.attention_bias) value += p.weights.attention_bias[d];
      if (d < D && first + row < last) value += preferred(p, p.weights.attention_objectives, first + row, d);
      queries_of_gates[row * stride + d] = value;
      if (left.x && d < D && first + row < last) left.query[(first + row) * D + d] = value;
    });
  }

  float top = -INFINITY, total = 0;  // of the softmax of example `thread`
#pragma unroll 1
  for (Index chunk = from; chunk < to; chunk += kChunk) {
    hold(chunk);
    const int rows = to - chunk < kChunk ? static_cast<int>(to - chunk) : kChunk;
#pragma unroll 1
    for (int group = 0; group < rows; group += kGroup)
#pragma unroll 1
      for (int m = 16 * warp; m < D; m += 16 * kWarps) {
        float sums[kGroup / 8][4] = {};
        multiply<bits, general>(sums, D, p.weights.w1, m, x + group * stride, stride);
        for_outputs(D, m, sums, [&](int d, int row_of_group, float value) {
          const int row = group + row_of_group;
          keys[row * stride + d] = value;
          if (const Index l = chunk + row; left.x && d < D && l >= fresh && l < to) left.keys[l * D + d] = value;
        });
      }
    __syncthreads();
    // A warp has one example of each row, another in the next: prefixes of a session are spread over all warps.
#pragma unroll 1
    for (int row = 0; row < rows; ++row) {
      const int example = (warp + kTile - row % kTile) % kTile;
      if (chunk + row < begins[example] || chunk + row >= ends[example]) continue;
      const float e = energy<general>(p, keys + row * stride, queries_of_gates + example * stride);
      if (lane == 0) a[row][example] = e;
    }
    __syncthreads();
    if (softmax && thread < kTile) {
#pragma unroll 1
      for (int row = 0; row < kChunk; ++row) {
        if (chunk + row < begins[thread] || chunk + row >= ends[thread]) continue;
        const float before = top;
        top = fmaxf(top, a[row][thread]);
        shrink[row][thread] = __expf(before - top);
        a[row][thread] = __expf(a[row][thread] - top);
        total = total * shrink[row][thread] + a[row][thread];
      }
      totals[thread] = total;
    }
    if (softmax) __syncthreads();
    over_rows(D, first_row(chunk), last_row(chunk), memory, [&](int row, int d, float sum) {
      return (softmax ? sum * shrink[row][warp] : sum) + a[row][warp] * x[row * stride + d];
    });
  }
  if (present)
    for_columns<general>(D, [&](int d) {
      if (softmax) memory[d] *= 1 / totals[warp];
      if (p.residual != Residual::none) memory[d] += p.residual == Residual::mean ? mean[d] : anchor[d];
      if (left.x) left.memory[own * D + d] = memory[d];
    });
  __syncthreads();

  float* products = means;  // which nobody reads any more
#pragma unroll 1
  for (int m = 16 * warp; m < D; m += 16 * kWarps) {
    float s[1][4] = {}, t[1][4] = {};
    multiply<bits, general>(s, D, p.weights.session_weight, m, memories, stride);
    multiply<bits, general>(t, D, p.weights.anchor_weight, m, anchors, stride);
    const auto cell = [&](int d, int row, float sum, const float* bias, const float* objectives) {
      if (bias) sum += bias[d];
      if (first + row < last) sum += preferred(p, objectives, first + row, d);
      return tanhf(sum);
    };
    int i = 0;
    for_outputs(D, m, s, [&](int d, int row, float sum) {
      const float of_anchor = t[0][i++];
      if (d >= D) return;
      const float h_s = cell(d, row, sum, p.weights.session_bias, p.weights.session_objectives);
      const float h_t = cell(d, row, of_anchor, p.weights.anchor_bias, p.weights.anchor_objectives);
      products[row * stride + d] = h_s * h_t;
      if (!left.x || first + row >= last) return;
      left.h_s[(first + row) * D + d] = h_s;
      left.h_t[(first + row) * D + d] = h_t;
    });
  }
  __syncthreads();
  if (!present) return;
  const float* product = products + warp * stride;
  float factor = 1;
  if (p.scale > 0) {
    const float norm = sqrtf(dot<general>(D, product, product));
    if (norm > 0) factor = p.scale / norm;
  }
  for_columns<general>(D, [&](int d) { queries[own * D + d] = factor * product[d]; });
}

constexpr Index kNormalizer = sizeof(Normalizer) / sizeof(float);
Index aligned(Index n) { return (n + 3) / 4 * 4; }  // to 16 bytes

// The arrays of `left`, of one piece of memory.
EncoderRows rows_in(float* next, Index B, Index L, Index D) {
  EncoderRows left;
  left.normalizers = reinterpret_cast<Normalizer*>(next);
  next += aligned(B * kNormalizer);
  for (float** array : {&left.x, &left.keys, &left.d_keys}) *array = next, next += aligned(L * D);
  for (float** array : {&left.anchor, &left.mean, &left.query, &left.memory, &left.h_s, &left.h_t, &left.d_s, &left.d_t,
                        &left.d_memory, &left.d_query, &left.d_anchor, &left.d_mean, &left.d_w0})
    *array = next, next += aligned(B * D);
  return left;
}

}  // namespace

EncoderRows CudaDevice::encoder_rows(const Encoder& p) {
  if (!p.step) return {};
  const Index B = p.ranges.B, L = p.ranges.L, D = p.D;
  return rows_in(encoder_rows_.need(aligned(B * kNormalizer) + 3 * aligned(L * D) + 13 * aligned(B * D)), B, L, D);
}

void CudaDevice::encode(const Encoder& p, float* queries) {
  const EncoderRows left = encoder_rows(p);
  with_operands(precision_, p.D, [&](auto bits, auto general) {
    const dim3 blocks = blocks_for(p.ranges.B, kTile);
    const Index of_block = Index{kRowsOfBlock} * stride_of(p.D);
    float* room = general ? encoder_room_.need(blocks.x * of_block) : nullptr;
    launch("encode", encode_kernel<bits, general>, blocks, dim3(kThreads), general ? 0 : of_block * sizeof(float), p,
           left, room, queries);
  });
}

}  // namespace stamp::cuda
