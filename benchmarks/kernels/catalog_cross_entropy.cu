// Loss, gradients and update of the item table: forward, backward, Adam (docs/design.md, section 5).
//
//   naive          a thread a score, a block a softmax, a thread an element of each gradient: all of [B,V] in memory
//   shipped fp32   tiles of scores through cuBLAS        shipped tf32   the same on tensor cores
//   shipped bf16   flash attention over the catalog: no score in memory, Adam by the owner of the rows, who keeps their
//                  bf16 copy
//   cuBLAS alone   the four products with the table and nothing else, from operands that are bf16 (or tf32) already
//   cuDNN alone    softmax of [B,V] and nothing else
//
// Least: 8·B·V·D flops, and 28·V·D bytes: the table read for the loss; it and both moments read and written by Adam.
#include "benchmarks/kernels/cublas.h"
#if defined(__CUDACC__) && !defined(STAMP_NO_CUDNN)
#include <cudnn.h>
#define STAMP_WITH_CUDNN
#endif

namespace {

using namespace bench;

__global__ void scores_kernel(Index B, Index V, Index D, const float* queries, const float* items, float* z) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x, b = i / V, v = i % V;
  if (b >= B) return;
  float sum = 0;
  for (Index d = 0; d < D; ++d) sum += queries[b * D + d] * items[v * D + d];
  z[i] = sum;
}

// z -> w (softmax(z) - 1[target]), a block a row.
__global__ void softmax_kernel(Index V, const std::int32_t* targets, const float* weights, float* z, float* losses) {
  __shared__ float parts[kThreads];
  const Index b = blockIdx.x;
  float* row = z + b * V;
  const auto reduce = [&](float value, bool maximum) {
    __syncthreads();
    parts[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = kThreads / 2; half > 0; half /= 2) {
      if (threadIdx.x < half) {
        const float other = parts[threadIdx.x + half];
        parts[threadIdx.x] = maximum ? fmaxf(parts[threadIdx.x], other) : parts[threadIdx.x] + other;
      }
      __syncthreads();
    }
    return parts[0];
  };
  float top = -INFINITY, sum = 0;
  for (Index v = threadIdx.x; v < V; v += kThreads) top = fmaxf(top, row[v]);
  top = reduce(top, true);
  for (Index v = threadIdx.x; v < V; v += kThreads) sum += expf(row[v] - top);
  sum = reduce(sum, false);
  if (threadIdx.x == 0) losses[b] = top + logf(sum) - row[targets[b]];
  __syncthreads();
  for (Index v = threadIdx.x; v < V; v += kThreads)
    row[v] = weights[b] * (expf(row[v] - top) / sum - (v == targets[b] ? 1.0f : 0.0f));
}

__global__ void d_queries_kernel(Index B, Index V, Index D, const float* z, const float* items, float* d_queries) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x, b = i / D, d = i % D;
  if (b >= B) return;
  float sum = 0;
  for (Index v = 0; v < V; ++v) sum += z[b * V + v] * items[v * D + d];
  d_queries[i] = sum;
}

__global__ void d_items_kernel(Index B, Index V, Index D, const float* z, const float* queries, float* d_items) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x, v = i / D, d = i % D;
  if (v >= V) return;
  float sum = 0;
  for (Index b = 0; b < B; ++b) sum += z[b * V + v] * queries[b * D + d];
  d_items[i] = sum;
}

void measure(Bench& bench, Index V, Index D, Index B) {
  const std::string shape = stamp::concat("V=", V, " D=", D, " B=", B);
  const double flops = 8.0 * static_cast<double>(B * V * D), bytes = 28.0 * static_cast<double>(V * D);
  const auto queries = random(B * D, 0.3, 1), items = random(V * D, 0.3, 2);
  const auto targets = random_rows(B, V, 3);
  const std::vector<float> weights(static_cast<std::size_t>(B), 1 / static_cast<float>(B));

  // Loss, gradient of the queries and of the items on a device.
  struct Answer {
    std::vector<float> losses, d_queries, d_items;
  };
  struct Inputs {
    Array<float> queries, items, weights, losses, log_sums, d_queries, d_items, moment1, moment2;
    Array<std::int32_t> targets;
    Array<stamp::TrainingStep> step;
    Array<float> workspace;
    Array<std::byte> rounded;
  };
  const auto inputs_on = [&](const DevicePtr& device) {
    Inputs in;
    for (auto* array : {&in.queries, &in.items, &in.weights}) *array = Array<float>(device, 0);
    in.queries.upload(queries), in.items.upload(items), in.weights.upload(weights);
    in.targets = Array<std::int32_t>(device, 0), in.targets.upload(targets);
    in.losses = Array<float>(device, B), in.log_sums = Array<float>(device, B);
    in.d_queries = Array<float>(device, B * D), in.d_items = Array<float>(device, V * D);
    in.moment1 = Array<float>(device, V * D), in.moment2 = Array<float>(device, V * D);
    in.workspace = Array<float>(device, 16 << 20);  // what an Optimizer gives it
    in.rounded = Array<std::byte>(device, device->rounded_size(V, D));
    if (!in.rounded.empty()) device->round_items(V, D, {.items = in.items.data()}, in.rounded.data());
    stamp::TrainingStep step;
    step.learning_rate = 1e-9f, step.beta1 = 0.9f, step.beta2 = 0.999f, step.epsilon = 1e-8f;
    in.step = Array<stamp::TrainingStep>(device, 0), in.step.upload({&step, 1});
    return in;
  };
  const auto forward_backward = [&](Device& device, Inputs& in, bool adam) {
    const stamp::CatalogCrossEntropy problem{B,
                                             D,
                                             V,
                                             in.queries.data(),
                                             in.items.data(),
                                             false,
                                             in.targets.data(),
                                             in.weights.data(),
                                             in.workspace.data(),
                                             in.workspace.size(),
                                             in.rounded.data()};
    device.sort_rows(problem, 0);
    device.catalog_cross_entropy(problem, in.losses.data(), in.log_sums.data(), in.d_queries.data());
    const stamp::ItemUpdate update = adam ? stamp::ItemUpdate{nullptr,           in.items.data(), in.moment1.data(),
                                                              in.moment2.data(), in.step.data(),  in.rounded.data()}
                                          : stamp::ItemUpdate{in.d_items.data()};
    device.catalog_cross_entropy_backward(problem, in.log_sums.data(), 0, nullptr, update);
  };
  const auto answer_of = [&](const Inputs& in) {
    return Answer{in.losses.download(), in.d_queries.download(), in.d_items.download()};
  };
  const auto compare = [&](const char* variant, const Answer& answer, const Answer& expected, double bound) {
    verify(stamp::concat(variant, "'s losses"), answer.losses, expected.losses, bound);
    return std::max(verify(stamp::concat(variant, "'s d_queries"), answer.d_queries, expected.d_queries, bound),
                    verify(stamp::concat(variant, "'s d_items"), answer.d_items, expected.d_items, bound));
  };

  const auto cpu = stamp::open_device("cpu");
  auto on_cpu = inputs_on(cpu);
  forward_backward(*cpu, on_cpu, false);
  const Answer expected = answer_of(on_cpu);

  auto in = inputs_on(bench.memory());
  bench.memory()->synchronize();
  {
    auto z = bench.array(B * V);
    const Work naive = [&] {
      const auto run = [&](const char* name, auto kernel, dim3 grid, auto... arguments) {
        launch(name, bench.stream(), kernel, grid, dim3(kThreads), 0, arguments...);
      };
      run("scores", scores_kernel, blocks_for(B * V, kThreads), B, V, D, in.queries.data(), in.items.data(), z.data());
      run("softmax", softmax_kernel, dim3(static_cast<unsigned>(B)), V, in.targets.data(), in.weights.data(), z.data(),
          in.losses.data());
      run("d_queries", d_queries_kernel, blocks_for(B * D, kThreads), B, V, D, z.data(), in.items.data(),
          in.d_queries.data());
      run("d_items", d_items_kernel, blocks_for(V * D, kThreads), B, V, D, z.data(), in.queries.data(),
          in.d_items.data());
    };
    bench.once(naive);
    bench.time("naive, without Adam", shape, {flops, bytes, "fp32"}, compare("naive", answer_of(in), expected, 1e-4),
               naive);
  }
  for (const auto precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
    const auto device = bench.open(precision);
    auto own = inputs_on(device);
    forward_backward(*device, own, false);
    const double error = compare(name_of(precision), answer_of(own), expected, bound_of(precision));
    bench.time(stamp::concat("shipped ", name_of(precision)), shape, {flops, bytes, name_of(precision)}, error, *device,
               [&] { forward_backward(*device, own, true); });
  }

  // The products alone; what they compute is not looked at.
  const Cublas cublas(bench.stream());
  auto z = bench.array(B * V);
  bench.time("cuBLAS alone, tf32", shape, {flops, bytes, "tf32"}, 0, [&] {
    const auto compute = compute_of(Precision::tf32);
    for (int i = 0; i < 2; ++i)
      cublas.product(B, V, D, in.queries.data(), false, in.items.data(), true, z.data(), compute);
    cublas.product(B, D, V, z.data(), false, in.items.data(), false, in.d_queries.data(), compute);
    cublas.product(V, D, B, z.data(), true, in.queries.data(), false, in.d_items.data(), compute);
  });
#ifdef __CUDACC__
  {
    const auto halves_of = [&](const std::vector<float>& values) {
      std::vector<__nv_bfloat16> halves(values.size());
      for (std::size_t i = 0; i < values.size(); ++i) halves[i] = __float2bfloat16(values[i]);
      return bench.upload(halves);
    };
    // Rows of 100 bf16 are not aligned to 16 bytes, which costs cuBLAS its best kernels: it gets rows of 112 too.
    for (const Index W : {D, (D + 15) / 16 * 16}) {
      const auto half_queries = halves_of(random(B * W, 0.3, 1)), half_items = halves_of(random(V * W, 0.3, 2));
      auto p = bench.array<__nv_bfloat16>(B * V);
      auto d_queries = bench.array(B * W), d_items = bench.array(V * W);
      bench.time(stamp::concat("cuBLAS alone, bf16, rows of ", W), shape, {flops, bytes, "bf16"}, 0, [&] {
        const auto product = [&](Index M, Index N, Index K, auto* a, bool ta, auto* b, bool tb, auto* c,
                                 cudaDataType result) {
          cublas.product(M, N, K, a, ta, b, tb, c, CUDA_R_16BF, result, CUBLAS_COMPUTE_32F);
        };
        for (int i = 0; i < 2; ++i)
          product(B, V, W, half_queries.data(), false, half_items.data(), true, p.data(), CUDA_R_16BF);
        product(B, W, V, p.data(), false, half_items.data(), false, d_queries.data(), CUDA_R_32F);
        product(V, W, B, p.data(), true, half_queries.data(), false, d_items.data(), CUDA_R_32F);
      });
    }
  }
#endif
#ifdef STAMP_WITH_CUDNN
  {
    const auto good = [](cudnnStatus_t status) {
      if (status != CUDNN_STATUS_SUCCESS) stamp::fail("cuDNN: ", cudnnGetErrorString(status));
    };
    cudnnHandle_t handle = nullptr;
    cudnnTensorDescriptor_t tensor = nullptr;
    good(cudnnCreate(&handle));
    good(cudnnSetStream(handle, bench.stream()));
    good(cudnnCreateTensorDescriptor(&tensor));
    good(cudnnSetTensor4dDescriptor(tensor, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, static_cast<int>(B),
                                    static_cast<int>(V), 1, 1));
    const float one = 1, zero = 0;
    bench.time("cuDNN alone, softmax", shape, {flops, bytes, "fp32"}, 0, [&] {
      good(cudnnSoftmaxForward(handle, CUDNN_SOFTMAX_ACCURATE, CUDNN_SOFTMAX_MODE_INSTANCE, &one, tensor, z.data(),
                               &zero, tensor, z.data()));
    });
    cudnnDestroyTensorDescriptor(tensor);
    cudnnDestroy(handle);
  }
#endif
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run("catalog_cross_entropy", argc, argv, [](Bench& bench) {
    if (bench.tiny()) return measure(bench, 210, 20, 9);
    measure(bench, 43'097, 100, 512);
    measure(bench, 43'097, 100, 128);
    measure(bench, 466'867, 100, 512);
  });
}
