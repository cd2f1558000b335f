// Kernels compiled with -fsanitize=thread, as the simulator's hooks see them: races and reads of what nobody wrote are
// found with their places, what is ordered passes, bytes are counted.
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <sort.h>

#include <doctest/doctest.h>

#include <vector>

#include "tests/product.cu"

namespace {

// What a launch over fresh device memory of n floats fails with; "" where it does not. `written`: by the host, first.
template <class... Arguments>
std::string error_of(void (*kernel)(float*, Arguments...), dim3 grid, dim3 block, bool written,
                     Arguments... arguments) {
  constexpr std::size_t kFloats = 1024;
  void* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, kFloats * sizeof(float)) == cudaSuccess);
  if (written) cudaMemsetAsync(memory, 0, kFloats * sizeof(float), nullptr);
  const cudaLaunchConfig_t config{grid, block, 2048, nullptr};
  REQUIRE(cudaLaunchKernelEx(&config, kernel, static_cast<float*>(memory), arguments...) == cudaSuccess);
  std::string error;
  try {
    cudaDeviceSynchronize();
  } catch (const simt::Error& e) {
    error = e.what();
  }
  cudaFree(memory);
  return error;
}

__global__ void stretches(float* x, bool with_barrier) {
  __shared__ float tile[256];
  tile[threadIdx.x] = x[threadIdx.x];
  if (with_barrier) __syncthreads();
  x[threadIdx.x] = tile[threadIdx.x / 2];
}

__global__ void reuses_a_tile(float* x, bool with_barrier) {
  __shared__ float tile[64];
  tile[threadIdx.x] = 1;
  __syncthreads();
  x[threadIdx.x] = tile[63 - threadIdx.x];
  if (with_barrier) __syncthreads();
  if (threadIdx.x == 63) tile[63] = 2;
}

__global__ void warp_neighbours(float* x, unsigned mask) {
  auto* tile = static_cast<float*>(simt::dynamic_shared());
  tile[threadIdx.x] = 1;
  if (mask >> threadIdx.x & 1) {
    __syncwarp(mask);
    x[threadIdx.x] = tile[threadIdx.x ^ 1];
  }
}

// "These intrinsics do not imply a memory barrier", the CUDA C++ Programming Guide says of shuffles.
__global__ void shuffles_between(float* x, bool with_barrier) {
  __shared__ float tile[32];
  tile[threadIdx.x] = 1;
  __shfl_xor_sync(0xffffffff, 1, 1);
  if (with_barrier) __syncwarp();
  x[threadIdx.x] = tile[31 - threadIdx.x];
}

__global__ void sums_of_all_blocks(float* x, bool with_atomics) {
  if (with_atomics)
    atomicAdd(x, 1.0f);
  else
    *x += 1;
}

// The block that comes last adds up what all wrote; sins: 1 no barrier before the counter, 2 no fence, 3 a write behind
// it, 4 no fence after the counter, 5 no barrier after that, 6 no counter.
__global__ void sums_by_the_last(float* x, int sin) {
  __shared__ bool last;
  auto* count = reinterpret_cast<unsigned*>(x + 1000);
  x[blockIdx.x * blockDim.x + threadIdx.x] = 1;
  if (sin != 1) __syncthreads();
  if (threadIdx.x == 0) {
    if (sin != 2) __threadfence();
    if (sin == 3) x[blockIdx.x * blockDim.x] = 2;
    last = (sin == 6 ? blockIdx.x : atomicAdd(count, 1u)) == gridDim.x - 1;
    if (sin != 4) __threadfence();
  }
  if (sin != 5) __syncthreads();
  if (sin == 5) __syncwarp();
  if (!last) return;
  float sum = 0;
  for (unsigned block = 0; block < gridDim.x; ++block) sum += __ldcg(x + block * blockDim.x + threadIdx.x);
  x[512 + threadIdx.x] = sum;
}

__global__ void reads_a_shared_hole(float* x) {
  __shared__ float tile[32];
  if (threadIdx.x != 7) tile[threadIdx.x] = 1;
  __syncthreads();
  x[threadIdx.x] = tile[threadIdx.x];
}

// The second block must not see what the first one left.
__global__ void reads_what_the_last_block_wrote(float* x) {
  auto* tile = static_cast<float*>(simt::dynamic_shared());
  if (blockIdx.x == 0) tile[threadIdx.x] = 1;
  __syncthreads();
  x[blockIdx.x * blockDim.x + threadIdx.x] = tile[threadIdx.x];
}

// Shared memory of one block is that of the next: no race, and nothing written.
__global__ void reuses_across_blocks(float* x, bool written) {
  __shared__ float tile[32];
  if (written || blockIdx.x == 0) tile[threadIdx.x] = 1;
  __syncthreads();
  x[blockIdx.x * blockDim.x + threadIdx.x] = tile[31 - threadIdx.x];
}

// A tile by asynchronous copies, read by other lanes; sins: 1 no wait, 2 no barrier after it, 3 overwritten unread.
__global__ void copies_ahead(float* x, int sin) {
  __shared__ __align__(16) float4 tile[32];
  const unsigned i = threadIdx.x;
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    copy_async(tile + i, x + 4 * i, i < 16);
    copy_async_commit();
    if (sin != 1) copy_async_wait<0>();
    if (sin != 2) __syncthreads();
    sum += tile[i / 2].x;
    if (sin != 3) __syncthreads();
  }
  x[512 + i] = sum;
}

__global__ void reads_its_own_copy(float* x) {
  __shared__ __align__(16) float4 tile[32];
  copy_async(tile + threadIdx.x, x + 4 * threadIdx.x);
  copy_async_commit();
  x[threadIdx.x] = tile[threadIdx.x].x;
}

__global__ void loads_matrices(float* x, bool with_barrier) {
  __shared__ __align__(16) float tile[32][4];
  for (int i = 0; i < 4; ++i) tile[threadIdx.x][i] = 1;
  if (with_barrier) __syncwarp();
  std::uint32_t r[4];
  load_matrices(r, tile[threadIdx.x / 2]);
  x[threadIdx.x] = __uint_as_float(r[0]);
}

// Eight bytes a thread by bulk copies, twice; sins: 1 who waits is not who reads, 2 no barrier behind begin_arrivals, 3
// a second phase before others waited for the first, 4 it overwrites what was written without a fence, 5 nobody waits.
__global__ void copies_in_bulk(float* x, int sin) {
  __shared__ Arrival arrival;
  auto* tile = static_cast<float*>(dynamic_shared());
  const unsigned i = threadIdx.x;
  if (i == 0) begin_arrivals(&arrival);
  if (sin == 4) tile[i] = 1;
  if (sin != 2) __syncthreads();
  float sum = 0;
  for (unsigned round = 0; round < 2; ++round) {
    if (i == 0) {
      expect_bytes(&arrival, 64 * 2 * sizeof(float));
      copy_bulk(tile, x, 64 * 2 * sizeof(float), &arrival);
    }
    if (sin != 5 && (sin != 1 || i < 32)) await(&arrival, round);
    sum += tile[2 * i];
    if (sin != 3) __syncthreads();
  }
  x[512 + 64 * blockIdx.x + i] = sum;
}

// A product of ones by a warpgroup, of 64 by 32 by 16; sins: 1 no fence, 2 a fence behind the barrier, 3 no barrier, 4
// its operand is overwritten before it is waited for, by another thread.
__global__ void multiplies(float* x, int sin) {
  auto* tile = static_cast<__nv_bfloat16*>(dynamic_shared());  // [64,16], of which the first rows are the right operand
  float d[1][4][4];
  for (unsigned i = threadIdx.x; i < 64 * 16; i += 128) tile[i] = __float2bfloat16(1);
  if (sin != 1 && sin != 2) fence_async_proxy();
  if (sin != 3) __syncthreads();
  if (sin == 2) fence_async_proxy();
  warpgroup_arrive();
  warpgroup_multiply(d[0], shared_matrix(tile, 128, 256), shared_matrix(tile, 128, 256), false);
  warpgroup_commit();
  if (sin == 4 && threadIdx.x == 5) tile[0] = __float2bfloat16(2);
  warpgroup_wait(d);
  x[threadIdx.x] = d[0][0][0];
}

__global__ void copies(float* x) { x[512 + threadIdx.x] = x[threadIdx.x]; }

__global__ void reads(const float* x, float* sum) { atomicAdd(sum, x[threadIdx.x]); }

__global__ void copies_vectors(float* x) {
  reinterpret_cast<float4*>(x + 512)[threadIdx.x] = reinterpret_cast<const float4*>(x)[threadIdx.x];
}

void contains(const std::string& text, const char* part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
  CHECK(text.find("test_races.cpp:") != std::string::npos);
}

}  // namespace

TEST_CASE("races between the threads of a block") {
  CHECK(error_of(stretches, {1}, {256}, true, true) == "");
  contains(error_of(stretches, {1}, {256}, true, false), "a race in shared memory: read by thread");
  CHECK(error_of(reuses_a_tile, {1}, {64}, true, true) == "");
  contains(error_of(reuses_a_tile, {1}, {64}, true, false), "a race in shared memory: written by thread");
}

TEST_CASE("races within a warp") {
  CHECK(error_of(warp_neighbours, {1}, {32}, true, 0xffffffffu) == "");
  CHECK(error_of(warp_neighbours, {1}, {32}, true, 0x0000fff0u) == "");
  contains(error_of(warp_neighbours, {1}, {32}, true, 0x0000fff8u), "a race in shared memory");  // 3 reads 2
  CHECK(error_of(shuffles_between, {1}, {32}, true, true) == "");
  contains(error_of(shuffles_between, {1}, {32}, true, false), "a race in shared memory");
}

TEST_CASE("races between blocks, and atomics, which do not race") {
  CHECK(error_of(sums_of_all_blocks, {1}, {1}, true, false) == "");
  contains(error_of(sums_of_all_blocks, {2}, {1}, true, false), "a race in device memory");
  CHECK(error_of(sums_of_all_blocks, {2}, {64}, true, true) == "");
}

TEST_CASE("what the last block to come reads of the others") {
  CHECK(error_of(sums_by_the_last, {4}, {64}, true, 0) == "");
  for (int sin = 1; sin <= 6; ++sin) {
    CAPTURE(sin);
    contains(error_of(sums_by_the_last, {4}, {64}, true, sin),
             sin == 5 ? "a race in shared" : "a race in device memory");
  }
}

TEST_CASE("reads of what nobody wrote") {
  contains(error_of(reads_a_shared_hole, {1}, {32}, true),
           "nobody wrote this shared memory: read by thread 7 of block 0");
  contains(error_of(reads_what_the_last_block_wrote, {2}, {32}, true), "nobody wrote this shared memory");
  CHECK(error_of(reads_what_the_last_block_wrote, {1}, {32}, true) == "");
  CHECK(error_of(copies, {1}, {32}, true) == "");
  contains(error_of(copies, {1}, {32}, false), "nobody wrote this device memory: read by thread 0");
  contains(error_of(copies_vectors, {1}, {32}, false), "nobody wrote this device memory");
}

TEST_CASE("shared memory from block to block") {
  CHECK(error_of(reuses_across_blocks, {4}, {32}, true, true) == "");
  contains(error_of(reuses_across_blocks, {2}, {32}, true, false), "nobody wrote this shared memory");
}

TEST_CASE("asynchronous copies and tensor cores") {
  CHECK(error_of(copies_ahead, {1}, {32}, true, 0) == "");
  contains(error_of(copies_ahead, {1}, {32}, true, 1), "a copy is under way to this shared memory: read by thread");
  contains(error_of(copies_ahead, {1}, {32}, true, 2), "a race in shared memory");
  contains(error_of(copies_ahead, {1}, {32}, true, 3), "a race in shared memory");
  contains(error_of(copies_ahead, {1}, {32}, false, 0), "nobody wrote this device memory: read by thread 0");
  contains(error_of(reads_its_own_copy, {1}, {32}, true), "a copy is under way to this shared memory");
  CHECK(error_of(loads_matrices, {1}, {32}, true, true) == "");
  contains(error_of(loads_matrices, {1}, {32}, true, false), "a race in shared memory: read by thread");

  const auto product = [](int M, int N, int K) {
    const std::vector<__nv_bfloat16> x(M * K, __float2bfloat16(1)), y(N * K, __float2bfloat16(2));
    std::vector<float> z(M * N);
    const unsigned rows = (M + 15) / 16, columns = (N + 7) / 8;
    const cudaLaunchConfig_t config{{rows, columns}, {32}, 24 * K * sizeof(__nv_bfloat16), nullptr};
    cudaLaunchKernelEx(&config, product_by_copies, M, N, K, x.data(), y.data(), z.data());
    if (M % 16 == 0) cudaLaunchKernelEx(&config, product_by_matrices, N, K, x.data(), y.data(), z.data());
    cudaDeviceSynchronize();
    CHECK(z == std::vector<float>(M * N, 2.0f * K));
  };
  product(32, 16, 64);
  product(17, 9, 40);
}

TEST_CASE("bulk copies") {
  CHECK(error_of(copies_in_bulk, {2}, {64}, true, 0) == "");
  contains(error_of(copies_in_bulk, {1}, {64}, false, 0), "nobody wrote this device memory: read by thread 0");
  contains(error_of(copies_in_bulk, {1}, {64}, true, 1), "a race in shared memory: read by thread 32");
  contains(error_of(copies_in_bulk, {1}, {64}, true, 2), "a race in shared memory");
  CHECK(error_of(copies_in_bulk, {1}, {64}, true, 3).starts_with("the block hangs: thread (1, 0, 0) waits in await"));
  contains(error_of(copies_in_bulk, {1}, {64}, true, 4),
           "no fence_async_proxy() came after this was written to shared");
  contains(error_of(copies_in_bulk, {1}, {64}, true, 5), "a copy is under way to this shared memory: read by thread 0");
}

TEST_CASE("products by warpgroups") {
  CHECK(error_of(multiplies, {1}, {128}, true, 0) == "");
  contains(error_of(multiplies, {1}, {128}, true, 1), "no fence_async_proxy() came after this was written to shared");
  contains(error_of(multiplies, {1}, {128}, true, 2), "no fence_async_proxy() came after this was written to shared");
  contains(error_of(multiplies, {1}, {128}, true, 3), "nobody wrote this shared memory");
  contains(error_of(multiplies, {1}, {128}, true, 4), "a race in shared memory: written by thread 5");
}

TEST_CASE("libraries read what is written, and write") {
  constexpr int n = 16;
  void *memory = nullptr, *product = nullptr;
  REQUIRE((cudaMalloc(&memory, n * sizeof(float)) == cudaSuccess && cudaMalloc(&product, 4096) == cudaSuccess));
  auto *x = static_cast<float*>(memory), *y = static_cast<float*>(product);
  cublasHandle_t handle;
  cublasCreate(&handle);
  const auto error_of_library = [&](const std::function<void()>& call) -> std::string {
    call();
    try {
      cudaDeviceSynchronize();
    } catch (const simt::Error& error) {
      return error.what();
    }
    return "";
  };
  const auto multiply = [&] {
    const float one = 1, zero = 0;
    CHECK(cublasGemmEx(handle, CUBLAS_OP_N, CUBLAS_OP_T, 4, 4, 4, &one, x, CUDA_R_32F, 4, x, CUDA_R_32F, 4, &zero, y,
                       CUDA_R_32F, 4, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS);
  };
  const auto sort = [&] {
    const auto* keys = reinterpret_cast<const std::uint32_t*>(x);
    auto* sorted = reinterpret_cast<std::uint32_t*>(y);
    CHECK(sort_pairs(y + 256, sort_pairs_bytes(n), keys, sorted, keys, sorted + n, n, 32, nullptr) == cudaSuccess);
  };
  CHECK(error_of_library(multiply).find("nobody wrote this device memory: read by cublasGemmEx") == 0);
  CHECK(error_of_library(sort).find("nobody wrote this device memory: read by sort_pairs") == 0);
  cudaMemsetAsync(x, 0, n * sizeof(float), nullptr);
  CHECK(error_of_library(multiply) == "");
  CHECK(error_of_library(sort) == "");
  const cudaLaunchConfig_t config{{1}, {32}, 0, nullptr};  // y is written now, 32 floats of it
  CHECK(error_of_library([&] { cudaLaunchKernelEx(&config, reads, y, x); }) == "");
  cublasDestroy(handle);
  cudaFree(x);
  cudaFree(y);
}

TEST_CASE("bytes are counted") {
  simt::reset_traffic();
  CHECK(error_of(copies, {1}, {32}, true) == "");
  CHECK((simt::traffic().device_read == 128 && simt::traffic().device_written == 128));
  CHECK(error_of(copies_vectors, {1}, {32}, true) == "");
  CHECK((simt::traffic().device_read == 640 && simt::traffic().device_written == 640));
  CHECK(error_of(stretches, {1}, {256}, true, true) == "");
  CHECK((simt::traffic().shared_read == 1024 && simt::traffic().shared_written == 1024));
  simt::reset_traffic();
  CHECK(error_of(copies_ahead, {1}, {32}, true, 0) == "");
  CHECK((simt::traffic().device_read == 2 * 16 * 16 && simt::traffic().device_written == 128));
  CHECK((simt::traffic().shared_read == 2 * 32 * 4 && simt::traffic().shared_written == 2 * 32 * 16));
}
