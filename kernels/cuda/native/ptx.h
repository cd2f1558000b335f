// What CUDA C++ has no name for, as PTX. This folder is nvcc's alone: the simulator (tests/simt) has headers of the
// same names for g++.
#pragma once

#include <cstddef>
#include <cstdint>

// The block's dynamic shared memory, as many bytes as the launch gave it, aligned to 128.
__device__ __forceinline__ void* dynamic_shared() {
  extern __shared__ __align__(128) uint4 dynamic_shared_memory[];
  return dynamic_shared_memory;
}

// d[16,8] += a[16,16] b[16,8] by the 32 lanes of a warp; bf16 in pairs, the lower column (of a) or row (of b) in the
// lower half; sums in fp32. With g = lane / 4 and t = lane % 4, as "PTX ISA, Matrix Fragments for mma.m16n8k16" has it:
//   a  rows g, g+8, g, g+8         columns 2t, 2t, 2t+8, 2t+8, each with the next
//   b  rows 2t, 2t+8, each with the next    column g
//   d  rows g, g, g+8, g+8         columns 2t, 2t+1, 2t, 2t+1
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d[16,8] += a[16,8] b[8,8] likewise, in tf32:
//   a  rows g, g+8, g, g+8         columns t, t, t+4, t+4
//   b  rows t, t+4                 column g
//   d  as above
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8x8 matrices of 16-bit values: lanes 8i to 8i+7 name the rows (16 bytes each, aligned to 16) of matrix i, and
// lane l gets of each matrix row l / 4, columns 2 (l % 4) and the next: the layout of `a` above.
__device__ __forceinline__ void load_matrices(std::uint32_t (&r)[4], const void* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// The same, each matrix transposed: row-major rows become the `b` above.
__device__ __forceinline__ void load_matrices_transposed(std::uint32_t (&r)[4], const void* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// 16 bytes from device to shared memory, both aligned to 16, past the registers and while the thread goes on; zeros
// instead where not `present`, and then `global` is not read. There when copy_async_wait says so, for this thread; for
// others after the barrier that follows.
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool present) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(global)),
               "r"(present ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void copy_async(void* shared, const void* global) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(__cvta_generic_to_global(global)) : "memory");
}

// Ends a group of copies; then waits for all groups of this thread but the last `pending`.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Asks `bytes` from `global` on into the second-level cache, both multiples of 16, by one thread and without waiting. A
// hint: nothing depends on it, and before compute capability 9.0 nothing happens.
__device__ __forceinline__ void prefetch_bulk(const void* global, std::size_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(global)),
               "r"(static_cast<std::uint32_t>(bytes)));
#endif
}

// 2 to the power of x, within 2 units in the last place.
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The larger one; NaN where either is.
__device__ __forceinline__ float max_or_nan(float x, float y) {
  float z;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}

// The square root of x, and x / y, within 2 units in the last place; numbers too small to be normal are 0.
__device__ __forceinline__ float sqrt_approx(float x) {
  float y;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float divide_approx(float x, float y) {
  float z;
  asm("div.approx.ftz.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}

// Two bf16 in one register, as mma_m16n8k16 takes them.
__device__ __forceinline__ std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// The nearest tf32, as mma_m16n8k8 takes it; ties go away from zero.
__device__ __forceinline__ std::uint32_t round_tf32(float x) {
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}
