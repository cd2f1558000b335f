// The simulator's runtime: its device, streams, graphs, and what it checks of launches and memory.
#include <cuda_runtime.h>

#include <doctest/doctest.h>

#include <vector>

#include "tests/launch.h"

namespace {

__global__ void scale(float* x, float by) { x[threadIdx.x] *= by; }

__global__ void note(float* list, float what) { list[static_cast<int>(++list[0])] = what; }

}  // namespace

TEST_CASE("one device, with the attributes that a module asks for") {
  int count = 0, device = -1, value = 0, version = 0;
  CHECK((cudaGetDeviceCount(&count) == cudaSuccess && count == 1));
  CHECK(cudaSetDevice(0) == cudaSuccess);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  CHECK((cudaGetDevice(&device) == cudaSuccess && device == 0));
  CHECK((cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess && value == 4));
  CHECK((cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess && value == 8));
  CHECK((cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMinor, 0) == cudaSuccess && value == 0));
  CHECK((cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) == cudaSuccess));
  CHECK(value == 227 << 10);
  cudaDeviceProp properties;
  CHECK((cudaGetDeviceProperties(&properties, 0) == cudaSuccess && properties.name == std::string("SIMT simulator")));
  CHECK((cudaDriverGetVersion(&version) == cudaSuccess && version >= 13000));
  CHECK((cudaRuntimeGetVersion(&version) == cudaSuccess && cudaPeekAtLastError() == cudaSuccess));
  CHECK(cudaGetErrorName(cudaErrorNoDevice) == std::string("cudaErrorNoDevice"));
  void* memory = nullptr;
  REQUIRE(cudaMallocHost(&memory, sizeof(float)) == cudaSuccess);
  CHECK(std::isnan(*static_cast<float*>(memory)));
  CHECK(cudaFreeHost(memory) == cudaSuccess);
}

TEST_CASE("pinned memory is read when the stream comes to it, pageable memory at once") {
  void *pinned = nullptr, *on_device = nullptr;
  REQUIRE((cudaMallocHost(&pinned, 8) == cudaSuccess && cudaMalloc(&on_device, 8) == cudaSuccess));
  auto *from = static_cast<float*>(pinned), *to = static_cast<float*>(on_device);
  float pageable = 1;
  from[0] = from[1] = 1;
  cudaMemcpyAsync(to, from + 1, 4, cudaMemcpyHostToDevice, nullptr);
  cudaMemcpyAsync(to + 1, &pageable, 4, cudaMemcpyHostToDevice, nullptr);
  from[1] = pageable = 2;
  cudaStreamSynchronize(nullptr);
  CHECK((to[0] == 2 && to[1] == 1));
  CHECK((cudaFreeHost(pinned) == cudaSuccess && cudaFreeHost(nullptr) == cudaSuccess));
  CHECK(cudaFreeHost(&pageable) == cudaErrorInvalidValue);
  CHECK(cudaFree(on_device) == cudaSuccess);
}

TEST_CASE("streams run when somebody waits; graphs replay; launches are checked") {
  void* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, 8 * sizeof(float)) == cudaSuccess);
  auto* x = static_cast<float*>(memory);
  CHECK(std::isnan(x[3]));  // nothing promises zeros
  std::vector<float> host(8, 1.0f), back(8);
  cudaStream_t first, second;
  cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking);
  cudaEvent_t copied;
  cudaEventCreateWithFlags(&copied, cudaEventDisableTiming);
  cudaMemcpyAsync(x, host.data(), 8 * sizeof(float), cudaMemcpyHostToDevice, first);
  cudaEventRecord(copied, first);
  cudaStreamWaitEvent(second, copied, 0);
  const cudaLaunchConfig_t config{{1}, {8}, 0, second};
  cudaLaunchKernelEx(&config, scale, x, 3.0f);
  CHECK(std::isnan(x[0]));
  cudaStreamSynchronize(second);
  CHECK(x[7] == 3);

  const cudaLaunchConfig_t later{{1}, {8}, 0, second};
  for (int i = 0; i < 2; ++i) cudaLaunchKernelEx(&later, scale, x, 1.0f);
  for (int i = 0; i < 2; ++i) CHECK(cudaStreamQuery(second) == cudaErrorNotReady);
  CHECK(cudaStreamQuery(second) == cudaSuccess);

  cudaGraph_t graph;
  cudaGraphExec_t exec;
  cudaStreamBeginCapture(first, cudaStreamCaptureModeThreadLocal);
  const cudaLaunchConfig_t captured{{1}, {8}, 0, first};
  cudaLaunchKernelEx(&captured, scale, x, 2.0f);
  CHECK(cudaStreamSynchronize(first) == cudaErrorStreamCaptureUnsupported);
  cudaStreamEndCapture(first, &graph);
  cudaGraphInstantiate(&exec, graph, 0);
  for (int i = 0; i < 3; ++i) cudaGraphLaunch(exec, first);
  cudaMemcpyAsync(back.data(), x, 8 * sizeof(float), cudaMemcpyDeviceToHost, first);
  cudaStreamSynchronize(first);
  CHECK(back[0] == 24);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);

  const cudaLaunchConfig_t wide{{1}, {1025}, 0, nullptr}, empty{{0}, {1}, 0, nullptr},
      full{{1}, {8}, 49 << 10, nullptr};
  for (const auto* wrong : {&wide, &empty, &full})
    CHECK(cudaLaunchKernelEx(wrong, scale, x, 1.0f) == cudaErrorInvalidConfiguration);
  CHECK(cudaFuncSetAttribute(scale, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10) == cudaSuccess);
  CHECK(cudaLaunchKernelEx(&full, scale, x, 1.0f) == cudaSuccess);
  CHECK(cudaFuncSetAttribute(scale, cudaFuncAttributeMaxDynamicSharedMemorySize, 300 << 10) == cudaErrorInvalidValue);
  cudaEventDestroy(copied);
  cudaStreamDestroy(first);
  cudaStreamDestroy(second);
  CHECK(cudaFree(x) == cudaSuccess);
  CHECK(cudaFree(x) == cudaErrorInvalidValue);
  CHECK(cudaMalloc(&memory, std::size_t{1} << 50) == cudaErrorMemoryAllocation);
}

TEST_CASE("a graph of two streams runs in the orders that its events leave open; what is not joined is no graph") {
  void* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, 16 * sizeof(float)) == cudaSuccess);
  auto* list = static_cast<float*>(memory);
  cudaStream_t main, side;
  cudaStreamCreateWithFlags(&main, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking);
  cudaEvent_t forked, finished, outside;
  for (cudaEvent_t* event : {&forked, &finished, &outside}) cudaEventCreateWithFlags(event, cudaEventDisableTiming);
  const auto note_on = [&](cudaStream_t stream, float what) {
    const cudaLaunchConfig_t config{{1}, {1}, 0, stream};
    REQUIRE(cudaLaunchKernelEx(&config, note, list, what) == cudaSuccess);
  };
  const auto fork = [&] {
    CHECK(cudaStreamBeginCapture(main, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    note_on(main, 1);
    CHECK(cudaEventRecord(forked, main) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(side, forked, 0) == cudaSuccess);
    note_on(side, 2);
    CHECK(cudaEventRecord(finished, side) == cudaSuccess);
    note_on(main, 3);
  };
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  fork();
  CHECK(cudaStreamSynchronize(side) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(side, &graph) == cudaErrorStreamCaptureUnmatched);
  CHECK(cudaStreamWaitEvent(main, finished, 0) == cudaSuccess);
  note_on(main, 4);
  REQUIRE(cudaStreamEndCapture(main, &graph) == cudaSuccess);
  CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  const std::vector<float> orders[] = {{1, 2, 3, 4}, {1, 3, 2, 4}, {1, 2, 3, 4}};
  for (const auto& order : orders) {
    cudaMemsetAsync(list, 0, sizeof(float), main);
    cudaGraphLaunch(exec, main);
    CHECK(cudaStreamSynchronize(main) == cudaSuccess);
    CHECK(std::vector(list + 1, list + 5) == order);
  }
  CHECK(cudaStreamWaitEvent(main, finished, 0) == cudaErrorStreamCaptureIsolation);  // that capture is over
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);

  fork();
  CHECK(cudaStreamEndCapture(main, &graph) == cudaErrorStreamCaptureUnjoined);
  CHECK(graph == nullptr);
  CHECK((cudaStreamSynchronize(main) == cudaSuccess && cudaStreamSynchronize(side) == cudaSuccess));

  cudaMemsetAsync(list, 0, sizeof(float), main);  // the same without a graph: a wait is for a record before it
  note_on(main, 1);
  cudaEventRecord(forked, main);
  cudaStreamWaitEvent(side, forked, 0);
  note_on(side, 2);
  cudaEventRecord(finished, side);
  cudaStreamWaitEvent(main, finished, 0);
  note_on(main, 3);
  cudaEventRecord(forked, main);
  CHECK(cudaStreamSynchronize(main) == cudaSuccess);
  CHECK(std::vector(list + 1, list + 4) == std::vector<float>{1, 2, 3});

  cudaEventRecord(outside, side);
  cudaStreamBeginCapture(main, cudaStreamCaptureModeThreadLocal);
  CHECK(cudaStreamWaitEvent(main, outside, 0) == cudaErrorStreamCaptureIsolation);
  REQUIRE(cudaStreamEndCapture(main, &graph) == cudaSuccess);
  cudaGraphDestroy(graph);
  for (cudaEvent_t event : {forked, finished, outside}) cudaEventDestroy(event);
  for (cudaStream_t stream : {main, side}) cudaStreamDestroy(stream);
  CHECK(cudaFree(list) == cudaSuccess);
}
