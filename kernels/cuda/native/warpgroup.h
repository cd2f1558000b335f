// Products by warpgroups: four warps that follow one another, the first a multiple of four, multiply from shared memory
// while they go on (wgmma, of compute capability 9.0 alone: "PTX ISA, Asynchronous Warpgroup Level Matrix
// Instructions"). Beside ptx.h, and with a twin in the simulator as it has.
#pragma once

#include <cstdint>

// Whether this code is for a device that has them.
__device__ constexpr bool has_warpgroups() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  return true;
#else
  return false;
#endif
}

// Makes what this thread wrote to shared memory, and what it copied and waited for, visible to products that are issued
// behind a barrier, and lets bulk copies (bulk_copy.h) that are issued there overwrite it.
__device__ __forceinline__ void fence_async_proxy() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// An operand in shared memory: core matrices of 8 rows of 16 bytes, 128 bytes that follow one another, of which the
// first is at `first`; the next ones in the direction of the sum are `along_k` bytes behind, and the next ones in the
// other `along_rows`. All three are multiples of 16. ("Matrix Descriptor Format", without swizzling: the leading and
// the stride dimension.)
__device__ __forceinline__ std::uint64_t shared_matrix(const void* first, unsigned along_k, unsigned along_rows) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(first));
  return (address >> 4 & 0x3fff) | std::uint64_t{along_k >> 4} << 16 | std::uint64_t{along_rows >> 4} << 32;
}

// Registers that products take or add to: their writing is done before, their reading begins behind this.
template <int m, int n>
__device__ __forceinline__ void hold(float (&sums)[m][n][4]) {
  for (auto& rows : sums)
    for (auto& columns : rows)
      for (float& sum : columns) asm volatile("" : "+f"(sum)::"memory");
}
template <int m, int n>
__device__ __forceinline__ void hold(std::uint32_t (&pairs)[m][n][4]) {
  for (auto& rows : pairs)
    for (auto& columns : rows)
      for (std::uint32_t& pair : columns) asm volatile("" : "+r"(pair)::"memory");
}

// Before products, whose registers are held.
__device__ __forceinline__ void warpgroup_arrive() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

// Ends a group of products; then waits for all groups, after which their sums d may be read.
__device__ __forceinline__ void warpgroup_commit() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
template <int m, int n>
__device__ __forceinline__ void warpgroup_wait(float (&d)[m][n][4]) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#endif
  hold(d);
}

// d[64,N] = a[64,16] b[N,16]ᵀ, or d += where `add`, in bf16, sums in fp32; b from shared memory, and a, too, or of it
// the warp's rows as mma_m16n8k16 takes them. Warp w of the four has rows 16w to 16w + 15, N / 8 of the d of
// mma_m16n8k16. And warpgroup_add: d[64,N] += a[64,16] b[16,N].
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define STAMP_NAMES_16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define STAMP_NAMES_32 STAMP_NAMES_16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define STAMP_NAMES_56                                                   \
  STAMP_NAMES_32                                                         \
      ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
      ",%48,%49,%50,%51,%52,%53,%54,%55"
#define STAMP_NAMES_64 STAMP_NAMES_56 ",%56,%57,%58,%59,%60,%61,%62,%63"
#define STAMP_SUMS(n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define STAMP_SUMS_16 STAMP_SUMS(0), STAMP_SUMS(1), STAMP_SUMS(2), STAMP_SUMS(3)
#define STAMP_SUMS_32 STAMP_SUMS_16, STAMP_SUMS(4), STAMP_SUMS(5), STAMP_SUMS(6), STAMP_SUMS(7)
#define STAMP_SUMS_56 \
  STAMP_SUMS_32, STAMP_SUMS(8), STAMP_SUMS(9), STAMP_SUMS(10), STAMP_SUMS(11), STAMP_SUMS(12), STAMP_SUMS(13)
#define STAMP_SUMS_64 STAMP_SUMS_56, STAMP_SUMS(14), STAMP_SUMS(15)
#define STAMP_MULTIPLY(N, sums, a, b, p)                                                                           \
  __device__ __forceinline__ void warpgroup_multiply(float(&d)[N / 8][4], std::uint64_t left, std::uint64_t right, \
                                                     bool add) {                                                   \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %" #p                                                              \
                 ", 0;"                                                                                            \
                 "wgmma.mma_async.sync.aligned.m64n" #N                                                            \
                 "k16.f32.bf16.bf16 "                                                                              \
                 "{" STAMP_NAMES_##sums "}, %" #a ", %" #b ", p, 1, 1, 0, 0;}"                                     \
                 : STAMP_SUMS_##sums                                                                               \
                 : "l"(left), "l"(right), "r"(static_cast<int>(add)));                                             \
  }
#define STAMP_MULTIPLY_REGISTERS(N, sums, a0, a1, a2, a3, b, p)                                                     \
  __device__ __forceinline__ void warpgroup_multiply(float(&d)[N / 8][4], const std::uint32_t(&left)[4],            \
                                                     std::uint64_t right, bool add) {                               \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %" #p                                                               \
                 ", 0;"                                                                                             \
                 "wgmma.mma_async.sync.aligned.m64n" #N                                                             \
                 "k16.f32.bf16.bf16 "                                                                               \
                 "{" STAMP_NAMES_##sums "}, {%" #a0 ",%" #a1 ",%" #a2 ",%" #a3 "}, %" #b ", p, 1, 1, 0;}"           \
                 : STAMP_SUMS_##sums                                                                                \
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right), "r"(static_cast<int>(add))); \
  }
#define STAMP_ADD(N, sums, a0, a1, a2, a3, b)                                                            \
  __device__ __forceinline__ void warpgroup_add(float(&d)[N / 8][4], const std::uint32_t(&left)[4],      \
                                                std::uint64_t right) {                                   \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N                                                  \
                 "k16.f32.bf16.bf16 "                                                                    \
                 "{" STAMP_NAMES_##sums "}, {%" #a0 ",%" #a1 ",%" #a2 ",%" #a3 "}, %" #b ", 1, 1, 1, 1;" \
                 : STAMP_SUMS_##sums                                                                     \
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right));                  \
  }
STAMP_MULTIPLY(32, 16, 16, 17, 18)
STAMP_MULTIPLY(64, 32, 32, 33, 34)
STAMP_MULTIPLY_REGISTERS(64, 32, 32, 33, 34, 35, 36, 37)
STAMP_ADD(32, 16, 16, 17, 18, 19, 20)
STAMP_ADD(64, 32, 32, 33, 34, 35, 36)
STAMP_ADD(112, 56, 56, 57, 58, 59, 60)
STAMP_ADD(128, 64, 64, 65, 66, 67, 68)
#undef STAMP_ADD
#undef STAMP_MULTIPLY_REGISTERS
#undef STAMP_MULTIPLY
#undef STAMP_SUMS_16
#undef STAMP_SUMS_32
#undef STAMP_SUMS_56
#undef STAMP_SUMS_64
#undef STAMP_SUMS
#undef STAMP_NAMES_16
#undef STAMP_NAMES_32
#undef STAMP_NAMES_56
#undef STAMP_NAMES_64
#else
template <int n>
__device__ void warpgroup_multiply(float (&)[n][4], std::uint64_t, std::uint64_t, bool) {}
template <int n>
__device__ void warpgroup_multiply(float (&)[n][4], const std::uint32_t (&)[4], std::uint64_t, bool) {}
template <int n>
__device__ void warpgroup_add(float (&)[n][4], const std::uint32_t (&)[4], std::uint64_t) {}
#endif
