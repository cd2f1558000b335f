// Stands in for the CUDA toolkit's header of this name, so that g++ compiles the very same .cu sources for the CPU.
// Names and meanings are those of the CUDA C++ Programming Guide and Runtime API; what is not here, no kernel uses.
//
// Streams are as asynchronous as can be: nothing runs before somebody waits for it, so that a missing wait shows;
// branches of a graph run as early and as late as their events allow, by turns.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/simt/block.h"
#include "tests/simt/races.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __noinline__  // nothing, as libstdc++ writes __attribute__((__noinline__))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static  // blocks run one after the other

using dim3 = simt::Dim;
inline const dim3& threadIdx = simt::current.thread;
inline const dim3& blockIdx = simt::current.block;
inline const dim3& blockDim = simt::current.block_size;
inline const dim3& gridDim = simt::current.grid_size;
constexpr int warpSize = 32;

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// ---- within a block

#define SIMT_PLACE(what) (simt::Place{what, __FILE__, __LINE__})
#define __syncthreads() simt::sync_threads(SIMT_PLACE("__syncthreads"))
#define __syncwarp(...) simt::sync_warp(SIMT_PLACE("__syncwarp") __VA_OPT__(, ) __VA_ARGS__)
#define __shfl_sync(...) simt::shuffle(SIMT_PLACE("__shfl_sync"), __VA_ARGS__)
#define __shfl_xor_sync(...) simt::shuffle_xor(SIMT_PLACE("__shfl_xor_sync"), __VA_ARGS__)
#define __shfl_down_sync(...) simt::shuffle_down(SIMT_PLACE("__shfl_down_sync"), __VA_ARGS__)
#define __shfl_up_sync(...) simt::shuffle_up(SIMT_PLACE("__shfl_up_sync"), __VA_ARGS__)
#define __ballot_sync(mask, predicate) simt::ballot(SIMT_PLACE("__ballot_sync"), mask, predicate)
#define __any_sync(mask, predicate) (simt::ballot(SIMT_PLACE("__any_sync"), mask, predicate) != 0)
#define __all_sync(mask, predicate) (simt::ballot(SIMT_PLACE("__all_sync"), mask, predicate) == unsigned(mask))

namespace simt {

inline void sync_warp(Place place, unsigned mask = 0xffffffff) { exchange(mask, place, "", 0); }

// The value of lane `source`, or the own one where the segment of `width` lanes ends before it.
template <class T>
T take(Place place, unsigned mask, T value, int source, bool inside) {
  static_assert(sizeof(T) <= kSlot);
  const std::byte* slots = exchange(mask, place, &value, sizeof value);
  if (!inside) return value;
  if (!(mask >> source & 1)) sin(place, "it reads lane " + std::to_string(source) + ", which is not in the mask");
  std::memcpy(&value, slots + source * kSlot, sizeof value);
  return value;
}

template <class T>
T shuffle(Place place, unsigned mask, T value, int source, int width = 32) {
  const int self = static_cast<int>(lane());
  return take(place, mask, value, (self & ~(width - 1)) + (source & (width - 1)), true);
}

template <class T>
T shuffle_xor(Place place, unsigned mask, T value, int bits, int width = 32) {
  const int self = static_cast<int>(lane()), source = self ^ bits;
  return take(place, mask, value, source, source / width <= self / width);
}

template <class T>
T shuffle_down(Place place, unsigned mask, T value, unsigned delta, int width = 32) {
  const int self = static_cast<int>(lane()), source = self + static_cast<int>(delta);
  return take(place, mask, value, source, source / width == self / width);
}

template <class T>
T shuffle_up(Place place, unsigned mask, T value, unsigned delta, int width = 32) {
  const int self = static_cast<int>(lane()), source = self - static_cast<int>(delta);
  return take(place, mask, value, source, source >= 0 && source / width == self / width);
}

inline unsigned ballot(Place place, unsigned mask, int predicate) {
  const std::byte* slots = exchange(mask, place, &predicate, sizeof predicate);
  unsigned votes = 0;
  for (unsigned i = 0; i < kWarp; ++i)
    if (mask >> i & 1) {
      int vote;
      std::memcpy(&vote, slots + i * kSlot, sizeof vote);
      votes |= static_cast<unsigned>(vote != 0) << i;
    }
  return votes;
}

}  // namespace simt

// Fibers are never interrupted, so plain updates are atomic. The value is converted to what the address holds.
#define SIMT_ATOMIC  \
  template <class T> \
  __attribute__((no_sanitize("thread"))) T
SIMT_ATOMIC atomicExch(T* address, std::type_identity_t<T> value) {
  simt::touch_atomic(address, sizeof value);
  const T old = *address;
  *address = value;
  return old;
}
SIMT_ATOMIC atomicAdd(T* address, std::type_identity_t<T> value) {
  return atomicExch(address, static_cast<T>(*address + value));
}
SIMT_ATOMIC atomicMax(T* address, std::type_identity_t<T> value) {
  return atomicExch(address, *address < value ? value : *address);
}
SIMT_ATOMIC atomicMin(T* address, std::type_identity_t<T> value) {
  return atomicExch(address, value < *address ? value : *address);
}
SIMT_ATOMIC atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  return atomicExch(address, *address == compare ? value : *address);
}
#undef SIMT_ATOMIC

inline void __threadfence() { simt::passed_fence(); }

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcg(const T* address) {
  return *address;
}
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1 / x; }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned>(std::uint64_t{x} * y >> 32); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }

// ---- the runtime

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorNotReady = 600,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureUnmatched = 903,
  cudaErrorStreamCaptureUnjoined = 904,
  cudaErrorStreamCaptureIsolation = 905,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
struct cudaDeviceProp {
  char name[256];
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
struct cudaFuncAttributes {
  int maxDynamicSharedSizeBytes;
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

struct simtStream;
struct simtEvent;
struct simtGraph;
using cudaStream_t = simtStream*;  // null: one of its own
using cudaEvent_t = simtEvent*;
using cudaGraph_t = simtGraph*;
using cudaGraphExec_t = simtGraph*;

const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();

cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);

cudaError_t cudaMalloc(void** memory, std::size_t bytes);  // filled with NaN
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocHost(void** memory, std::size_t bytes);  // filled with NaN too
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);  // each call brings the stream on by one piece of work
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace simt {
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);
cudaError_t check_launch(const cudaLaunchConfig_t& config, const void* kernel);
cudaError_t allow_shared(const void* kernel, int bytes);
std::size_t allowed_shared(const void* kernel);
}  // namespace simt

template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute, int value) {
  return simt::allow_shared(reinterpret_cast<const void*>(kernel), value);
}

template <class... Parameters>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (*kernel)(Parameters...)) {
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(simt::allowed_shared(reinterpret_cast<const void*>(kernel)));
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  if (const cudaError_t error = simt::check_launch(*config, reinterpret_cast<const void*>(kernel))) return error;
  return simt::enqueue(config->stream, [config = *config, kernel,
                                        copies = std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)] {
    simt::run(config.gridDim, config.blockDim, config.dynamicSmemBytes, [&] { std::apply(kernel, copies); });
  });
}
