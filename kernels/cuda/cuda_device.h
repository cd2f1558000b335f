// One GPU with a stream and one beside it, a cuBLAS handle and scratch memory of its own. One .cu file per group of
// kernels.
#pragma once

#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <utility>

#include "kernels/cuda/launch.h"
#include "stamp/device.h"

namespace stamp::cuda {

using Index = std::int64_t;
using bf16 = __nv_bfloat16;

constexpr Index kWidest = 128;  // rows that the tensor-core kernels have registers for

class CudaDevice;
struct EncoderRows;

// Memory for what a kernel leaves for the next one: grows to the largest call, then never again.
template <class T>
class Scratch {
 public:
  explicit Scratch(CudaDevice& device) : device_(device) {}
  Scratch(const Scratch&) = delete;
  ~Scratch();
  // At least n values, whose contents are left over from the last use.
  T* need(Index n);
  T* data() { return data_; }
  Index size() const { return size_; }

 private:
  CudaDevice& device_;
  T* data_ = nullptr;
  Index size_ = 0;
};

class CudaDevice final : public Device {
 public:
  CudaDevice(int index, Precision precision);
  ~CudaDevice() override;
  std::string name() const override;
  Precision precision() const override { return precision_; }
  std::int64_t allocations() const override { return allocations_; }
  std::int64_t padding() const override { return 256; }

  void* allocate(std::size_t bytes) override;
  void release(void* memory) noexcept override;
  void copy_in(void* device, const void* host, std::size_t bytes) override;
  void copy_out(void* host, const void* device, std::size_t bytes) override;
  void zero(void* memory, std::size_t bytes) override;
  bool reads_host_memory() const override { return false; }
  std::int64_t free_memory() const override;
  void synchronize() override;
  std::unique_ptr<Recorder> recorder() override;

  // batches.cu
  std::int64_t build_batch(const TrainingExamples& examples, const TrainingStep* step,
                           const BatchArrays& batch) override;

  // rows.cu
  void gather_rows(Index N, Index D, const float* items, const std::int32_t* ids, float* y) override;

  // encoder.cu; encoder_backward.cu, with weight_gradients.cu
  void encode(const Encoder& encoder, float* queries) override;
  void encode_backward(const Encoder& encoder, const float* d_queries, float* d_rows,
                       const EncoderWeights<float>& gradients, std::span<const Parameter> parameters) override;

  // catalog_cross_entropy.cu, with catalog_attention.cu, catalog_attention_backward.cu, catalog_tiles.cu,
  // item_entries.cu
  Index rounded_size(Index V, Index D) const override;
  void round_items(Index V, Index D, const ItemRows& items, std::byte* rounded) override;
  void catalog_cross_entropy(const CatalogCrossEntropy& problem, float* losses, float* log_sums,
                             float* d_queries) override;
  void sort_rows(const CatalogCrossEntropy& problem, Index L) override;
  void catalog_cross_entropy_backward(const CatalogCrossEntropy& problem, const float* log_sums, Index L,
                                      const float* row_gradients, const ItemUpdate& update) override;

  // content.cu
  void content_rows(const ContentRows& content, const TrainingStep* step) override;
  void content_gradients(const ContentRows& content, const TrainingStep* step, float* d_items,
                         float* d_attribute_rows) override;

  // catalog_top_k.cu, with catalog_scan.cu and catalog_select.cu
  Index packed_size(Index V, Index D) const override;
  void inverse_norms(Index V, Index D, const ItemRows& items, float* norms) override;
  void pack_items(Index V, Index D, const ItemRows& items, std::byte* packed) override;
  void catalog_top_k(const CatalogTopK& problem) override;

  // adam.cu
  double squared_norm(Index n, const float* x) override;
  void clip_gradient(std::span<const Parameter> parameters, float norm, TrainingStep* step) override;
  void adam(std::span<const Parameter> parameters, const TrainingStep* step) override;

 private:
  template <class T>
  friend class Scratch;
  friend class GraphRecorder;

  template <class... Parameters, class... Arguments>
  void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared,
              Arguments... arguments);
  void select();  // this GPU, for the calling thread
  std::byte* pinned(std::size_t bytes);
  // dense.cu
  void open_cublas();
  // c[M,N] = op(a) op(b) + (accumulate ? c : 0) by cuBLAS, row-major; op transposes [K,M] and [N,K].
  void product(Index M, Index N, Index K, const float* a, bool transpose_a, const float* b, bool transpose_b, float* c,
               bool accumulate);

  EncoderRows encoder_rows(const Encoder& encoder);
  void weight_gradients(const Encoder& encoder, const EncoderRows& rows, const EncoderWeights<float>& gradients,
                        std::span<const Parameter> parameters);

  // The catalog's two ways: on tensor cores without any score in memory (catalog_attention.cu), or by tiles of scores
  // through cuBLAS (catalog_tiles.cu).
  bool on_tensor_cores(const CatalogCrossEntropy& problem) const;
  void attend_catalog(const CatalogCrossEntropy& problem, float* losses, float* log_sums, float* d_queries);
  const bf16* rounded_items(const CatalogCrossEntropy& problem);
  void attend_catalog_backward(const CatalogCrossEntropy& problem, const struct ItemGradient& gradient);
  void score_tiles(const CatalogCrossEntropy& problem, float* losses, float* log_sums, float* d_queries);
  void score_tiles_backward(const CatalogCrossEntropy& problem, const float* log_sums,
                            const struct ItemGradient& gradient);
  struct ItemGradient sum_entries(const CatalogCrossEntropy& problem, Index L, const float* row_gradients,
                                  const ItemUpdate& update);
  const std::uint32_t* numbers(Index n);
  struct Tiles;
  Tiles tiles_of(const CatalogCrossEntropy& problem);
  // The top-k (top_k.h): pass 1 in bf16 (catalog_scan.cu) or in fp32, pass 2 (catalog_select.cu); or all scores sorted.
  void list_best(const CatalogTopK& problem, Index chunks);
  bool can_scan_bounds(Index D) const;
  void scan_bounds(const CatalogTopK& problem, struct ChunkBounds& bounds);
  void score_chunks(const CatalogTopK& problem, const struct ChunkBounds& bounds);
  bool can_select(Index chunks, Index k) const;
  void select_chunks(const CatalogTopK& problem, int k, const struct ChunkBounds& bounds);
  void sort_scores(const CatalogTopK& problem);

  const int index_;
  Precision precision_;
  int multiprocessors_ = 0;
  std::size_t shared_limit_ = 0;  // bytes a block may ask for
  bool blocking_ = false;         // STAMP_CUDA_BLOCKING=1: wait for every kernel, so that an error has its name
  cudaStream_t stream_ = nullptr;
  cudaStream_t side_ = nullptr;  // of what may go on beside it, from fork_ to join_
  cudaEvent_t fork_ = nullptr, join_ = nullptr;
  cublasHandle_t cublas_ = nullptr;
  std::byte* pinned_ = nullptr;  // what copies pass through, made when first needed
  std::size_t pinned_used_ = 0;
  std::int64_t allocations_ = 0;
  std::int64_t generation_ = 0;  // of the scratch memory: recordings of an older one are void

  Scratch<std::byte> cublas_workspace_{*this};
  Scratch<double> sums_{*this};         // partial sums of reductions
  Scratch<float> query_values_{*this};  // one a query: its target's score, or the error of its scores
  Scratch<float> encoder_rows_{*this};  // what encode leaves for encode_backward
  Scratch<float> encoder_room_{*this};  // of blocks whose rows shared memory is too small for
  Scratch<bf16> item_tiles_{*this};     // the catalog and the queries for tensor cores
  Scratch<bf16> query_tiles_{*this};
  Scratch<float> parts_{*this};       // of the catalog: maximum and sum of each query, and its d_queries; of d_items
  Scratch<unsigned> arrived_{*this};  // blocks of a launch, parts of each tile of d_items; zeros
  Scratch<float2> shares_{*this};     // log Σ exp and weight of each query
  Scratch<float> scores_{*this};      // a tile of scores, and copies of its items
  Scratch<float> item_gradient_{*this};
  Scratch<std::uint32_t> numbers_{*this};      // 0, 1, 2 …
  Index numbered_ = 0;                         // of them
  Scratch<std::uint32_t> entries_{*this};      // sorted ids and sources of the sparse gradients
  Scratch<std::byte> entries_sorting_{*this};  // beside other work
  Scratch<std::uint32_t> entry_marks_{*this};  // where pieces of them begin, and those of each 32 products
  Scratch<float> entry_sums_{*this};           // their pieces
  Scratch<float> content_sums_{*this};         // of the pieces of attribute rows' gradients
  Scratch<std::byte> sorting_{*this};
  Scratch<std::byte> packed_{*this};          // products of the top-k that nobody packed before
  Scratch<float> inverse_norms_{*this};       // of products whose nobody knew
  Scratch<float> bounds_{*this};              // of the top-k's chunks
  Scratch<std::uint64_t> candidates_{*this};  // of its lists
  Scratch<std::int64_t> ranks_{*this};        // of targets; or how many candidates there are
};

template <class... Parameters, class... Arguments>
void CudaDevice::launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared,
                        Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0) return;
  select();
  cuda::launch(name, stream_, kernel, grid, block, shared, arguments...);
  if (blocking_) check(cudaStreamSynchronize(stream_), name);
}

template <class T>
T* Scratch<T>::need(Index n) {
  if (n > size_) {
    device_.release(std::exchange(data_, nullptr));
    size_ = 0;
    ++device_.generation_;  // whether or not there is memory
    data_ = static_cast<T*>(device_.allocate(static_cast<std::size_t>(n) * sizeof(T)));
    size_ = n;
  }
  return data_;
}

template <class T>
Scratch<T>::~Scratch() {
  device_.release(data_);
}

}  // namespace stamp::cuda
