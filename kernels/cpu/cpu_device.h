// The CPU: a product, not a fallback. One file per group of kernels; the inner loops are in simd.inl.
#pragma once

#include <atomic>
#include <limits>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/scratch.h"
#include "stamp/device.h"

namespace stamp::cpu {

struct SessionAttention {
  Ranges ranges;
  std::int64_t D;
  const float* x;         // [L,D] embeddings of the events
  const float* keys;      // [L,D] W1 x
  const float* query;     // [B,D] W2 x_t + W3 m_s + b_a
  const float* w0;        // [D]
  const float* residual;  // [B,D] added to the sum; or null
  Normalization normalization;
};

class CpuDevice final : public Device {
 public:
  CpuDevice(int threads, Precision precision) : threads_(threads), precision_(precision) {}
  std::string name() const override { return "cpu"; }
  Precision precision() const override { return precision_; }
  std::int64_t allocations() const override { return allocations_; }
  std::int64_t padding() const override { return 1; }

  void* allocate(std::size_t bytes) override;
  void release(void* memory) noexcept override;
  void copy_in(void* device, const void* host, std::size_t bytes) override;
  void copy_out(void* host, const void* device, std::size_t bytes) override;
  void zero(void* memory, std::size_t bytes) override;
  bool reads_host_memory() const override { return true; }
  std::int64_t free_memory() const override { return std::numeric_limits<std::int64_t>::max(); }
  void synchronize() override {}
  std::unique_ptr<Recorder> recorder() override;

  // batches.cpp
  std::int64_t build_batch(const TrainingExamples& examples, const TrainingStep* step,
                           const BatchArrays& batch) override;

  // rows.cpp
  void gather_rows(std::int64_t N, std::int64_t D, const float* items, const std::int32_t* ids, float* y) override {
    look_up(N, D, items, ids, 0, y);
  }

  // encoder.cpp
  void encode(const Encoder& encoder, float* queries) override;
  void encode_backward(const Encoder& encoder, const float* d_queries, float* d_rows,
                       const EncoderWeights<float>& gradients, std::span<const Parameter> parameters) override;

  // adam.cpp
  double squared_norm(std::int64_t n, const float* x) override;
  void clip_gradient(std::span<const Parameter> parameters, float norm, TrainingStep* step) override;
  void adam(std::span<const Parameter> parameters, const TrainingStep* step) override;

  // catalog_cross_entropy.cpp
  void catalog_cross_entropy(const CatalogCrossEntropy& problem, float* losses, float* log_sums,
                             float* d_queries) override;
  void sort_rows(const CatalogCrossEntropy& problem, std::int64_t L) override;
  void catalog_cross_entropy_backward(const CatalogCrossEntropy& problem, const float* log_sums, std::int64_t L,
                                      const float* row_gradients, const ItemUpdate& update) override;

  // content.cpp
  void content_rows(const ContentRows& content, const TrainingStep* step) override;
  void content_gradients(const ContentRows& content, const TrainingStep* step, float* d_items,
                         float* d_attribute_rows) override;

  // catalog_top_k.cpp
  std::int64_t rounded_size(std::int64_t, std::int64_t) const override { return 0; }
  void round_items(std::int64_t, std::int64_t, const ItemRows&, std::byte*) override {}
  std::int64_t packed_size(std::int64_t V, std::int64_t D) const override;
  void inverse_norms(std::int64_t V, std::int64_t D, const ItemRows& items, float* norms) override;
  void pack_items(std::int64_t V, std::int64_t D, const ItemRows& items, std::byte* packed) override;
  void catalog_top_k(const CatalogTopK& problem) override;

 private:
  // rows.cpp. y[n] = items[ids[n]], 0 where ids[n] is negative; rows longer than max_norm shortened to it (0: never).
  void look_up(std::int64_t N, std::int64_t D, const float* items, const std::int32_t* ids, float max_norm, float* y);
  // d_y -> the gradient of the row looked up, in place.
  void look_up_backward(std::int64_t N, std::int64_t D, const float* items, const std::int32_t* ids, float max_norm,
                        float* d_y);
  // y = scale · x / |x|, zero rows stay zero.
  void normalize_rows(std::int64_t N, std::int64_t D, float scale, const float* x, float* y);
  void normalize_rows_backward(std::int64_t N, std::int64_t D, float scale, const float* x, const float* d_y,
                               float* d_x);

  // dense.cpp. y[N,out] (+)= x[N,in] wᵀ, w[out,in]
  void linear(std::int64_t N, std::int64_t in, std::int64_t out, const float* x, const float* w, float* y,
              bool accumulate);
  // d_x (+)= d_y w; d_w = d_yᵀ x
  void linear_backward(std::int64_t N, std::int64_t in, std::int64_t out, const float* x, const float* w,
                       const float* d_y, float* d_x, bool accumulate_d_x, float* d_w);
  void add_bias(std::int64_t N, std::int64_t D, const float* bias, float* y);
  // d_bias = column sums of d_y
  void add_bias_backward(std::int64_t N, std::int64_t D, const float* d_y, float* d_bias);
  // y[n] += Σ_k preferences[n,k] rows[k], of rows [K,D]
  void add_preferences(std::int64_t N, std::int64_t D, std::int64_t K, const float* preferences, const float* rows,
                       float* y);
  void add_preferences_backward(std::int64_t N, std::int64_t D, std::int64_t K, const float* preferences,
                                const float* d_y, float* d_rows);

  // mlp_cells.cpp. h_s = tanh(h_s + session_bias) and h_t likewise, in place; product = h_s ⊙ h_t. Biases may be null.
  void mlp_cells(std::int64_t B, std::int64_t D, const float* session_bias, const float* anchor_bias, float* h_s,
                 float* h_t, float* product);
  // The gradients before the tanh: d_h_s = d_product ⊙ h_t ⊙ (1 - h_s²), d_h_t likewise.
  void mlp_cells_backward(std::int64_t n, const float* h_s, const float* h_t, const float* d_product, float* d_h_s,
                          float* d_h_t);

  // elementwise.cpp. y += x; dropout in place, its own backward.
  void add(std::int64_t n, const float* x, float* y);
  void dropout(std::int64_t n, float rate, std::uint64_t seed, const TrainingStep* step, float* y);

  // session_attention.cpp. Of each range the last event and the mean; backward adds both gradients into d_x.
  void session_summary(Ranges ranges, std::int64_t D, const float* x, float* anchor, float* mean);
  void session_summary_backward(Ranges ranges, std::int64_t D, const float* d_anchor, const float* d_mean, float* d_x);
  // y[b] = Σ a_i x_i + residual_b,  a_i = w0 · σ(keys_i + query_b)
  void session_attention(const SessionAttention& attention, float* y);
  // d_x[L,D] and d_keys[L,D], zero for events of no example, d_query[B,D] and d_w0[D]; the residual's is d_y itself.
  void session_attention_backward(const SessionAttention& attention, const float* d_y, float* d_x, float* d_keys,
                                  float* d_query, float* d_w0);

  int threads_;          // 0: all
  Precision precision_;  // of the catalog's products in training; all others are in fp32
  std::atomic<std::int64_t> allocations_{0};
  Buffer encoder_;                     // what encode leaves for encode_backward
  std::vector<float> partial_;         // partial sums of reductions
  std::vector<std::int64_t> pieces_;   // examples that may be worked on side by side
  std::vector<std::int64_t> order_;    // sorted targets and lookups
  std::vector<float> running_;         // maxima and sums of the softmax, per part of the catalog
  std::vector<Bf16Pair> query_pairs_;  // of the catalog's cross-entropy in bf16
};

// threads: as in DeviceOptions; precision: fp32 or bf16.
std::shared_ptr<Device> open(int threads, Precision precision);

}  // namespace stamp::cpu
