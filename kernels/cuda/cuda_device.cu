// Memory, stream and recordings of a GPU.
#include "kernels/cuda/cuda_device.h"

#include <cstdlib>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace stamp::cuda {

namespace {

std::string mebibytes(std::size_t bytes) { return concat((bytes + (1 << 20) - 1) >> 20, " MiB"); }

}  // namespace

CudaDevice::CudaDevice(int index, Precision precision)
    : index_(index), precision_(precision == Precision::automatic ? Precision::bf16 : precision) {
  const char* blocking = std::getenv("STAMP_CUDA_BLOCKING");
  blocking_ = blocking && std::string_view(blocking) == "1";
  select();
  cuda::check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, index_), "open_device");
  int shared = 0;
  cuda::check(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, index_), "open_device");
  shared_limit_ = static_cast<std::size_t>(shared);
  for (cudaStream_t* stream : {&stream_, &side_})
    cuda::check(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "open_device");
  for (cudaEvent_t* event : {&fork_, &join_})
    cuda::check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "open_device");
}

CudaDevice::~CudaDevice() {
  cudaSetDevice(index_);
  for (cudaStream_t stream : {stream_, side_}) cudaStreamSynchronize(stream);
  if (cublas_) cublasDestroy(cublas_);
  for (cudaEvent_t event : {fork_, join_}) cudaEventDestroy(event);
  for (cudaStream_t stream : {stream_, side_}) cudaStreamDestroy(stream);
  cudaFreeHost(pinned_);
}

std::string CudaDevice::name() const { return index_ ? concat(STAMP_CUDA_NAME, ":", index_) : STAMP_CUDA_NAME; }

void CudaDevice::select() { cuda::check(cudaSetDevice(index_), "cudaSetDevice"); }

void* CudaDevice::allocate(std::size_t bytes) {
  select();
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, bytes > 0 ? bytes : 1);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // so that it is not found again by the next call
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    fail(name(), ": out of memory: ", mebibytes(bytes), " were asked for, ", mebibytes(free), " of ", mebibytes(total),
         " are free; lower dim, batch_size or workspace_bytes, or train fewer models at once");
  }
  cuda::check(error, "cudaMalloc");
  ++allocations_;
  zero(memory, bytes);
  return memory;
}

void CudaDevice::release(void* memory) noexcept {
  if (!memory) return;
  cudaSetDevice(index_);
  cudaFree(memory);
}

// Room in pinned memory, which stays as it is until the stream has come to what reads it. Null where it is too small.
std::byte* CudaDevice::pinned(std::size_t bytes) {
  constexpr std::size_t kPinned = 1 << 20, kAligned = 256;
  bytes = (bytes + kAligned - 1) / kAligned * kAligned;
  if (bytes > kPinned / 4) return nullptr;
  if (!pinned_) cuda::check(cudaMallocHost(reinterpret_cast<void**>(&pinned_), kPinned), "cudaMallocHost");
  if (pinned_used_ + bytes > kPinned) synchronize();
  return pinned_ + std::exchange(pinned_used_, pinned_used_ + bytes);
}

// The host's memory is pageable. What is small goes through pinned memory, as every request and step copies some; what
// is large CUDA sets aside before it returns.
void CudaDevice::copy_in(void* device, const void* host, std::size_t bytes) {
  select();
  if (std::byte* aside = pinned(bytes)) host = std::memcpy(aside, host, bytes);
  cuda::check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_), "copy_in");
}

void CudaDevice::copy_out(void* host, const void* device, std::size_t bytes) {
  select();
  std::byte* aside = pinned(bytes);
  cuda::check(cudaMemcpyAsync(aside ? aside : host, device, bytes, cudaMemcpyDeviceToHost, stream_), "copy_out");
  synchronize();
  if (aside) std::memcpy(host, aside, bytes);
}

void CudaDevice::zero(void* memory, std::size_t bytes) {
  select();
  cuda::check(cudaMemsetAsync(memory, 0, bytes, stream_), "zero");
}

std::int64_t CudaDevice::free_memory() const {
  cuda::check(cudaSetDevice(index_), "cudaSetDevice");
  std::size_t free = 0, total = 0;
  cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return static_cast<std::int64_t>(free);
}

void CudaDevice::synchronize() {
  select();
  cuda::check(cudaStreamSynchronize(stream_), "synchronize");
  pinned_used_ = 0;
}

// Records a graph of what a key's work launches when the key comes for the second time: the first time it runs as it
// is, and scratch memory grows to what it needs.
class GraphRecorder final : public Recorder {
 public:
  explicit GraphRecorder(CudaDevice& device) : device_(device) {}
  ~GraphRecorder() override { forget(); }

  void run(std::uint64_t key, const std::function<void()>& work) override {
    device_.select();
    if (device_.blocking_) return work();
    if (generation_ != device_.generation_ || seen_.size() > kAtMost) forget();
    if (const auto found = graphs_.find(key); found != graphs_.end()) {
      cuda::check(cudaGraphLaunch(found->second, device_.stream_), "cudaGraphLaunch");
      return;
    }
    if (seen_.insert(key).second) {
      work();
      if (generation_ != device_.generation_) forget(), seen_.insert(key);
      return;
    }
    cuda::check(cudaGraphLaunch(graphs_[key] = record(work), device_.stream_), "cudaGraphLaunch");
  }

 private:
  static constexpr std::size_t kAtMost = 64;

  cudaGraphExec_t record(const std::function<void()>& work) {
    cuda::check(cudaStreamBeginCapture(device_.stream_, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    try {
      work();
    } catch (...) {
      cudaStreamEndCapture(device_.stream_, &graph);
      cudaGetLastError();  // so that it is not found again by the next call
      if (graph) cudaGraphDestroy(graph);
      throw;
    }
    cuda::check(cudaStreamEndCapture(device_.stream_, &graph), "cudaStreamEndCapture");
    cudaGraphExec_t exec = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&exec, graph, 0);
    cudaGraphDestroy(graph);
    cuda::check(error, "cudaGraphInstantiate");
    return exec;
  }

  void forget() {
    cudaStreamSynchronize(device_.stream_);
    for (const auto& [key, exec] : graphs_) cudaGraphExecDestroy(exec);
    graphs_.clear();
    seen_.clear();
    generation_ = device_.generation_;
  }

  CudaDevice& device_;
  std::int64_t generation_ = 0;
  std::unordered_map<std::uint64_t, cudaGraphExec_t> graphs_;
  std::unordered_set<std::uint64_t> seen_;
};

std::unique_ptr<Recorder> CudaDevice::recorder() { return std::make_unique<GraphRecorder>(*this); }

}  // namespace stamp::cuda
