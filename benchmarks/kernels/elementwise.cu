// What is bound by memory, or by the launch.
//
//   gather_rows    naive: a thread an element; shipped: a warp a row           8·N·D bytes
//   adam           naive: a launch a tensor; shipped: all tensors in one       28·n
//   sort           CUB's radix sort of the ids of a step, 12·n at least: what shipped uses, beside the step it is in
#include <sort.h>

#include "benchmarks/kernels/bench.h"

namespace {

using namespace bench;

__global__ void gather_kernel(Index n, Index D, const float* items, const std::int32_t* ids, float* y) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) y[i] = items[ids[i / D] * D + i % D];
}

__global__ void adam_kernel(Index n, stamp::TrainingStep s, const float* gradient, float* p, float* m, float* v) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  const float g = gradient[i];
  m[i] = s.beta1 * m[i] + (1 - s.beta1) * g;
  v[i] = s.beta2 * v[i] + (1 - s.beta2) * g * g;
  p[i] -= s.learning_rate * (m[i] / (1 - s.beta1)) / (sqrtf(v[i] / (1 - s.beta2)) + s.epsilon);
}

void gather(Bench& bench, Index N, Index D, Index V) {
  const std::string shape = stamp::concat("gather N=", N, " D=", D);
  const Least least{0, 8.0 * static_cast<double>(N * D), "fp32"};
  const auto values = random(V * D, 1, 1);
  const auto rows = random_rows(N, V, 2);
  std::vector<float> expected;
  for (const auto row : rows) expected.insert(expected.end(), values.begin() + row * D, values.begin() + (row + 1) * D);
  const auto items = bench.upload(values);
  const auto ids = bench.upload(rows);
  auto y = bench.array(N * D);
  const Work naive = [&] {
    launch("gather", bench.stream(), gather_kernel, blocks_for(N * D, kThreads), dim3(kThreads), 0, N * D, D,
           items.data(), ids.data(), y.data());
  };
  bench.once(naive);
  bench.time("gather_rows naive", shape, least, verify("naive", y.download(), expected, 0), naive);
  const Work shipped = [&] { bench.memory()->gather_rows(N, D, items.data(), ids.data(), y.data()); };
  shipped();
  bench.time("gather_rows shipped", shape, least, verify("gather_rows", y.download(), expected, 0), *bench.memory(),
             shipped);
}

// The dense tensors of a model: four matrices and eight vectors.
void adam(Bench& bench, Index D) {
  std::vector<Index> sizes(5, D * D);
  sizes.insert(sizes.end(), 4, D);
  struct Tensor {
    Array<float> value, gradient, moment1, moment2;
  };
  const auto tensors_on = [&](const DevicePtr& device) {
    std::vector<Tensor> tensors;
    for (const Index n : sizes) {
      Tensor& tensor = tensors.emplace_back();
      for (auto* array : {&tensor.value, &tensor.gradient, &tensor.moment1, &tensor.moment2})
        *array = Array<float>(device, n);
      tensor.value.upload(random(n, 0.05, 1)), tensor.gradient.upload(random(n, 0.01, 2));
    }
    return tensors;
  };
  const auto parameters_of = [&](std::vector<Tensor>& tensors) {
    std::vector<stamp::Parameter> parameters;
    for (auto& t : tensors)
      parameters.push_back({t.value.size(), t.value.data(), t.gradient.data(), t.moment1.data(), t.moment2.data()});
    return parameters;
  };
  const auto values_of = [](const std::vector<Tensor>& tensors) {
    std::vector<float> all;
    for (const auto& tensor : tensors)
      for (const float value : tensor.value.download()) all.push_back(value);
    return all;
  };
  stamp::TrainingStep step;
  step.learning_rate = 0.001f, step.beta1 = 0.9f, step.beta2 = 0.999f, step.epsilon = 1e-8f;
  const auto step_on = [&](const DevicePtr& device) {
    Array<stamp::TrainingStep> array(device, 0);
    array.upload({&step, 1});
    return array;
  };
  const auto cpu = stamp::open_device("cpu");
  auto on_cpu = tensors_on(cpu);
  const auto cpu_step = step_on(cpu);
  cpu->adam(parameters_of(on_cpu), cpu_step.data());
  const auto expected = values_of(on_cpu);

  Index n = 0;
  for (const Index size : sizes) n += size;
  const std::string shape = stamp::concat("adam n=", n, " in ", sizes.size(), " tensors");
  const Least least{0, 28.0 * static_cast<double>(n), "fp32"};
  auto tensors = tensors_on(bench.memory());
  bench.memory()->synchronize();
  const Work naive = [&] {
    for (auto& t : tensors)
      launch("adam", bench.stream(), adam_kernel, blocks_for(t.value.size(), kThreads), dim3(kThreads), 0,
             t.value.size(), step, t.gradient.data(), t.value.data(), t.moment1.data(), t.moment2.data());
  };
  bench.once(naive);
  bench.time("adam naive", shape, least, verify("naive", values_of(tensors), expected, 1e-5), naive);
  tensors = tensors_on(bench.memory());
  const auto parameters = parameters_of(tensors);
  const auto device_step = step_on(bench.memory());
  const Work shipped = [&] { bench.memory()->adam(parameters, device_step.data()); };
  shipped();
  bench.time("adam shipped", shape, least, verify("adam", values_of(tensors), expected, 1e-5), *bench.memory(),
             shipped);
}

void sort(Bench& bench, Index n, Index V) {
  std::vector<std::uint32_t> ids;
  for (const auto row : random_rows(n, V, 1)) ids.push_back(static_cast<std::uint32_t>(row));
  const auto keys = bench.upload(ids);
  auto values = bench.array<std::uint32_t>(n), sorted = bench.array<std::uint32_t>(n);
  auto sorted_values = bench.array<std::uint32_t>(n);
  const std::size_t bytes = sort_pairs_bytes(static_cast<int>(n));
  auto scratch = bench.array<char>(static_cast<Index>(bytes));
  bench.time("sort_pairs CUB", stamp::concat("sort n=", n), {0, 12.0 * static_cast<double>(n), "fp32"}, 0, [&] {
    check(sort_pairs(scratch.data(), bytes, keys.data(), sorted.data(), values.data(), sorted_values.data(),
                     static_cast<int>(n), 16, bench.stream()),
          "sort");
  });
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run("elementwise", argc, argv, [](Bench& bench) {
    const bool tiny = bench.tiny();
    for (const Index N : {768, 1 << 20}) gather(bench, tiny ? 9 : N, tiny ? 20 : 100, tiny ? 50 : 43'097);
    adam(bench, tiny ? 20 : 100);
    sort(bench, tiny ? 100 : 1280, 43'097);
  });
}
