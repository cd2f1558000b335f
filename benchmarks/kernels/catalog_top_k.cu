// The exact top 20 of a catalog.
//
//   naive          a thread a score, then a block a query that looks for the best k times over
//   cuBLAS + CUB   scores by cuBLAS in fp32, all of them sorted by CUB's segmented radix sort
//   shipped        bf16 bounds on tensor cores, then exact scores of what they leave (kernels/cuda/top_k.h)
//   with ranks     the same lists, and ranks of targets, for which everything is scored in fp32: what evaluation asks
//   for
//
// Least: 2·B·V·D flops in bf16, and the table once in bf16, 2·V·D bytes; with ranks in fp32, and 4·V·D bytes.
#include "benchmarks/kernels/cublas.h"
#ifdef __CUDACC__
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>

#include <cub/device/device_segmented_radix_sort.cuh>
#endif

namespace {

using namespace bench;

constexpr Index kBest = 20;

__global__ void scores_kernel(Index B, Index V, Index D, const float* queries, const float* items, float* z) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x, b = i / V, v = i % V;
  if (b >= B) return;
  float sum = 0;
  for (Index d = 0; d < D; ++d) sum = fmaf(queries[b * D + d], items[v * D + d], sum);
  z[i] = sum;
}

// A block a query: the best, ties by lower row, is written and struck out, k times.
__global__ void select_kernel(Index V, Index k, float* z, std::int32_t* ids) {
  __shared__ float best[kThreads];
  __shared__ Index best_at[kThreads];
  float* row = z + static_cast<Index>(blockIdx.x) * V;
  for (Index i = 0; i < k; ++i) {
    float top = -INFINITY;
    Index at = V;
    for (Index v = threadIdx.x; v < V; v += kThreads)
      if (row[v] > top) top = row[v], at = v;
    best[threadIdx.x] = top, best_at[threadIdx.x] = at;
    __syncthreads();
    for (unsigned half = kThreads / 2; half > 0; half /= 2) {
      if (threadIdx.x < half) {
        const unsigned other = threadIdx.x + half;
        if (best[other] > best[threadIdx.x] ||
            (best[other] == best[threadIdx.x] && best_at[other] < best_at[threadIdx.x]))
          best[threadIdx.x] = best[other], best_at[threadIdx.x] = best_at[other];
      }
      __syncthreads();
    }
    if (threadIdx.x == 0) {
      ids[blockIdx.x * k + i] = static_cast<std::int32_t>(best_at[0]);
      row[best_at[0]] = -INFINITY;
    }
    __syncthreads();
  }
}

#ifdef __CUDACC__
__global__ void numbers_kernel(Index n, Index V, std::int32_t* numbers) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) numbers[i] = static_cast<std::int32_t>(i % V);
}

struct RowBegin {
  int V;
  __host__ __device__ int operator()(int b) const { return b * V; }
};
#endif

// Share of places where another product stands than on the CPU: near ties that another order of additions turns round.
double compare(const char* variant, const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& expected) {
  double different = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) different += ids.at(i) != expected[i];
  different /= static_cast<double>(expected.size());
  if (different > 0.01) stamp::fail(variant, ": ", 100 * different, " % of the list differ, expected 1 % at most");
  return different;
}

void measure(Bench& bench, Index V, Index D, Index B) {
  const std::string shape = stamp::concat("V=", V, " D=", D, " B=", B);
  const Least least{2.0 * static_cast<double>(B * V * D), 2.0 * static_cast<double>(V * D), "bf16"};
  const auto queries = random(B * D, 1, 1), items = random(V * D, 0.1, 2);

  const auto top_k = [&](Device& device, const float* on_queries, const Array<float>& table,
                         const Array<std::byte>& packed, Array<std::int32_t>& ids, Array<float>& scores,
                         Array<std::int32_t>* targets = nullptr, Array<std::int64_t>* ranks = nullptr) {
    stamp::CatalogTopK problem{};
    problem.B = B, problem.D = D, problem.V = V, problem.k = kBest;
    problem.queries = on_queries, problem.items = {table.data()}, problem.packed = packed.data();
    problem.ids = ids.data(), problem.scores = scores.data();
    if (targets) problem.targets = targets->data(), problem.above = ranks->data(), problem.tied = ranks->data() + B;
    device.catalog_top_k(problem);
  };
  const auto packed_on = [&](const DevicePtr& device, const Array<float>& table) {
    Array<std::byte> packed(device, device->packed_size(V, D));
    device->pack_items(V, D, {table.data()}, packed.data());
    device->synchronize();
    return packed;
  };
  std::vector<std::int32_t> expected;
  {
    const auto cpu = stamp::open_device("cpu");
    Array<float> on_queries(cpu, 0), table(cpu, 0), scores(cpu, B * kBest);
    Array<std::int32_t> ids(cpu, B * kBest);
    on_queries.upload(queries), table.upload(items);
    const auto packed = packed_on(cpu, table);
    top_k(*cpu, on_queries.data(), table, packed, ids, scores);
    expected = ids.download();
  }

  const auto table = bench.upload(items), on_queries = bench.upload(queries);
  auto ids = bench.array<std::int32_t>(B * kBest);
  auto best_scores = bench.array(B * kBest);
  {
    auto z = bench.array(B * V);
    const Work naive = [&] {
      launch("scores", bench.stream(), scores_kernel, blocks_for(B * V, kThreads), dim3(kThreads), 0, B, V, D,
             on_queries.data(), table.data(), z.data());
      launch("select", bench.stream(), select_kernel, dim3(static_cast<unsigned>(B)), dim3(kThreads), 0, V, kBest,
             z.data(), ids.data());
    };
    bench.once(naive);
    bench.time("naive", shape, least, compare("naive", ids.download(), expected), naive);
#ifdef __CUDACC__
    const Cublas cublas(bench.stream());
    auto sorted = bench.array(B * V);
    auto numbers = bench.array<std::int32_t>(B * V), sorted_numbers = bench.array<std::int32_t>(B * V);
    bench.once([&] {
      launch("numbers", bench.stream(), numbers_kernel, blocks_for(B * V, kThreads), dim3(kThreads), 0, B * V, V,
             numbers.data());
    });
    const auto begins =
        thrust::make_transform_iterator(thrust::counting_iterator<int>(0), RowBegin{static_cast<int>(V)});
    std::size_t bytes = 0;
    const auto sort = [&](void* scratch) {
      check(cub::DeviceSegmentedRadixSort::SortPairsDescending(
                scratch, bytes, z.data(), sorted.data(), numbers.data(), sorted_numbers.data(), static_cast<int>(B * V),
                static_cast<int>(B), begins, begins + 1, 0, 32, bench.stream()),
            "sort");
    };
    sort(nullptr);
    auto scratch = bench.array<char>(static_cast<Index>(bytes));
    const Work peers = [&] {
      cublas.product(B, V, D, on_queries.data(), false, table.data(), true, z.data(), CUBLAS_COMPUTE_32F);
      sort(scratch.data());
    };
    bench.once(peers);
    const auto all = sorted_numbers.download();
    std::vector<std::int32_t> lists;
    for (Index b = 0; b < B; ++b) lists.insert(lists.end(), all.begin() + b * V, all.begin() + b * V + kBest);
    bench.time("cuBLAS fp32 + CUB sort", shape, least, compare("CUB", lists, expected), peers);
#endif
  }
  const auto packed = packed_on(bench.memory(), table);
  top_k(*bench.memory(), on_queries.data(), table, packed, ids, best_scores);
  bench.time("shipped", shape, least, compare("shipped", ids.download(), expected), *bench.memory(),
             [&] { top_k(*bench.memory(), on_queries.data(), table, packed, ids, best_scores); });

  std::vector<std::int32_t> of_queries;
  for (Index b = 0; b < B; ++b) of_queries.push_back(static_cast<std::int32_t>(b * 7919 % V));
  auto targets = bench.array<std::int32_t>(B);
  targets.upload(of_queries);
  auto ranks = bench.array<std::int64_t>(2 * B);
  const auto rank = [&] {
    top_k(*bench.memory(), on_queries.data(), table, packed, ids, best_scores, &targets, &ranks);
  };
  rank();
  const Least least_of_ranks{least.flops, 4.0 * static_cast<double>(V * D), "fp32"};
  bench.time("with ranks", shape, least_of_ranks, compare("with ranks", ids.download(), expected), *bench.memory(),
             rank);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run("catalog_top_k", argc, argv, [](Bench& bench) {
    if (bench.tiny()) return measure(bench, 300, 20, 3);
    for (const Index V : {43'097, 1'000'000})
      for (const Index B : {1, 64, 256}) measure(bench, V, 100, B);
    measure(bench, 43'097, 100, 512);
  });
}
