// The SIMT simulator: what kernels may do works, and what they must not do is found, named and survived.
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <sort.h>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

#include "tests/product.cu"

namespace {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, Arguments... arguments) {
  const cudaLaunchConfig_t config{grid, block, shared, nullptr};
  REQUIRE(cudaLaunchKernelEx(&config, kernel, arguments...) == cudaSuccess);
  cudaDeviceSynchronize();
}

template <class... Parameters, class... Arguments>
std::string error_of(void (*kernel)(Parameters...), dim3 block, Arguments... arguments) {
  try {
    launch(kernel, {1}, block, 0, arguments...);
  } catch (const simt::Error& error) {
    return error.what();
  }
  return "";
}

// Sum of the n values of each block, by shared memory.
__global__ void block_sums(const float* x, float* sums) {
  __shared__ float part[256];
  part[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = part[0];
}

__global__ void warp_sums(const float* x, float* sums, unsigned* votes) {
  float value = x[threadIdx.x];
  for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(0xffffffff, value, bits);
  const unsigned large = __ballot_sync(0xffffffff, x[threadIdx.x] > 40);
  if (threadIdx.x % 32 == 0) {
    sums[threadIdx.x / 32] = value;
    votes[threadIdx.x / 32] = large;
  }
}

__global__ void scan(int* x) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  int value = x[threadIdx.x];
  for (int delta = 1; delta < 32; delta *= 2) {
    const int below = __shfl_up_sync(0xffffffff, value, delta);
    if (lane >= delta) value += below;
  }
  x[threadIdx.x] = value + 1000 * __shfl_sync(0xffffffff, value, 3, 8) + 0 * __shfl_down_sync(0xffffffff, value, 1);
}

__global__ void half_warps(int* x) {
  if (threadIdx.x < 16)
    x[threadIdx.x] = __shfl_sync(0x0000ffff, static_cast<int>(threadIdx.x), 7);
  else
    x[threadIdx.x] = __shfl_sync(0xffff0000, static_cast<int>(threadIdx.x), 20);
}

__global__ void reverse(float* x) {
  auto* tile = static_cast<float*>(dynamic_shared());
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

__global__ void add_all(int* total) {
  atomicAdd(total, static_cast<int>(threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z));
}

__global__ void scale(float* x, float by) { x[threadIdx.x] *= by; }

// All lanes' sum by operations of two lanes each, of which each waits for nobody else.
__global__ void sums_by_pairs(int* x) {
  int value = x[threadIdx.x];
  for (int bits = 1; bits < 32; bits *= 2) {
    const unsigned lane = threadIdx.x % 32, pair = 1u << lane | 1u << (lane ^ bits);
    value += __shfl_xor_sync(pair, value, bits);
  }
  x[threadIdx.x] = value;
}

constexpr int square(int x) { return x * x; }
__device__ __noinline__ float half(float x) { return x / 2; }

// What else of CUDA C++ kernels are written in.
template <int times, class T>
__global__ __launch_bounds__(32) void dialect(T* sum, unsigned long long* count, float* x) {
#pragma unroll
  for (int i = 0; i < times; ++i) atomicAdd(sum, static_cast<T>(std::max(square(i), 3)));
  const long long wide = (1ll << 40) + threadIdx.x;
  atomicAdd(count, __shfl_sync(0xffffffff, wide, 7) == (1ll << 40) + 7);
  const float one = half(__fdividef(fmaf(1, 2, 2), 2)) * __frcp_rn(1) * rsqrtf(1) * exp2f(0) * __expf(0) +
                    tanhf(logf(sqrtf(expf(0))));
  x[threadIdx.x] = fmaxf(fminf(one, INFINITY), __int_as_float(__float_as_int(-1.0f)));
}

// What is in shared memory before waiting, after waiting for all groups but one, and for all.
__global__ void copies_in_groups(const float4* from, float4* seen) {
  auto* tiles = static_cast<float4*>(dynamic_shared());
  const unsigned i = threadIdx.x, n = blockDim.x;
  const auto look = [&](unsigned time) {
    for (unsigned tile = 0; tile < 3; ++tile) seen[(time * 3 + tile) * n + i] = tiles[tile * n + i];
  };
  copy_async(tiles + i, from + i);
  copy_async_commit();
  copy_async(tiles + n + i, from + i, i % 2 == 0);
  copy_async_commit();
  copy_async(tiles + 2 * n + i, from + i);  // in no group: nobody waits for it
  look(0);
  copy_async_wait<1>();
  look(1);
  copy_async_wait<0>();
  look(2);
}

// ---- sins

__global__ void half_a_barrier() {
  if (threadIdx.x < 16)
    __syncthreads();
  else
    __syncwarp(0xffff0000), __syncwarp(0xffffffff);
}

__global__ void two_barriers() {
  if (threadIdx.x < 16)
    __syncthreads();
  else
    __syncthreads();
}

__global__ void not_in_its_mask(int* x) { x[threadIdx.x] = __shfl_sync(0x0000ffff, 1, 0); }

__global__ void reads_outside_the_mask(int* x) {
  if (threadIdx.x < 16) x[threadIdx.x] = __shfl_sync(0x0000ffff, 1, 20);
}

__global__ void votes_for_the_dead(unsigned* x) {
  if (threadIdx.x == 5) return;
  x[threadIdx.x] = __ballot_sync(0xffffffff, 1);
}

__global__ void masks_disagree(unsigned* x) {
  x[threadIdx.x] = __ballot_sync(threadIdx.x == 3 ? 0x0000000fu : 0xffffffffu, 1);
}

__global__ void waits_for_nobody(unsigned* x) {
  if (threadIdx.x == 31) __syncthreads();
  x[threadIdx.x] = __ballot_sync(0xffffffff, 1);
}

__global__ void loads_a_misaligned_row(unsigned* x) {
  std::uint32_t r[4];
  load_matrices(r, reinterpret_cast<const std::byte*>(x) + (threadIdx.x == 9 ? 8 : 0));
}

__global__ void copies_to_a_misaligned_place(unsigned* x) {
  __shared__ __align__(16) float tile[8];
  copy_async(tile + 2, x);
}

__global__ void copies_from_a_misaligned_place(unsigned* x) {
  __shared__ __align__(16) float tile[8];
  copy_async(tile, x + 1, false);
}

__global__ void multiplies_with_the_dead() {
  if (threadIdx.x == 5) return;
  float d[4] = {};
  mma_m16n8k16(d, {0, 0, 0, 0}, {0, 0});
}

__global__ void multiplies_with_half_a_warp() {
  float d[4] = {};
  if (threadIdx.x < 16) mma_m16n8k16(d, {0, 0, 0, 0}, {0, 0});
}

__global__ void lanes_that_are_not_there(unsigned* x) { x[threadIdx.x] = __ballot_sync(0xffffffff, 1); }

}  // namespace

TEST_CASE("shared memory, barriers and blocks") {
  std::vector<float> x(3 * 256), sums(3);
  std::iota(x.begin(), x.end(), 0.0f);
  launch(block_sums, {3}, {256}, 0, x.data(), sums.data());
  for (int b = 0; b < 3; ++b) CHECK(sums[b] == 256 * (256 * b + 127.5f));
  std::vector<float> y(x.begin(), x.begin() + 100);
  launch(reverse, {1}, {100}, 100 * sizeof(float), y.data());
  for (int i = 0; i < 100; ++i) CHECK(y[i] == 99 - i);
  int total = 0;
  launch(add_all, {2, 2}, {4, 3, 2}, 0, &total);
  CHECK(total == 4 * (6 * 6 + 8 * 30 + 12 * 100));
}

TEST_CASE("shuffles and votes, with masks and widths") {
  std::vector<float> x(64), sums(2);
  std::vector<unsigned> votes(2);
  std::iota(x.begin(), x.end(), 0.0f);
  launch(warp_sums, {1}, {64}, 0, x.data(), sums.data(), votes.data());
  CHECK((sums[0] == 496 && sums[1] == 496 + 1024));
  CHECK((votes[0] == 0 && votes[1] == 0xfffffe00));
  std::vector<int> y(64, 1);
  launch(scan, {1}, {64}, 0, y.data());
  for (int i = 0; i < 64; ++i) CHECK(y[i] == i % 32 + 1 + 1000 * (i % 32 / 8 * 8 + 4));
  launch(half_warps, {1}, {32}, 0, y.data());
  for (int i = 0; i < 32; ++i) CHECK(y[i] == (i < 16 ? 7 : 20));
  std::iota(y.begin(), y.end(), 0);
  launch(sums_by_pairs, {1}, {64}, 0, y.data());
  for (int i = 0; i < 64; ++i) CHECK(y[i] == (i < 32 ? 496 : 496 + 1024));
}

TEST_CASE("templates, atomics of 64 bits and the functions of a kernel") {
  int sum = 0;
  unsigned long long count = 0;
  std::vector<float> x(32);
  launch(dialect<4, int>, {2}, {32}, 0, &sum, &count, x.data());
  CHECK(sum == 64 * (3 + 3 + 4 + 9));
  CHECK(count == 64);
  CHECK(x == std::vector<float>(32, 1.0f));
  unsigned total = 0;
  launch(dialect<1, unsigned>, {1}, {32}, 0, &total, &count, x.data());
  CHECK(total == 96);
}

namespace {

// z of each kernel of product.cu must be what plain loops in double say, within `tolerance` times what the sum's terms
// are long.
void check_products(int M, int N, int K, const std::function<float()>& value, double tolerance) {
  CAPTURE(M);
  CAPTURE(N);
  CAPTURE(K);
  std::vector<__nv_bfloat16> x(M * K), y(N * K);
  for (auto* matrix : {&x, &y})
    for (auto& element : *matrix) element = __float2bfloat16(value());
  const auto check = [&](const std::vector<float>& z) {
    bool right = true;
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) {
        double sum = 0, terms = 0;
        for (int k = 0; k < K; ++k) {
          const double term = double{__bfloat162float(x[m * K + k])} * __bfloat162float(y[n * K + k]);
          sum += term;
          terms += std::abs(term);
        }
        right &= std::abs(z[m * N + n] - sum) <= tolerance * terms;
      }
    CHECK(right);
  };
  const dim3 tiles{(M + 15u) / 16, (N + 7u) / 8};
  std::vector<float> z(M * N, NAN);
  if (M % 16 == 0 && N % 8 == 0 && K % 16 == 0) {
    launch(product_by_loads, tiles, {32}, 0, N, K, x.data(), y.data(), z.data());
    check(z);
    z.assign(z.size(), NAN);
    launch(product_by_matrices, tiles, {32}, 24 * K * sizeof(__nv_bfloat16), N, K, x.data(), y.data(), z.data());
    check(z);
    z.assign(z.size(), NAN);
  }
  launch(product_by_copies, tiles, {32}, 0, M, N, K, x.data(), y.data(), z.data());
  check(z);
}

}  // namespace

TEST_CASE("tensor cores multiply as plain loops do") {
  std::mt19937 engine(1);
  std::uniform_int_distribution<int> small(-8, 8);
  std::normal_distribution<float> normal;
  const std::vector<std::vector<int>> sizes{{16, 8, 16}, {32, 24, 48}, {48, 8, 256}, {16, 40, 112},
                                            {1, 1, 8},   {17, 9, 24},  {33, 31, 104}};
  for (const auto& size : sizes) {
    check_products(
        size[0], size[1], size[2], [&] { return static_cast<float>(small(engine)); }, 0);
    check_products(
        size[0], size[1], size[2], [&] { return normal(engine); }, size[2] * 0x1p-24);  // of K roundings
  }
  const auto before = simt::flops.mma;
  check_products(
      16, 8, 32, [&] { return normal(engine); }, 1e-5);
  CHECK(simt::flops.mma - before == 3 * 2 * 16 * 8 * 32);  // three kernels
}

TEST_CASE("powers of two, and floats in pairs of bf16") {
  const std::vector<float> x{0, 1, -3.5f, 10, -INFINITY, 0.25f};
  std::vector<std::uint32_t> pairs(3);
  launch(powers_in_pairs, {1}, {3}, 0, x.data(), pairs.data());
  for (int i = 0; i < 6; ++i) {
    const auto bits = static_cast<unsigned short>(pairs[i / 2] >> i % 2 * 16);
    CHECK(__bfloat162float({bits}) == __bfloat162float(__float2bfloat16(std::exp2(x[i]))));
  }
}

TEST_CASE("asynchronous copies are there when their group was waited for") {
  constexpr unsigned n = 8;
  std::vector<float4> from(n), seen(9 * n);
  for (unsigned i = 0; i < n; ++i) from[i] = {1.0f * i, 2.0f * i, 3.0f * i, 4.0f * i};
  launch(copies_in_groups, {1}, {n}, 3 * n * sizeof(float4), from.data(), seen.data());
  for (unsigned i = 0; i < n; ++i) {
    const auto at = [&](unsigned time, unsigned tile) { return seen[(time * 3 + tile) * n + i]; };
    for (unsigned tile = 0; tile < 3; ++tile) CHECK(std::isnan(at(0, tile).x));
    CHECK((at(1, 0).x == i && at(1, 0).w == 4 * i));
    CHECK(std::isnan(at(1, 1).w));
    CHECK(at(2, 1).w == (i % 2 == 0 ? 4 * i : 0));
    CHECK(std::isnan(at(2, 2).x));
  }
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

TEST_CASE("what would be undefined is found, and the next launch works") {
  std::vector<int> x(64);
  std::vector<unsigned> u(64);
  const auto contains = [](const std::string& text, const char* part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
    CHECK(text.find("test_simt.cpp:") != std::string::npos);
  };
  contains(error_of(multiplies_with_the_dead, {32}), "the mask names lane 5, which has ended");
  contains(error_of(half_a_barrier, {32}), "waits in __syncthreads");
  contains(error_of(two_barriers, {32}), "the block hangs");
  contains(error_of(not_in_its_mask, {32}, x.data()), "its own lane 16 is not in the mask");
  contains(error_of(reads_outside_the_mask, {32}, x.data()), "it reads lane 20, which is not in the mask");
  contains(error_of(votes_for_the_dead, {32}, u.data()), "the mask names lane 5, which has ended");
  contains(error_of(masks_disagree, {32}, u.data()), "the lanes do not agree");
  contains(error_of(waits_for_nobody, {32}, u.data()), "__syncthreads");
  contains(error_of(loads_a_misaligned_row, {32}, u.data()), "load_matrices by thread (9, 0, 0)");
  contains(error_of(copies_to_a_misaligned_place, {1}, u.data()), "the shared address is not aligned to 16 bytes");
  contains(error_of(copies_from_a_misaligned_place, {1}, u.data()), "the global address is not aligned to 16 bytes");
  contains(error_of(multiplies_with_half_a_warp, {32}), "for thread (31, 0, 0) has ended");
  contains(error_of(lanes_that_are_not_there, {20}, u.data()), "the mask names lane 20, which the block does not have");
  int total = 0;
  launch(add_all, {1}, {1024}, 0, &total);
  CHECK(total == 1023 * 512);
}

TEST_CASE("one device, with the attributes that a module asks for") {
  int count = 0, device = -1, value = 0, version = 0;
  CHECK((cudaGetDeviceCount(&count) == cudaSuccess && count == 1));
  CHECK(cudaSetDevice(0) == cudaSuccess);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  CHECK((cudaGetDevice(&device) == cudaSuccess && device == 0));
  CHECK((cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess && value == 4));
  CHECK((cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess && value == 9));
  CHECK((cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMinor, 0) == cudaSuccess && value == 0));
  CHECK((cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) == cudaSuccess));
  CHECK(value == 227 << 10);
  cudaDeviceProp properties;
  CHECK((cudaGetDeviceProperties(&properties, 0) == cudaSuccess && properties.name == std::string("SIMT simulator")));
  CHECK((cudaDriverGetVersion(&version) == cudaSuccess && version >= 13000));
  CHECK((cudaRuntimeGetVersion(&version) == cudaSuccess && cudaPeekAtLastError() == cudaSuccess));
  CHECK(cudaGetErrorName(cudaErrorNoDevice) == std::string("cudaErrorNoDevice"));
  void* memory = nullptr;
  REQUIRE(cudaMallocHost(&memory, sizeof(float)) == cudaSuccess);
  CHECK(std::isnan(*static_cast<float*>(memory)));
  CHECK(cudaFreeHost(memory) == cudaSuccess);
}

TEST_CASE("streams run when somebody waits; graphs replay; launches are checked") {
  void* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, 8 * sizeof(float)) == cudaSuccess);
  auto* x = static_cast<float*>(memory);
  CHECK(std::isnan(x[3]));  // nothing promises zeros
  std::vector<float> host(8, 1.0f), back(8);
  cudaStream_t first, second;
  cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking);
  cudaEvent_t copied;
  cudaEventCreateWithFlags(&copied, cudaEventDisableTiming);
  cudaMemcpyAsync(x, host.data(), 8 * sizeof(float), cudaMemcpyHostToDevice, first);
  cudaEventRecord(copied, first);
  cudaStreamWaitEvent(second, copied, 0);
  const cudaLaunchConfig_t config{{1}, {8}, 0, second};
  cudaLaunchKernelEx(&config, scale, x, 3.0f);
  CHECK(std::isnan(x[0]));
  cudaStreamSynchronize(second);
  CHECK(x[7] == 3);

  const cudaLaunchConfig_t later{{1}, {8}, 0, second};
  for (int i = 0; i < 2; ++i) cudaLaunchKernelEx(&later, scale, x, 1.0f);
  for (int i = 0; i < 2; ++i) CHECK(cudaStreamQuery(second) == cudaErrorNotReady);
  CHECK(cudaStreamQuery(second) == cudaSuccess);

  cudaGraph_t graph;
  cudaGraphExec_t exec;
  cudaStreamBeginCapture(first, cudaStreamCaptureModeThreadLocal);
  const cudaLaunchConfig_t captured{{1}, {8}, 0, first};
  cudaLaunchKernelEx(&captured, scale, x, 2.0f);
  CHECK(cudaStreamSynchronize(first) == cudaErrorStreamCaptureUnsupported);
  cudaStreamEndCapture(first, &graph);
  cudaGraphInstantiate(&exec, graph, 0);
  for (int i = 0; i < 3; ++i) cudaGraphLaunch(exec, first);
  cudaMemcpyAsync(back.data(), x, 8 * sizeof(float), cudaMemcpyDeviceToHost, first);
  cudaStreamSynchronize(first);
  CHECK(back[0] == 24);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);

  const cudaLaunchConfig_t wide{{1}, {1025}, 0, nullptr}, empty{{0}, {1}, 0, nullptr},
      full{{1}, {8}, 49 << 10, nullptr};
  for (const auto* wrong : {&wide, &empty, &full})
    CHECK(cudaLaunchKernelEx(wrong, scale, x, 1.0f) == cudaErrorInvalidConfiguration);
  CHECK(cudaFuncSetAttribute(scale, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10) == cudaSuccess);
  CHECK(cudaLaunchKernelEx(&full, scale, x, 1.0f) == cudaSuccess);
  CHECK(cudaFuncSetAttribute(scale, cudaFuncAttributeMaxDynamicSharedMemorySize, 300 << 10) == cudaErrorInvalidValue);
  cudaEventDestroy(copied);
  cudaStreamDestroy(first);
  cudaStreamDestroy(second);
  CHECK(cudaFree(x) == cudaSuccess);
  CHECK(cudaFree(x) == cudaErrorInvalidValue);
  CHECK(cudaMalloc(&memory, std::size_t{1} << 50) == cudaErrorMemoryAllocation);
}

#ifdef __SANITIZE_ADDRESS__
namespace {

__global__ void writes_past_the_end(float* x, unsigned n) { x[n + threadIdx.x] = 1; }

__global__ void writes_past_shared(float* x, unsigned n) {
  __shared__ float tile[32];
  tile[n + threadIdx.x] = 1;
  x[0] = tile[threadIdx.x];
}

__global__ void writes_past_dynamic(unsigned n) { static_cast<float*>(dynamic_shared())[n + threadIdx.x] = 1; }

__global__ void copies_past_the_end(const float* x, unsigned n) {
  __shared__ __align__(16) float tile[4];
  copy_async(tile, x + n);
}

__global__ void misaligned(float* x, float4* y) { y[threadIdx.x] = *reinterpret_cast<const float4*>(x + threadIdx.x); }

}  // namespace

TEST_CASE("the sanitizers see into kernels") {
  void* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, 32 * sizeof(float)) == cudaSuccess);
  auto* x = static_cast<float*>(memory);
  std::vector<float4> y(32);
  // What the sanitizers print when `work` runs in a process of its own.
  const auto report_of = [](const std::function<void()>& work) {
    std::FILE* report = std::tmpfile();
    const pid_t child = fork();
    if (child == 0) {
      dup2(fileno(report), STDERR_FILENO);
      work();
      _exit(0);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    std::string text(100'000, '\0');
    std::rewind(report);
    text.resize(std::fread(text.data(), 1, text.size(), report));
    std::fclose(report);
    return status == 0 ? "" : text;
  };
  const auto contains = [](const std::string& text, const char* part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  CHECK(report_of([&] { launch(writes_past_the_end, {1}, {32}, 0, x, 0u); }) == "");
  contains(report_of([&] { launch(writes_past_the_end, {1}, {32}, 0, x, 1u); }), "heap-buffer-overflow");
  contains(report_of([&] { launch(writes_past_shared, {1}, {32}, 0, x, 1u); }), "out of bounds");
  contains(report_of([&] { launch(writes_past_dynamic, {1}, {32}, 32 * sizeof(float), 1u); }), "heap-buffer-overflow");
  contains(report_of([&] { launch(copies_past_the_end, {1}, {1}, 0, x, 32u); }), "heap-buffer-overflow");
  contains(report_of([&] { launch(misaligned, {1}, {2}, 0, x, y.data()); }), "misaligned address");
  cudaFree(x);
}
#endif
