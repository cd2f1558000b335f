// The SIMT simulator: what kernels may do works, and what they must not do is found, named and survived.
#include <bulk_copy.h>
#include <cuda_runtime.h>
#include <ptx.h>
#include <warpgroup.h>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "tests/launch.h"

namespace {

template <class... Parameters, class... Arguments>
std::string error_of(void (*kernel)(Parameters...), dim3 block, Arguments... arguments) {
  try {
    launch(kernel, {1}, block, 2048, arguments...);
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

__global__ void prefetches(const char* memory, std::size_t first, std::size_t bytes) {
  prefetch_bulk(memory + first, bytes);
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

// A bulk copy of 64 bytes; sins: 1 nobody began, 2 began twice, 3 announced twice, 4 never announced, 5 announced too
// much, 6 the wrong parity, 7 to a place that is not aligned, 8 not a multiple of 16, 9 beyond shared memory, 10 beyond
// device memory.
__global__ void bulk_sins(const float* x, float* seen, int sin) {
  __shared__ Arrival arrival;
  auto* to = static_cast<float*>(dynamic_shared());
  if (threadIdx.x == 0) {
    if (sin != 1) begin_arrivals(&arrival);
    if (sin == 2) begin_arrivals(&arrival);
    for (int i = 0; i < (sin == 3 ? 2 : sin == 4 ? 0 : 1); ++i) expect_bytes(&arrival, sin == 5 ? 80 : 64);
    copy_bulk(to + (sin == 7 ? 1 : sin == 9 ? 512 - 8 : 0), x + (sin == 10 ? 8 : 0), sin == 8 ? 60 : 64, &arrival);
  }
  __syncthreads();
  seen[threadIdx.x] = to[threadIdx.x];
  await(&arrival, sin == 6 ? 1 : 0);
  seen[16 + threadIdx.x] = sin == 6 ? NAN : to[threadIdx.x];
  if (sin == 6) await(&arrival, 0), await(&arrival, 1);
}

// A warpgroup's product; sins: 1 nobody arrives, 2 the second of two groups does not, 3 it reaches beyond shared
// memory, 4 from elsewhere, 5 from a place that is not aligned, 6 a warp takes another operand, 7 one multiplies more,
// 8 what it reads is overwritten before it is waited for, 9 a warp has ended, 10 other sums are waited for.
__global__ void warpgroup_sins(unsigned* x, int sin) {
  if (sin == 9 && threadIdx.x / 32 == 3) return;
  float others[1][4][4] = {};
  auto* tile = static_cast<std::byte*>(dynamic_shared());  // 2 KiB, of NaN
  float d[1][4][4];
  if (sin != 1) warpgroup_arrive();
  const void* left = tile;
  if (sin == 3) left = tile + 16;
  if (sin == 4) left = x;
  if (sin == 5) left = tile + 8;
  const bool differs = sin == 6 && threadIdx.x / 32 == 2;
  warpgroup_multiply(d[0], shared_matrix(left, 128, 256), shared_matrix(tile + (differs ? 128 : 0), 128, 256), false);
  if (sin == 7 && threadIdx.x / 32 == 1)
    warpgroup_multiply(d[0], shared_matrix(tile, 128, 256), shared_matrix(tile, 256, 128), true);
  warpgroup_commit();
  if (sin == 8) tile[16 * threadIdx.x] = std::byte{1};
  warpgroup_wait(sin == 10 ? others : d);
  if (sin == 2) warpgroup_multiply(d[0], shared_matrix(tile, 128, 256), shared_matrix(tile, 128, 256), true);
  if (sin == 7) warpgroup_arrive();
  if (sin == 7) warpgroup_multiply(d[0], shared_matrix(tile, 128, 256), shared_matrix(tile, 128, 256), true);
}

// Sums of a product of ones [64,16] and [32,16]: before and after the wait, and of one that is in no group.
__global__ void sums_in_time(float* seen) {
  auto* tile = static_cast<std::uint32_t*>(dynamic_shared());
  float d[1][4][4], never[4][4] = {};
  for (unsigned i = threadIdx.x; i < 64 * 16 / 2; i += 128) tile[i] = pack_bf16(1, 1);
  fence_async_proxy();
  __syncthreads();
  warpgroup_arrive();
  for (int k = 0; k < 3; ++k)
    warpgroup_multiply(d[0], shared_matrix(tile, 128, 256), shared_matrix(tile, 128, 256), k > 0);
  warpgroup_commit();
  warpgroup_add(never, {0, 0, 0, 0}, shared_matrix(tile, 128, 256));
  seen[threadIdx.x] = d[0][3][3];
  warpgroup_wait(d);
  seen[128 + threadIdx.x] = d[0][3][3];
  seen[256 + threadIdx.x] = never[0][0];
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

TEST_CASE("sums of a warpgroup's products are there when they were waited for") {
  std::vector<float> seen(3 * 128);
  launch(sums_in_time, {1}, {128}, 2048, seen.data());
  for (int i = 0; i < 128; ++i) {
    CHECK(std::isnan(seen[i]));
    CHECK(seen[128 + i] == 3 * 16);
    CHECK(std::isnan(seen[256 + i]));
  }
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
  void* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, 64) == cudaSuccess);
  const auto prefetch = [&](std::size_t first, std::size_t bytes) {
    return error_of(prefetches, {1}, static_cast<const char*>(memory), first, bytes);
  };
  CHECK(prefetch(16, 48) == "");
  contains(prefetch(8, 16), "the global address is not aligned to 16 bytes");
  contains(prefetch(0, 24), "24 bytes are no multiple of 16");
  contains(prefetch(32, 48), "48 bytes are not all of one allocation");
  cudaFree(memory);
  REQUIRE(cudaMalloc(&memory, 64) == cudaSuccess);
  const std::vector<float> ones(16, 1.0f);
  cudaMemcpy(memory, ones.data(), 64, cudaMemcpyHostToDevice);
  std::vector<float> seen(32);
  const auto by_bulk = [&](int sin) {
    return error_of(bulk_sins, {16}, static_cast<const float*>(memory), seen.data(), sin);
  };
  CHECK(by_bulk(0) == "");
  CHECK((std::isnan(seen[0]) && seen[16 + 3] == 1));  // before the first wait, and behind one
  contains(by_bulk(1), "no begin_arrivals() of this block came before");
  contains(by_bulk(2), "it has begun before");
  contains(by_bulk(3), "the phase before is not over");
  contains(by_bulk(4), "the block hangs: thread (0, 0, 0) waits in await");
  contains(by_bulk(5), "the block hangs: thread (0, 0, 0) waits in await");
  contains(by_bulk(6), "the block hangs: thread (0, 0, 0) waits in await");
  contains(by_bulk(7), "an address is not aligned to 16 bytes");
  contains(by_bulk(8), "60 bytes are no multiple of 16");
  contains(by_bulk(9), "it reaches beyond the dynamic shared memory");
  contains(by_bulk(10), "64 bytes are not all of one allocation");
  cudaFree(memory);
  const auto by_warpgroup = [&](int sin) { return error_of(warpgroup_sins, {128}, u.data(), sin); };
  contains(by_warpgroup(1), "no warpgroup_arrive() says that its registers are written");
  contains(by_warpgroup(2), "no warpgroup_arrive() says that its registers are written");
  contains(by_warpgroup(3), "a matrix reaches beyond the dynamic shared memory");
  contains(by_warpgroup(4), "the matrix is not in dynamic shared memory");
  contains(by_warpgroup(5), "is not aligned to 16 bytes");
  contains(by_warpgroup(6), "the warpgroup does not agree");
  contains(by_warpgroup(7), "the warpgroup does not agree");
  contains(by_warpgroup(8), "what it reads was overwritten before warpgroup_wait");
  contains(by_warpgroup(9), "the warpgroup does not agree: thread 96 of the block issued 0 products, another 1");
  contains(by_warpgroup(10), "sums of another product are under way");
  contains(error_of(warpgroup_sins, {96}, u.data(), 0), "the block has no four warps for it");
  CHECK(by_warpgroup(0) == "");
  contains(error_of(multiplies_with_half_a_warp, {32}), "for thread (31, 0, 0) has ended");
  contains(error_of(lanes_that_are_not_there, {20}, u.data()), "the mask names lane 20, which the block does not have");
  int total = 0;
  launch(add_all, {1}, {1024}, 0, &total);
  CHECK(total == 1023 * 512);
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
