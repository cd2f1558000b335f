// What this machine can do at best, as the limits that every other figure is a share of:
//
//   copy            bytes read and written a second, device to device, by the runtime and by a kernel of ours
//   product         flops a second of a large square product through cuBLAS: fp32, tf32, bf16
//   launch          an empty kernel
#include "benchmarks/kernels/cublas.h"

namespace {

using namespace bench;

__global__ void copy_kernel(Index n, const float4* from, float4* to) {
  const Index step = static_cast<Index>(gridDim.x) * kThreads;
  for (Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += step) to[i] = from[i];
}

__global__ void empty_kernel() {}

void measure(Bench& bench) {
  const Index n = bench.tiny() ? 1 << 10 : 1 << 28, N = bench.tiny() ? 16 : 8192;
  const auto values = random(bench.tiny() ? n : 1 << 20, 1, 1);
  {
    std::vector<float> all(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = values[i % values.size()];
    const auto from = bench.upload(all);
    auto to = bench.array(n);
    const Least least{0, 8.0 * static_cast<double>(n), "fp32"};
    const std::string shape = stamp::concat("n=", n);
    const Work by_runtime = [&] {
      check(cudaMemcpyAsync(to.data(), from.data(), sizeof(float) * static_cast<std::size_t>(n),
                            cudaMemcpyDeviceToDevice, bench.stream()),
            "copy");
    };
    bench.once(by_runtime);
    bench.time("copy by the runtime", shape, least, verify("copy", to.download(), all, 0), by_runtime);
    const Work by_kernel = [&] {
      launch("copy", bench.stream(), copy_kernel, dim3(bench.tiny() ? 2 : 132 * 16), dim3(kThreads), 0, n / 4,
             reinterpret_cast<const float4*>(from.data()), reinterpret_cast<float4*>(to.data()));
    };
    bench.time("copy by a kernel", shape, least, 0, by_kernel);
  }

  const Cublas cublas(bench.stream());
  std::vector<float> square(static_cast<std::size_t>(N * N));
  for (std::size_t i = 0; i < square.size(); ++i) square[i] = values[i % values.size()];
  const auto a = bench.upload(square);
  auto c = bench.array(N * N);
  const std::string shape = stamp::concat("N=", N);
  const double flops = 2.0 * static_cast<double>(N) * static_cast<double>(N) * static_cast<double>(N);
  for (const auto precision : {Precision::fp32, Precision::tf32})
    bench.time("product", shape, {flops, 0, name_of(precision)}, 0, [&, precision] {
      cublas.product(N, N, N, a.data(), false, a.data(), true, c.data(), compute_of(precision));
    });
#ifdef __CUDACC__
  std::vector<__nv_bfloat16> halves(square.size());
  for (std::size_t i = 0; i < square.size(); ++i) halves[i] = __float2bfloat16(square[i]);
  const auto half = bench.upload(halves);
  bench.time("product", shape, {flops, 0, "bf16"}, 0, [&] {
    cublas.product(N, N, N, half.data(), false, half.data(), true, c.data(), CUDA_R_16BF, CUDA_R_16BF,
                   CUBLAS_COMPUTE_32F);
  });
#endif
  bench.time("launch", "empty", {0, 0, "fp32"}, 0,
             [&] { launch("empty", bench.stream(), empty_kernel, dim3(1), dim3(32), 0); });
}

}  // namespace

int main(int argc, char** argv) { return bench::run("limits", argc, argv, measure); }
