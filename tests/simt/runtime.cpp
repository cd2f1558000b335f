// Memory, streams, events and graphs of the simulated device.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

struct simtStream {
  std::deque<std::function<void()>> waiting;
  std::unique_ptr<simtGraph> capture;
};

struct simtEvent {
  simtStream* stream = nullptr;  // of the last record
  long pending = 0;              // records in the queue that have not been reached
};

struct simtGraph {
  std::vector<std::function<void()>> work;
};

namespace {

constexpr std::size_t kMemory = std::size_t{8} << 30, kShared = 24 << 10, kSharedAtMost = 227 << 10;
constexpr unsigned kThreadsAtMost = 1024;

simtStream g_default;
std::vector<simtStream*> g_streams{&g_default};
std::map<void*, std::size_t> g_memory;
std::map<const std::byte*, std::size_t> g_pinned;
std::map<const void*, std::size_t> g_shared;  // what kernels may use beyond kShared

// Everything here belongs to all host threads, which take turns.
using Turn = std::lock_guard<std::recursive_mutex>;
std::recursive_mutex g_turn;

simtStream& stream_of(cudaStream_t stream) { return stream ? *stream : g_default; }

bool is_pinned(const void* memory) {
  const auto* address = static_cast<const std::byte*>(memory);
  const auto after = g_pinned.upper_bound(address);
  return after != g_pinned.begin() && address < std::prev(after)->first + std::prev(after)->second;
}

// Runs what waits, up to `until` and no further. A sin ends all that waits anywhere, as an error does on a device.
template <class Condition>
void drain(simtStream& stream, Condition&& until) {
  try {
    while (!stream.waiting.empty() && !until()) {
      const auto work = std::move(stream.waiting.front());
      stream.waiting.pop_front();
      work();
    }
  } catch (...) {
    for (simtStream* other : g_streams) other->waiting.clear();
    throw;
  }
}

void drain(simtStream& stream) {
  drain(stream, [] { return false; });
}

}  // namespace

namespace simt {

bool allocated(const void* memory, std::size_t bytes) {
  const Turn turn(g_turn);
  auto next = g_memory.upper_bound(const_cast<void*>(memory));
  if (next == g_memory.begin()) return false;
  const auto& [begin, size] = *--next;
  return static_cast<const std::byte*>(memory) + bytes <= static_cast<const std::byte*>(begin) + size;
}

cudaError_t enqueue(cudaStream_t handle, std::function<void()> work) {
  const Turn turn(g_turn);
  simtStream& stream = stream_of(handle);
  if (stream.capture)
    stream.capture->work.push_back(std::move(work));
  else
    stream.waiting.push_back(std::move(work));
  return cudaSuccess;
}

// Dynamic shared memory of kernels that asked for no more: of 48 KiB, the rest may be static, which nobody here counts.
std::size_t allowed_shared(const void* kernel) {
  const Turn turn(g_turn);
  const auto found = g_shared.find(kernel);
  return found == g_shared.end() ? kShared : found->second;
}

cudaError_t check_launch(const cudaLaunchConfig_t& config, const void* kernel) {
  const Turn turn(g_turn);
  const Dim &grid = config.gridDim, &block = config.blockDim;
  if (grid.size() == 0 || block.size() == 0 || block.size() > kThreadsAtMost || grid.y > 65535 || grid.z > 65535 ||
      config.dynamicSmemBytes > allowed_shared(kernel))
    return cudaErrorInvalidConfiguration;
  return cudaSuccess;
}

cudaError_t allow_shared(const void* kernel, int bytes) {
  const Turn turn(g_turn);
  if (bytes < 0 || static_cast<std::size_t>(bytes) > kSharedAtMost) return cudaErrorInvalidValue;
  g_shared[kernel] = std::max(kShared, static_cast<std::size_t>(bytes));
  return cudaSuccess;
}

}  // namespace simt

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNoKernelImageForDevice:
      return "cudaErrorNoKernelImageForDevice";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
  }
  return "unknown";
}

const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }
cudaError_t cudaGetLastError() { return cudaSuccess; }  // every call returns its own
cudaError_t cudaPeekAtLastError() { return cudaSuccess; }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = kSharedAtMost;
      break;
    default:
      return cudaErrorInvalidValue;
  }
  return cudaSetDevice(device);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {"SIMT simulator"};
  return cudaSetDevice(device);
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  const Turn turn(g_turn);
  std::size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  *memory = nullptr;
  if (bytes > free || posix_memalign(memory, 256, std::max<std::size_t>(bytes, 1)) != 0)
    return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xff, bytes);
  g_memory[*memory] = bytes;
  simt::track(*memory, bytes);
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  const Turn turn(g_turn);
  if (!memory) return cudaSuccess;
  cudaDeviceSynchronize();  // as the device does
  if (g_memory.erase(memory) == 0) return cudaErrorInvalidValue;
  simt::untrack(memory);
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  const Turn turn(g_turn);
  *memory = std::malloc(std::max<std::size_t>(bytes, 1));
  if (!*memory) return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xff, bytes);
  g_pinned[static_cast<std::byte*>(*memory)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  const Turn turn(g_turn);
  if (!memory) return cudaSuccess;
  cudaDeviceSynchronize();  // as the device does
  if (g_pinned.erase(static_cast<std::byte*>(memory)) == 0) return cudaErrorInvalidValue;
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const Turn turn(g_turn);
  std::size_t used = 0;
  for (const auto& [memory, bytes] : g_memory) used += bytes;
  *total = kMemory;
  *free = kMemory - used;
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return cudaStreamSynchronize(nullptr);
}

// From pageable memory what stands there now is copied, as CUDA sets it aside before it returns; from pinned memory
// what stands there when the stream comes to it.
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const Turn turn(g_turn);
  if (kind != cudaMemcpyHostToDevice || is_pinned(from))
    return simt::enqueue(stream, [=] {
      std::memcpy(to, from, bytes);
      simt::mark_written(to, bytes);
    });
  const auto* first = static_cast<const std::byte*>(from);
  return simt::enqueue(stream, [to, aside = std::vector<std::byte>(first, first + bytes)] {
    std::memcpy(to, aside.data(), aside.size());
    simt::mark_written(to, aside.size());
  });
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  return simt::enqueue(stream, [=] {
    std::memset(memory, value, bytes);
    simt::mark_written(memory, bytes);
  });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Turn turn(g_turn);
  *stream = new simtStream;
  g_streams.push_back(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Turn turn(g_turn);
  drain(*stream);
  std::erase(g_streams, stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  const Turn turn(g_turn);
  simtStream& stream = stream_of(handle);
  if (stream.capture) return cudaErrorStreamCaptureUnsupported;
  drain(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  const Turn turn(g_turn);
  simtStream& stream = stream_of(handle);
  if (stream.capture) return cudaErrorStreamCaptureUnsupported;
  if (stream.waiting.empty()) return cudaSuccess;
  drain(stream, [once = false]() mutable { return std::exchange(once, true); });
  return cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
  const Turn turn(g_turn);
  for (simtStream* stream : g_streams) {
    if (stream->capture) return cudaErrorStreamCaptureUnsupported;
    drain(*stream);
  }
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new simtEvent;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Turn turn(g_turn);
  cudaEventSynchronize(event);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  const Turn turn(g_turn);
  simtStream& stream = stream_of(handle);
  event->stream = &stream;
  ++event->pending;
  return simt::enqueue(handle, [event] { --event->pending; });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Turn turn(g_turn);
  if (event->stream) drain(*event->stream, [&] { return event->pending == 0; });
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  return simt::enqueue(handle, [event] { cudaEventSynchronize(event); });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Turn turn(g_turn);
  if (!stream || stream->capture) return cudaErrorStreamCaptureUnsupported;
  stream->capture = std::make_unique<simtGraph>();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Turn turn(g_turn);
  if (!stream || !stream->capture) return cudaErrorInvalidValue;
  *graph = stream->capture.release();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  const Turn turn(g_turn);
  *exec = new simtGraph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return simt::enqueue(stream, [exec] {
    for (const auto& work : exec->work) work();
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Turn turn(g_turn);
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  const Turn turn(g_turn);
  cudaDeviceSynchronize();
  delete exec;
  return cudaSuccess;
}
