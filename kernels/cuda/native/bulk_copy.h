// Stretches of device memory that come to shared memory by themselves, from compute capability 9.0 on ("PTX ISA:
// cp.async.bulk, mbarrier"). Beside ptx.h, and with a twin in the simulator as it has.
#pragma once

#include <cstdint>

// Whether this code is for a device that has them.
__device__ constexpr bool has_bulk_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  return true;
#else
  return false;
#endif
}

// In shared memory: how many bytes are still to come. Phases of it follow each other, each announced by one thread and
// over when all of its bytes are there; their parities are 0, 1, 0, …
using Arrival = std::uint64_t;

__device__ __forceinline__ std::uint32_t shared_address(const void* shared) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
}

// By one thread, before a barrier of the block.
__device__ __forceinline__ void begin_arrivals(Arrival* arrival) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(arrival)) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

// Announces what a phase waits for.
__device__ __forceinline__ void expect_bytes(Arrival* arrival, std::uint32_t bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(arrival)), "r"(bytes)
               : "memory");
#endif
}

// `bytes` from device to shared memory, by one thread, all three multiples of 16; counted by `arrival`.
__device__ __forceinline__ void copy_bulk(void* shared, const void* global, std::uint32_t bytes, Arrival* arrival) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(shared_address(arrival))
               : "memory");
#endif
}

// Until the phase of this parity is over; what it brought is visible to this thread, and to its products.
__device__ __forceinline__ void await(Arrival* arrival, std::uint32_t parity) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  std::uint32_t over = 0;
  while (!over)
    asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                 : "=r"(over)
                 : "r"(shared_address(arrival)), "r"(parity)
                 : "memory");
#endif
}
