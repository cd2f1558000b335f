// z[M,N] = x[M,K] yᵀ, y[N,K], bf16 in, fp32 out, by tensor cores: every function of ptx.h, warpgroup.h and bulk_copy.h
// at work, in a source that is compiled for the device and for the simulator. A warp a tile of 16 x 8; M, N and K are
// multiples of 16, 8 and 16.
#include <bulk_copy.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <ptx.h>
#include <warpgroup.h>

// Fragments by ordinary loads, as the manual's tables place them.
__global__ void product_by_loads(int N, int K, const __nv_bfloat16* x, const __nv_bfloat16* y, float* z) {
  const int row = static_cast<int>(blockIdx.x) * 16 + static_cast<int>(threadIdx.x) / 4;
  const int column = static_cast<int>(blockIdx.y) * 8, pair = static_cast<int>(threadIdx.x) % 4 * 2;
  float d[4] = {};
  for (int k = 0; k < K; k += 16) {
    const auto at = [](const __nv_bfloat16* p) { return *reinterpret_cast<const std::uint32_t*>(p); };
    const __nv_bfloat16 *upper = x + row * K + k + pair, *lower = upper + 8 * K;
    const __nv_bfloat16* right = y + (column + static_cast<int>(threadIdx.x) / 4) * K + k + pair;
    mma_m16n8k16(d, {at(upper), at(lower), at(upper + 8), at(lower + 8)}, {at(right), at(right + 8)});
  }
  for (int i = 0; i < 4; ++i) z[(row + i / 2 * 8) * N + column + pair + i % 2] = d[i];
}

// The same with tiles in dynamic shared memory, y's transposed there (16 KiB are enough for 16 rows of K = 256).
__global__ void product_by_matrices(int N, int K, const __nv_bfloat16* x, const __nv_bfloat16* y, float* z) {
  auto* left = static_cast<__nv_bfloat16*>(dynamic_shared());  // [16,K]
  auto* right = left + 16 * K;                                 // [K,8]
  const int lane = static_cast<int>(threadIdx.x), row = static_cast<int>(blockIdx.x) * 16;
  const int column = static_cast<int>(blockIdx.y) * 8;
  for (int i = lane; i < 16 * K; i += 32) left[i] = x[row * K + i];
  for (int i = lane; i < 8 * K; i += 32) right[i % K * 8 + i / K] = y[column * K + i];
  __syncwarp();
  float d[4] = {};
  for (int k = 0; k < K; k += 16) {
    std::uint32_t a[4], b[4];
    load_matrices(a, left + (lane % 16) * K + k + lane / 16 * 8);
    load_matrices_transposed(b, right + (k + lane % 16) * 8);  // its lanes 16 to 31 repeat what 0 to 15 name
    mma_m16n8k16(d, a, {b[0], b[1]});
  }
  for (int i = 0; i < 4; ++i) z[(row + lane / 4 + i / 2 * 8) * N + column + lane % 4 * 2 + i % 2] = d[i];
}

// The same for any M and N, and K a multiple of 8: tiles come by asynchronous copies, one ahead of what is multiplied,
// with zeros where a matrix ends.
__global__ void product_by_copies(int M, int N, int K, const __nv_bfloat16* x, const __nv_bfloat16* y, float* z) {
  __shared__ __align__(16) __nv_bfloat16 left[2][16][16];
  __shared__ __align__(16) __nv_bfloat16 right[2][8][16];
  const int lane = static_cast<int>(threadIdx.x), row = static_cast<int>(blockIdx.x) * 16;
  const int column = static_cast<int>(blockIdx.y) * 8;
  const auto fetch = [&](int k) {
    const int i = lane / 2, part = lane % 2 * 8, tile = k / 16 % 2;
    copy_async(&left[tile][i][part], x + (row + i) * K + k + part, row + i < M && k + part < K);
    if (i < 8) copy_async(&right[tile][i][part], y + (column + i) * K + k + part, column + i < N && k + part < K);
    copy_async_commit();
  };
  float d[4] = {};
  fetch(0);
  for (int k = 0; k < K; k += 16) {
    fetch(k + 16);
    copy_async_wait<1>();
    __syncwarp();
    std::uint32_t a[4], b[4];
    load_matrices(a, &left[k / 16 % 2][lane % 16][lane / 16 * 8]);
    load_matrices(b, &right[k / 16 % 2][lane % 8][lane / 8 % 2 * 8]);  // rows of y are columns of b
    mma_m16n8k16(d, a, {b[0], b[1]});
    __syncwarp();  // the tile is read: the next fetch may overwrite it
  }
  for (int i = 0; i < 4; ++i) {
    const int m = row + lane / 4 + i / 2 * 8, n = column + lane % 4 * 2 + i % 2;
    if (m < M && n < N) z[m * N + n] = d[i];
  }
}

// What a warp's lanes have of rows [16,16] of x from `first` on, K apart, as mma_m16n8k16 takes them.
__device__ inline void load_rows(std::uint32_t (&a)[4], int K, const __nv_bfloat16* first) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4, t = static_cast<int>(threadIdx.x) % 4;
  for (int i = 0; i < 4; ++i)
    a[i] = *reinterpret_cast<const std::uint32_t*>(first + (g + i % 2 * 8) * K + 2 * t + i / 2 * 8);
}

// Which operands of a warpgroup are in registers, and how y lies in shared memory.
enum class Operands { both_shared, left_registers, right_transposed };

// The same by a warpgroup a tile of 64 x `columns`. In dynamic shared memory, of 16 columns of K at a time, 64 rows of
// x and `columns` of y (10 KiB are enough for 256) as core matrices: of x and y [rows/8][2][8,8], of y transposed
// [2][rows/8][8,8], with a hole of 16 bytes behind each of the first of those so that no two strides are alike.
template <int columns, Operands operands>
__global__ void __launch_bounds__(128)
    product_by_warpgroup(int N, int K, const __nv_bfloat16* x, const __nv_bfloat16* y, float* z) {
  auto* left = static_cast<__nv_bfloat16*>(dynamic_shared());
  auto* right = left + 64 * 16;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int row = static_cast<int>(blockIdx.x) * 64, column = static_cast<int>(blockIdx.y) * columns;
  constexpr int kHalf = columns * 8 + 8;  // of y transposed
  float d[1][columns / 8][4] = {};
  for (int k = 0; k < K; k += 16) {
    for (int i = thread; i < 64 * 16; i += 128)
      left[i / 16 / 8 * 128 + i % 16 / 8 * 64 + i / 16 % 8 * 8 + i % 8] = x[(row + i / 16) * K + k + i % 16];
    for (int i = thread; i < columns * 16; i += 128) {
      const int n = i / 16, j = i % 16;
      const int place = operands == Operands::right_transposed ? j / 8 * kHalf + n / 8 * 64 + j % 8 * 8 + n % 8
                                                               : n / 8 * 128 + j / 8 * 64 + n % 8 * 8 + j % 8;
      right[place] = y[(column + n) * K + k + j];
    }
    fence_async_proxy();
    __syncthreads();
    std::uint32_t a[4];
    load_rows(a, K, x + (row + 16 * warp) * K + k);
    warpgroup_arrive();
    if constexpr (operands == Operands::both_shared)
      warpgroup_multiply(d[0], shared_matrix(left, 128, 256), shared_matrix(right, 128, 256), k > 0);
    else if constexpr (operands == Operands::left_registers)
      warpgroup_multiply(d[0], a, shared_matrix(right, 128, 256), k > 0);
    else
      warpgroup_add(d[0], a, shared_matrix(right, 2 * kHalf, 128));
    warpgroup_commit();
    warpgroup_wait(d);
    __syncthreads();
  }
  for (int n = 0; n < columns / 8; ++n)
    for (int i = 0; i < 4; ++i)
      z[(row + 16 * warp + lane / 4 + i / 2 * 8) * N + column + 8 * n + lane % 4 * 2 + i % 2] = d[0][n][i];
}
// All that there are.
template __global__ void product_by_warpgroup<32, Operands::both_shared>(int, int, const __nv_bfloat16*,
                                                                         const __nv_bfloat16*, float*);
template __global__ void product_by_warpgroup<64, Operands::both_shared>(int, int, const __nv_bfloat16*,
                                                                         const __nv_bfloat16*, float*);
template __global__ void product_by_warpgroup<64, Operands::left_registers>(int, int, const __nv_bfloat16*,
                                                                            const __nv_bfloat16*, float*);
template __global__ void product_by_warpgroup<32, Operands::right_transposed>(int, int, const __nv_bfloat16*,
                                                                              const __nv_bfloat16*, float*);
template __global__ void product_by_warpgroup<64, Operands::right_transposed>(int, int, const __nv_bfloat16*,
                                                                              const __nv_bfloat16*, float*);
template __global__ void product_by_warpgroup<112, Operands::right_transposed>(int, int, const __nv_bfloat16*,
                                                                               const __nv_bfloat16*, float*);
template __global__ void product_by_warpgroup<128, Operands::right_transposed>(int, int, const __nv_bfloat16*,
                                                                               const __nv_bfloat16*, float*);

// sums[i] = Σ x[tile][i] over tiles [n] of x, n a multiple of 4 and of the block; two of them are on their way by bulk
// copies while one is added, in dynamic shared memory [2,n].
__global__ void sums_of_tiles(int tiles, int n, const float* x, float* sums) {
  __shared__ Arrival arrivals[2];
  auto* buffers = static_cast<float*>(dynamic_shared());
  const auto bytes = static_cast<std::uint32_t>(n) * static_cast<std::uint32_t>(sizeof(float));
  const auto fetch = [&](int tile) {
    if (threadIdx.x != 0 || tile >= tiles) return;
    expect_bytes(&arrivals[tile % 2], bytes);
    copy_bulk(buffers + tile % 2 * n, x + tile * n, bytes, &arrivals[tile % 2]);
  };
  if (threadIdx.x == 0)
    for (Arrival& arrival : arrivals) begin_arrivals(&arrival);
  __syncthreads();
  fetch(0);
  fetch(1);
  for (int tile = 0; tile < tiles; ++tile) {
    await(&arrivals[tile % 2], static_cast<std::uint32_t>(tile / 2 % 2));
    for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x))
      sums[i] = (tile == 0 ? 0 : sums[i]) + buffers[tile % 2 * n + i];
    __syncthreads();
    fetch(tile + 2);
  }
}

// x[i] = √x[i] / y[i] for i below n, both of them in the cache beforehand, n a multiple of 4.
__global__ void roots_and_quotients(int n, float* x, const float* y) {
  if (threadIdx.x == 0) {
    prefetch_bulk(x, sizeof(float) * static_cast<std::size_t>(n));
    prefetch_bulk(y, sizeof(float) * static_cast<std::size_t>(n));
  }
  const int i = static_cast<int>(threadIdx.x);
  if (i < n) x[i] = divide_approx(sqrt_approx(x[i]), y[i]);
}

// pairs[i] = 2^x[2i] and 2^x[2i+1].
__global__ void powers_in_pairs(const float* x, std::uint32_t* pairs) {
  const float* own = x + 2 * threadIdx.x;
  pairs[threadIdx.x] = pack_bf16(exp2_approx(own[0]), exp2_approx(own[1]));
}

// z[i] = the larger one of x[2i] and x[2i+1].
__global__ void maxima_of_pairs(const float* x, float* z) {
  z[threadIdx.x] = max_or_nan(x[2 * threadIdx.x], x[2 * threadIdx.x + 1]);
}
