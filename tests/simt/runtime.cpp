// Memory, streams, events and graphs of the simulated device.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

// What streams captured, a branch each, of which the first is that of the stream where capture began.
struct simtGraph {
  struct Node {
    std::function<void()> work;  // none: it waits until `position` nodes of a branch are done
    std::size_t branch = 0, position = 0;
  };
  std::vector<std::vector<Node>> branches{1};
  bool turned = false;
};

struct simtStream {
  std::deque<std::function<void()>> waiting;
  std::shared_ptr<simtGraph> capture;  // of the stream where it began and of those that waited for its events
  std::size_t branch = 0;
};

struct simtEvent {
  simtStream* stream = nullptr;    // of the last record
  long recorded = 0, reached = 0;  // records that were asked for, and those that their stream has come to
  bool captured = false;           // the last record was, behind so many nodes of a branch
  std::weak_ptr<simtGraph> capture;
  std::size_t branch = 0, position = 0;
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

// Brings a branch up to a node, and others as far as it waits for them. `done` counts the nodes of each; run(node) is
// called for each that works.
template <class Run>
void advance(const simtGraph& graph, std::vector<std::size_t>& done, std::size_t branch, std::size_t position,
             Run&& run) {
  while (done[branch] < position) {
    const simtGraph::Node& node = graph.branches[branch][done[branch]];
    if (node.work)
      run(node);
    else
      advance(graph, done, node.branch, node.position, run);
    ++done[branch];
  }
}

// Whether the first branch waits for all of the others.
bool joined(const simtGraph& graph) {
  std::vector<std::size_t> done(graph.branches.size());
  advance(graph, done, 0, graph.branches[0].size(), [](const auto&) {});
  for (std::size_t i = 0; i < done.size(); ++i)
    if (done[i] < graph.branches[i].size()) return false;
  return true;
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
    stream.capture->branches[stream.branch].push_back({std::move(work)});
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
    case cudaErrorStreamCaptureUnmatched:
      return "cudaErrorStreamCaptureUnmatched";
    case cudaErrorStreamCaptureUnjoined:
      return "cudaErrorStreamCaptureUnjoined";
    case cudaErrorStreamCaptureIsolation:
      return "cudaErrorStreamCaptureIsolation";
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
      *value = simt::capability() / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = simt::capability() % 10;
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
  event->captured = stream.capture != nullptr;
  if (event->captured) {
    event->capture = stream.capture;
    event->branch = stream.branch;
    event->position = stream.capture->branches[stream.branch].size();
    return cudaSuccess;
  }
  event->stream = &stream;
  ++event->recorded;
  return simt::enqueue(handle, [event] { ++event->reached; });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Turn turn(g_turn);
  if (event->stream) drain(*event->stream, [&] { return event->reached == event->recorded; });
  return cudaSuccess;
}

// For the last record that was asked for before this, whatever comes later. A stream that waits for what another
// captures becomes part of that.
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  const Turn turn(g_turn);
  simtStream& stream = stream_of(handle);
  if (!event->captured) {
    if (stream.capture && event->stream) return cudaErrorStreamCaptureIsolation;
    return simt::enqueue(handle, [event, from = event->stream, record = event->recorded] {
      if (from) drain(*from, [&] { return event->reached >= record; });
    });
  }
  const auto capture = event->capture.lock();
  if (!capture || (stream.capture && stream.capture != capture)) return cudaErrorStreamCaptureIsolation;
  if (!stream.capture) {
    stream.capture = capture;
    stream.branch = capture->branches.size();
    capture->branches.emplace_back();
  }
  capture->branches[stream.branch].push_back({nullptr, event->branch, event->position});
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const Turn turn(g_turn);
  if (!stream || stream->capture) return cudaErrorStreamCaptureUnsupported;
  stream->capture = std::make_shared<simtGraph>();
  stream->branch = 0;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Turn turn(g_turn);
  *graph = nullptr;
  if (!stream || !stream->capture) return cudaErrorInvalidValue;
  if (stream->branch != 0) return cudaErrorStreamCaptureUnmatched;
  const auto capture = stream->capture;
  for (simtStream* other : g_streams)
    if (other->capture == capture) other->capture.reset();
  if (!joined(*capture)) return cudaErrorStreamCaptureUnjoined;
  *graph = new simtGraph(*capture);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  const Turn turn(g_turn);
  *exec = new simtGraph(*graph);
  return cudaSuccess;
}

// Branches run in two orders by turns, the last as soon as it can, or as late as others let it: what does not wait as
// it should finds something missing in one of the two.
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return simt::enqueue(stream, [exec] {
    const std::size_t count = exec->branches.size();
    std::vector<std::size_t> done(count);
    exec->turned = !exec->turned;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t branch = exec->turned ? count - 1 - i : i;
      advance(*exec, done, branch, exec->branches[branch].size(), [](const auto& node) { node.work(); });
    }
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
