// Libraries and instructions of the simulator that multiply and sort: tensor cores, cuBLAS, sort.h.
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <sort.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "tests/instructions.h"

TEST_CASE("what tensor cores multiply is counted") {
  std::mt19937 engine(1);
  const auto before = simt::flops.mma;
  check_products(
      16, 8, 32, [&] { return std::normal_distribution<float>()(engine); }, 1e-5);
  CHECK(simt::flops.mma - before == 3 * 2 * 16 * 8 * 32);  // three kernels
}

TEST_CASE("sorting is stable, by the bits asked for, when the stream comes to it") {
  constexpr int n = 1000;
  std::mt19937 engine(2);
  std::vector<std::uint32_t> keys(n), values(n), sorted_keys(n), sorted_values(n);
  for (auto& key : keys) key = engine();
  std::iota(values.begin(), values.end(), 0u);
  std::vector<std::byte> scratch(sort_pairs_bytes(n));
  const auto sort = [&](std::size_t bytes, int bits) {
    return sort_pairs(scratch.data(), bytes, keys.data(), sorted_keys.data(), values.data(), sorted_values.data(), n,
                      bits, nullptr);
  };
  for (const int bits : {1, 5, 31, 32}) {
    std::vector<std::uint32_t> expected = values;
    const std::uint64_t low = (std::uint64_t{1} << bits) - 1;
    std::stable_sort(expected.begin(), expected.end(),
                     [&](auto a, auto b) { return (keys[a] & low) < (keys[b] & low); });
    CHECK(sort(scratch.size(), bits) == cudaSuccess);
    CHECK(sorted_values != expected);
    cudaDeviceSynchronize();
    CHECK(sorted_values == expected);
    for (int i = 0; i < n; ++i) REQUIRE(sorted_keys[i] == keys[expected[i]]);
  }
  CHECK(sort(scratch.size() - 1, 32) == cudaErrorInvalidValue);
  CHECK(sort(scratch.size(), 33) == cudaErrorInvalidValue);

  std::vector<std::uint64_t> wide(n), sorted(n);
  for (auto& key : wide) key = std::uint64_t{engine()} << 32 | engine();
  scratch.resize(sort_keys_bytes(n));
  CHECK(sort_keys(scratch.data(), scratch.size(), wide.data(), sorted.data(), n, nullptr) == cudaSuccess);
  cudaDeviceSynchronize();
  std::sort(wide.begin(), wide.end());
  CHECK(sorted == wide);
}

namespace {

// The product of matrices that lie in every way, with rows to spare in each.
void check_gemm(int m, int n, int k, bool transpose_a, bool transpose_b, float beta) {
  std::mt19937 engine(3);
  std::uniform_int_distribution<int> small(-8, 8);
  const int lda = (transpose_a ? k : m) + 3, ldb = (transpose_b ? n : k) + 1, ldc = m + 2;
  std::vector<float> a(lda * (transpose_a ? m : k)), b(ldb * (transpose_b ? k : n)), c(ldc * n, NAN);
  for (auto* matrix : {&a, &b})
    for (auto& element : *matrix) element = static_cast<float>(small(engine));
  if (beta != 0)
    for (auto& element : c) element = static_cast<float>(small(engine));
  const auto old = c;
  const float alpha = 2;
  cublasHandle_t handle;
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  REQUIRE(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS);
  CHECK(cublasSetStream(handle, stream) == CUBLAS_STATUS_SUCCESS);
  CHECK(cublasGemmEx(handle, transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, m, n, k,
                     &alpha, a.data(), CUDA_R_32F, lda, b.data(), CUDA_R_32F, ldb, &beta, c.data(), CUDA_R_32F, ldc,
                     CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
  CHECK(std::memcmp(c.data(), old.data(), c.size() * sizeof(float)) == 0);
  cudaStreamSynchronize(stream);
  for (int row = 0; row < ldc; ++row)
    for (int column = 0; column < n; ++column) {
      float sum = 0;
      for (int i = 0; row < m && i < k; ++i)
        sum += a[transpose_a ? i + row * lda : row + i * lda] * b[transpose_b ? column + i * ldb : i + column * ldb];
      const float before = old[row + column * ldc], after = c[row + column * ldc];
      if (row >= m)
        REQUIRE(std::memcmp(&before, &after, sizeof after) == 0);
      else
        REQUIRE(after == alpha * sum + (beta == 0 ? 0 : beta * before));
    }
  cublasDestroy(handle);
  cudaStreamDestroy(stream);
}

// [m,1] times [1,n], whose every element is x y.
std::vector<float> outer_product(int m, int n, float x, float y, cublasComputeType_t compute) {
  const std::vector<float> a(m, x), b(n, y);
  std::vector<float> c(m * n);
  const float one = 1, zero = 0;
  cublasHandle_t handle;
  cublasCreate(&handle);
  CHECK(cublasGemmEx(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, n, 1, &one, a.data(), CUDA_R_32F, m, b.data(), CUDA_R_32F, 1,
                     &zero, c.data(), CUDA_R_32F, m, compute, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
  cudaDeviceSynchronize();
  cublasDestroy(handle);
  return c;
}

}  // namespace

TEST_CASE("cuBLAS multiplies as plain loops do") {
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true})
      for (const float beta : {0.0f, 1.0f, 0.5f}) {
        check_gemm(1, 1, 1, transpose_a, transpose_b, beta);
        check_gemm(8, 4, 16, transpose_a, transpose_b, beta);
        check_gemm(37, 13, 33, transpose_a, transpose_b, beta);
      }
  const auto before = simt::flops.gemm;
  const float x = 1 + 0x1p-9f, y = 1 + 0x1p-11f + 0x1p-12f;
  CHECK(outer_product(3, 5, x, y, CUBLAS_COMPUTE_32F) == std::vector<float>(15, x * y));
  CHECK(outer_product(3, 5, x, y, CUBLAS_COMPUTE_32F_FAST_TF32) == std::vector<float>(15, x * (1 + 0x1p-10f)));
  CHECK(outer_product(3, 5, x, 2, CUBLAS_COMPUTE_32F_FAST_16BF) == std::vector<float>(15, 2));
  CHECK(simt::flops.gemm - before == 3 * 2 * 15);
}

TEST_CASE("cuBLAS is captured, and says what is wrong") {
  std::vector<float> a(4, 2.0f), c(4, 1.0f);
  const float one = 1;
  cublasHandle_t handle;
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cublasCreate(&handle);
  cublasSetStream(handle, stream);
  CHECK(cublasSetWorkspace(handle, nullptr, 0) == CUBLAS_STATUS_SUCCESS);
  const auto multiply = [&](int m, int lda, cudaDataType type) {
    return cublasGemmEx(handle, CUBLAS_OP_N, CUBLAS_OP_T, m, 2, 2, &one, a.data(), type, lda, a.data(), CUDA_R_32F, 2,
                        &one, c.data(), CUDA_R_32F, 2, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
  };
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  CHECK(multiply(2, 2, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
  cudaStreamEndCapture(stream, &graph);
  cudaGraphInstantiate(&exec, graph, 0);
  for (int i = 0; i < 2; ++i) cudaGraphLaunch(exec, stream);
  cudaStreamSynchronize(stream);
  CHECK(c == std::vector<float>(4, 17));
  CHECK(multiply(2, 1, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(multiply(-1, 2, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(multiply(2, 2, CUDA_R_16BF) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(cublasSetStream(nullptr, stream) == CUBLAS_STATUS_NOT_INITIALIZED);
  CHECK(cublasGetStatusString(CUBLAS_STATUS_NOT_SUPPORTED) == std::string("CUBLAS_STATUS_NOT_SUPPORTED"));
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cublasDestroy(handle);
  cudaStreamDestroy(stream);
}
