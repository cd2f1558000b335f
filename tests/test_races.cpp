// Kernels compiled with -fsanitize=thread, as the simulator's hooks see them: races and reads of what nobody wrote are
// found with their places, what is ordered passes, bytes are counted.
#include <cuda_runtime.h>

#include <doctest/doctest.h>

#include <vector>

namespace {

// What a launch over fresh device memory of n floats fails with; "" where it does not. `written`: by the host, first.
template <class... Arguments>
std::string error_of(void (*kernel)(float*, Arguments...), dim3 grid, dim3 block, bool written,
                     Arguments... arguments) {
  constexpr std::size_t kFloats = 1024;
  void* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, kFloats * sizeof(float)) == cudaSuccess);
  if (written) cudaMemsetAsync(memory, 0, kFloats * sizeof(float), nullptr);
  const cudaLaunchConfig_t config{grid, block, 1024, nullptr};
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

__global__ void warp_shuffles_order_too(float* x) {
  __shared__ float tile[32];
  tile[threadIdx.x] = 1;
  __shfl_xor_sync(0xffffffff, 1, 1);
  x[threadIdx.x] = tile[31 - threadIdx.x];
}

__global__ void sums_of_all_blocks(float* x, bool with_atomics) {
  if (with_atomics)
    atomicAdd(x, 1.0f);
  else
    *x += 1;
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

__global__ void copies(float* x) { x[512 + threadIdx.x] = x[threadIdx.x]; }

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
  CHECK(error_of(warp_shuffles_order_too, {1}, {32}, true) == "");
}

TEST_CASE("races between blocks, and atomics, which do not race") {
  CHECK(error_of(sums_of_all_blocks, {1}, {1}, true, false) == "");
  contains(error_of(sums_of_all_blocks, {2}, {1}, true, false), "a race in device memory");
  CHECK(error_of(sums_of_all_blocks, {2}, {64}, true, true) == "");
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

TEST_CASE("bytes are counted") {
  simt::reset_traffic();
  CHECK(error_of(copies, {1}, {32}, true) == "");
  CHECK((simt::traffic().device_read == 128 && simt::traffic().device_written == 128));
  CHECK(error_of(copies_vectors, {1}, {32}, true) == "");
  CHECK((simt::traffic().device_read == 640 && simt::traffic().device_written == 640));
  CHECK(error_of(stretches, {1}, {256}, true, true) == "");
  CHECK((simt::traffic().shared_read == 1024 && simt::traffic().shared_written == 1024));
}
