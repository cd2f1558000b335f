// What PTX instructions do, by the kernels of product.cu: on the simulator, and on a GPU where there is one.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tests/launch.h"
#include "tests/product.cu"

namespace {

// Tenfold compute capability; the simulator can do all that there is. 0 without a GPU, which fails where the
// environment asks for one.
inline int capability() {
#ifdef __CUDACC__
  int devices = 0, major = 0, minor = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    const char* wanted = std::getenv("STAMP_REQUIRE_CUDA");
    if (wanted && std::string(wanted) == "1") FAIL("a GPU is required by STAMP_REQUIRE_CUDA, and there is none");
    MESSAGE("NOT TESTED: there is no GPU");
    return 0;
  }
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
  return 10 * major + minor;
#else
  return 90;
#endif
}

template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : size_(values.size()) {
    void* memory = nullptr;
    REQUIRE(cudaMalloc(&memory, size_ * sizeof(T)) == cudaSuccess);
    data_ = static_cast<T*>(memory);
    cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice);
  }
  OnDevice(const OnDevice&) = delete;
  ~OnDevice() { cudaFree(data_); }
  T* data() const { return data_; }
  std::vector<T> values() const {
    std::vector<T> values(size_);
    cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost);
    return values;
  }

 private:
  std::size_t size_;
  T* data_;
};

// z of each kernel of product.cu must be what plain loops in double say, within `tolerance` times what the sum's terms
// are long.
inline void check_products(int M, int N, int K, const std::function<float()>& value, double tolerance) {
  CAPTURE(M);
  CAPTURE(N);
  CAPTURE(K);
  std::vector<__nv_bfloat16> left(M * K), right(N * K);
  for (auto* matrix : {&left, &right})
    for (auto& element : *matrix) element = __float2bfloat16(value());
  const OnDevice x(left), y(right);
  const auto check = [&](auto kernel, dim3 grid, unsigned threads, std::size_t shared, auto... sizes) {
    const OnDevice z(std::vector<float>(M * N, NAN));
    launch(kernel, grid, {threads}, shared, sizes..., x.data(), y.data(), z.data());
    const std::vector<float> found = z.values();
    bool right_everywhere = true;
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) {
        double sum = 0, terms = 0;
        for (int k = 0; k < K; ++k) {
          const double term = double{__bfloat162float(left[m * K + k])} * __bfloat162float(right[n * K + k]);
          sum += term;
          terms += std::abs(term);
        }
        right_everywhere &= std::abs(found[m * N + n] - sum) <= tolerance * terms;
      }
    CHECK(right_everywhere);
  };
  const dim3 tiles((M + 15u) / 16, (N + 7u) / 8);
  if (M % 16 == 0 && N % 8 == 0 && K % 16 == 0) {
    check(product_by_loads, tiles, 32, 0, N, K);
    check(product_by_matrices, tiles, 32, 24 * K * sizeof(__nv_bfloat16), N, K);
  }
  check(product_by_copies, tiles, 32, 0, M, N, K);
  if (capability() != 90 || M % 64 != 0 || K % 16 != 0) return;
  const auto by_warpgroup = [&](auto kernel, int columns) {
    CAPTURE(columns);
    if (N % columns == 0) check(kernel, dim3(M / 64u, static_cast<unsigned>(N / columns)), 128, 10 << 10, N, K);
  };
  by_warpgroup(product_by_warpgroup<32, Operands::both_shared>, 32);
  by_warpgroup(product_by_warpgroup<64, Operands::both_shared>, 64);
  by_warpgroup(product_by_warpgroup<64, Operands::left_registers>, 64);
  by_warpgroup(product_by_warpgroup<32, Operands::right_transposed>, 32);
  by_warpgroup(product_by_warpgroup<64, Operands::right_transposed>, 64);
  by_warpgroup(product_by_warpgroup<112, Operands::right_transposed>, 112);
  by_warpgroup(product_by_warpgroup<128, Operands::right_transposed>, 128);
}

}  // namespace

TEST_CASE("tensor cores multiply as plain loops do") {
  if (capability() == 0) return;
  std::mt19937 engine(1);
  std::uniform_int_distribution<int> small(-8, 8);
  std::normal_distribution<float> normal;
  const std::vector<std::vector<int>> sizes{{16, 8, 16}, {32, 24, 48},  {48, 8, 256}, {16, 40, 112},  {1, 1, 8},
                                            {17, 9, 24}, {33, 31, 104}, {64, 32, 16}, {128, 128, 48}, {64, 112, 112}};
  for (const auto& size : sizes) {
    check_products(
        size[0], size[1], size[2], [&] { return static_cast<float>(small(engine)); }, 0);
    check_products(
        size[0], size[1], size[2], [&] { return normal(engine); }, size[2] * 0x1p-23);  // of K roundings or cuts
  }
}

TEST_CASE("bulk copies bring tile after tile") {
  if (capability() < 90) return;
  constexpr int tiles = 7, n = 96;
  std::vector<float> values(tiles * n);
  std::iota(values.begin(), values.end(), 0.0f);
  const OnDevice x(values), sums(std::vector<float>(n, NAN));
  launch(sums_of_tiles, dim3(1), dim3(32), 2 * n * sizeof(float), tiles, n, x.data(), sums.data());
  const std::vector<float> found = sums.values();
  for (int i = 0; i < n; ++i) CHECK(found[i] == tiles * (i + n * (tiles - 1) / 2));
}

TEST_CASE("powers of two, and floats in pairs of bf16") {
  if (capability() == 0) return;
  const std::vector<float> values{0, 1, -3.5f, 10, -INFINITY, 0.25f};
  const OnDevice<float> x(values);
  const OnDevice<std::uint32_t> pairs(std::vector<std::uint32_t>(3));
  launch(powers_in_pairs, dim3(1), dim3(3), 0, x.data(), pairs.data());
  const std::vector<std::uint32_t> found = pairs.values();
  for (int i = 0; i < 6; ++i) {
    const auto bits = static_cast<unsigned short>(found[i / 2] >> i % 2 * 16);
    __nv_bfloat16 half;
    std::memcpy(&half, &bits, sizeof half);
    CHECK(__bfloat162float(half) == __bfloat162float(__float2bfloat16(std::exp2(values[i]))));
  }
}

TEST_CASE("maxima keep what is no number") {
  if (capability() == 0) return;
  const OnDevice x(std::vector<float>{1, -2, -3, -INFINITY, 4, INFINITY, NAN, 5, -6, NAN});
  const OnDevice z(std::vector<float>(5));
  launch(maxima_of_pairs, dim3(1), dim3(5), 0, x.data(), z.data());
  const std::vector<float> found = z.values();
  CHECK(std::vector<float>(found.begin(), found.begin() + 3) == std::vector<float>{1, -3, INFINITY});
  CHECK((std::isnan(found[3]) && std::isnan(found[4])));
}

TEST_CASE("square roots and quotients") {
  if (capability() == 0) return;
  constexpr int n = 8;
  std::vector<float> values(2 * n);
  for (int i = 0; i < n; ++i) values[i] = static_cast<float>(i), values[n + i] = static_cast<float>(3 - i) / 2;
  const OnDevice x(values);
  launch(roots_and_quotients, dim3(1), dim3(32), 0, n, x.data(), x.data() + n);
  const std::vector<float> found = x.values();
  for (int i = 0; i < n; ++i) {
    const float expected = std::sqrt(values[i]) / values[n + i];
    if (std::isfinite(expected))
      CHECK(std::abs(found[i] - expected) <= std::abs(expected) * 0x1p-21f);
    else
      CHECK(found[i] == expected);
  }
}
