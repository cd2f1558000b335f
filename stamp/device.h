// A Device: memory and the kernels that everything is computed with, on raw pointers.
//
// Shape letters, here and everywhere:
//   B  examples of a batch          L  events of the batch, all sessions laid end to end
//   D  width of an embedding        V  products of the catalog
// Matrices are row-major floats without gaps. A kernel validates nothing: its callers do. All pointers are to the
// device's memory, and what a call does may still be under way when it returns: copy_out and synchronize wait. A handle
// serves one thread at a time; several handles on one device may share memory that nobody is writing.
// Results depend on the inputs alone, not on the number of threads; queries and lists not on what else is in the batch
// either.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "stamp/error.h"

namespace stamp {

// An example is a range of the batch's events, its history, of which the last is the anchor. Neither begins nor ends
// of ranges ever fall; the prefixes of one session overlap and so share their lookups.
struct Ranges {
  const std::int32_t* begin;   // [B]
  const std::int32_t* length;  // [B], 1 or more
  std::int64_t B, L;
};

// What a model learns beside clicks. Each example of a batch of training has a preference vector of its own: that of
// the words (philox.h) keyed by seed and counted by (streams::kObjectives + step's number, example of the batch). Its
// weight is multiplied by π_click + Σ_k π_k [label k] gain_k, and by kClicks, or where there is any other preference by
// kAside, a tenth of that: so what all preferences share is learnt from clicks, and what depends on them as fast
// (docs/model.md).
struct Objectives {
  static constexpr int kMost = 3;
  static constexpr float kClicks = 1 / (0.5f + 0.5f * 0.1f), kAside = 0.1f * kClicks;  // of half each: 1 on average
  // What is rarer than one example in a hundred weighs less than clicks do, as few examples would be all that counts.
  static constexpr float kMostGain = 100;
  int count = 0;
  float gains[kMost] = {};  // 1 / the share of all examples that have the label; 0: none has, so all count
  std::uint64_t seed = 0;

  // What an example's weight is multiplied by: of its preferences, `count`, and the bits of its labels.
  constexpr float factor(const std::array<float, kMost>& shares, unsigned labels) const {
    float sum = 1, preferred = 0;
    for (int k = 0; k < kMost; ++k)
      if (k < count) {
        preferred += shares[k];
        if (gains[k] > 0) sum += shares[k] * ((labels >> k & 1 ? gains[k] : 0.0f) - 1);
      }
    return sum * (preferred > 0 ? kAside : kClicks);
  }
  // The largest that it can be.
  constexpr float largest_factor() const {
    float gain = 1;
    for (int k = 0; k < count; ++k) gain = gains[k] > gain ? gains[k] : gain;
    return count == 0 ? 1 : kAside * gain > kClicks ? kAside * gain : kClicks;
  }
};

// What batches of training are made of. An example is a target, the event at place t, and its history, the `length`
// events right before it: t << kLengthBits | length.
struct TrainingExamples {
  static constexpr int kLengthBits = 24;
  const std::int32_t* items;             // events, sessions laid end to end
  const float* weights;                  // of each event as a target; null: all 1
  const std::uint64_t* examples;         // in the order of training; those of a batch ascend
  const std::int32_t* begins;            // of each history among its batch's events
  const std::uint8_t* labels = nullptr;  // of each event as a target: bit k, it counts for objective k; null: for none
  Objectives objectives = {};
};

// Where a batch goes.
struct BatchArrays {
  std::int64_t B, L;             // L: room for its events
  std::int32_t* events;          // [L] those of no history are -1
  std::int32_t *begin, *length;  // [B] as in Ranges
  std::int32_t* targets;         // [B]
  float* weights;                // [B], summing to 1, with objectives on average
  float* preferences = nullptr;  // [B,K] where there are K: how much of each, the rest to clicks
};

enum class Residual { none, mean, anchor };  // added to m_a
enum class Normalization { none, softmax };  // of the attention over a session

// The dense weights, or a gradient of each. Biases and what objectives add to them are null where a model has none.
template <class T>
struct EncoderWeights {
  T* w0;                                                             // [D]
  T *w1, *w2, *w3;                                                   // [D,D]
  T* attention_bias;                                                 // [D]
  T *session_weight, *session_bias;                                  // [D,D], [D]
  T *anchor_weight, *anchor_bias;                                    // [D,D], [D]
  T *attention_objectives, *session_objectives, *anchor_objectives;  // [K,D]
};

// The network from events to queries; its equations stand in model.h.
struct Encoder {
  Ranges ranges;
  std::int64_t D;
  const std::int32_t* events;  // [L] rows of items; of none, and zeros, where negative
  const float* items;          // [...,D]
  EncoderWeights<const float> weights;
  float max_norm;  // rows looked up are shortened to it; 0: never
  // Inverted dropout of the rows looked up: Philox4x32-10 keyed by seed and counted by (step's number, element of
  // [L,D]).
  float dropout;
  std::uint64_t seed;
  const struct TrainingStep* step;  // null: no dropout, and no backward follows
  Residual residual;
  Normalization normalization;
  float scale;                         // length of a query; 0: as it comes
  std::int64_t K = 0;                  // objectives beside clicks
  const float* preferences = nullptr;  // [B,K] how much of each
};

// What changes from one training step to the next. It lives in device memory, so that launches do not carry it and a
// step can be recorded once and replayed.
struct TrainingStep {
  // Of this step, from the host.
  std::int64_t number = 1;  // 1 for the first
  float learning_rate = 0, beta1 = 0, beta2 = 0, epsilon = 1;
  float weight_decay = 0;  // decoupled: p -= learning_rate * weight_decay * p
  double weight = 1;       // of the batch, in loss_sum: the sum of its examples'
  double limit = 0;        // of the loss
  std::int64_t first = 0;  // of the batch among the examples that build_batch is given
  // From step to step, by the device.
  float gradient_scale = 1;  // clip_gradient lowers it
  std::int32_t stopped = 0;  // set where the loss is not below the limit, and stays: no weight changes any more
  std::int64_t done = 0;     // number of the last step before that
  double loss = 0;           // of the last step, or of the one that stopped
  double loss_sum = 0;       // Σ weight · loss of the steps before that
};

// A tensor that is trained.
struct Parameter {
  std::int64_t n;
  float* value;
  float* gradient;
  float* moment1;
  float* moment2;
};

struct CatalogCrossEntropy {
  // Of a product that is left out: so low that no other exponential feels it, finite, as a tile may have no others, and
  // a power of 2, which times anything rounds to nothing but itself.
  static constexpr float kExcludedScore = -0x1p100f;

  std::int64_t B, D, V;
  const float* queries;         // [B,D]
  const float* items;           // [V,D]
  bool normalize_items;         // score with x_v / |x_v|
  const std::int32_t* targets;  // [B], for backward with the rows looked up behind them, [L], -1 for none
  const float* weights;         // [B], summing to 1, with objectives on average
  float* workspace;             // keeps exponentials between forward and backward; what does not fit is recomputed
  std::int64_t workspace_size;  // floats; 0 is allowed
  // round_items of the items as they are now, where rounded_size is not 0; null: made for this call.
  const std::byte* rounded = nullptr;
  // Bit set of (V+63)/64 words: products that softmax leaves out, whose rows have the gradients of look-ups alone;
  // null: none. One must be left. A target that is left out keeps its own score in its loss, which may then be below 0.
  const std::uint64_t* excluded = nullptr;
  // Its loss becomes Σ weights · losses, over examples of a weight, with what follows from it; null: of no step.
  TrainingStep* step = nullptr;
};

// Item rows that are made of attributes (content.h, docs/model.md): x_v = c_v + k_v δ_v, where c_v is the sum of
// product v's rows of attributes, and |δ_v| at most bound · |c_v| where it has any.
struct ContentRows {
  static constexpr std::int64_t kPiece = 64;  // products of a row whose gradients one owner adds up, at most
  // A difference beyond its bound is cut to this share below it, so that what was cut once is not cut again.
  static constexpr float kBelow = 1e-5f;

  std::int64_t V, K, D;
  const std::int64_t* row_offsets;      // [V+1] where each product's begin among
  const std::int32_t* rows;             // its rows of attributes, ascending
  const std::int64_t* product_offsets;  // [K+1] where each row's begin among
  const std::int32_t* products;         // its products, ascending
  std::int64_t pieces;                  // of all rows: one or more each, so that none is long
  const std::int32_t* piece_rows;       // [pieces] which row's, ascending
  const std::int32_t* first_pieces;     // [K+1]
  std::int64_t long_rows;               // that have more than one
  const std::int32_t* long_row_ids;     // [long_rows]
  float* items;                         // [V,D] x
  float* attribute_rows;                // [K,D]
  float* differences;                   // [V,D] δ
  float bound;
  // k_v is 0 at this rate where v has attributes, and otherwise 1: Philox4x32-10 keyed by seed and counted by
  // (streams::kContent + step's number, v), below it.
  float dropout;
  std::uint64_t seed;
};

// Where the gradient of the item table goes: into d_items, or straight into Adam by the owner of each tile, so that
// weights and moments move through memory once.
struct ItemUpdate {
  float* d_items = nullptr;  // [V,D], overwritten; or null, then
  float* items = nullptr;    // [V,D] is updated
  float* moment1 = nullptr;  // [V,D]
  float* moment2 = nullptr;  // [V,D]
  const TrainingStep* step = nullptr;
  std::byte* rounded = nullptr;  // round_items of the items, which Adam keeps up to date; or null
};

// Scores z of single products become log(exp(z) + exp(floor)): about z, but not below the floor. Entries begin[b] …
// begin[b+1]-1 are query b's, by ascending product, each product once.
struct ScoreFloors {
  const std::int32_t* begin = nullptr;  // [B+1]; null: none
  const std::int32_t* ids = nullptr;
  const float* values = nullptr;
};

// V products that can be listed: rows of a table of embeddings.
struct ItemRows {
  const float* items;                    // [...,D]
  const std::int32_t* rows = nullptr;    // [V] which of them; null: the first V
  bool normalize = false;                // score with x_v / |x_v|
  const float* inverse_norms = nullptr;  // [V] 1 / |x_v|, where they are at hand
};

struct CatalogTopK {
  std::int64_t B, D, V, k;  // each 1 or more
  const float* queries;     // [B,D]
  ItemRows items;
  const std::byte* packed = nullptr;  // pack_items of the same; null: it would not pay
  ScoreFloors floors = {};            // part of the scores, those of targets and their ranks too
  // [B] pointers, null for none; or null. Bit sets of (V+63)/64 words: products never to be listed. Rows of V: added to
  // the scores; -inf puts last.
  const std::uint64_t* const* excluded = nullptr;
  const float* const* boosts = nullptr;
  const std::int32_t* targets = nullptr;  // [B], -1 for none; or null. Neither exclusions nor boosts touch their ranks
  std::int32_t* ids;                      // [B,k] best first, ties by lower row; -1 where nothing is left
  float* scores;                          // [B,k]
  std::int64_t* above = nullptr;          // [B] products that score above the target; V where either is NaN; or null
  std::int64_t* tied = nullptr;           // [B] other products that score the same; or null
};

enum class Precision { automatic, fp32, tf32, bf16 };
// "auto", "fp32", "tf32" or "bf16"; std::invalid_argument for another name.
STAMP_API Precision precision_from_string(const std::string& name);
STAMP_API std::string to_string(Precision precision);

// Work that is done again and again, step after step. A device may record what it launches, and replay that.
class STAMP_API Recorder {
 public:
  virtual ~Recorder() = default;
  // Calls work(), or repeats what the last call with this key did: work must do the same then, on the same memory.
  virtual void run(std::uint64_t key, const std::function<void()>& work) = 0;
};

class STAMP_API Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;          // as open_device takes it
  virtual Precision precision() const = 0;       // of products in training; never automatic
  virtual std::int64_t allocations() const = 0;  // made so far, scratch memory included
  virtual std::int64_t padding() const = 0;      // L is best a multiple of it: fewer sizes, fewer recordings

  virtual void* allocate(std::size_t bytes) = 0;  // zeros, aligned to 64 bytes; std::runtime_error when out of memory
  virtual void release(void* memory) noexcept = 0;
  virtual void copy_in(void* device, const void* host, std::size_t bytes) = 0;
  virtual void copy_out(void* host, const void* device, std::size_t bytes) = 0;
  virtual void zero(void* memory, std::size_t bytes) = 0;
  virtual bool reads_host_memory() const = 0;    // whether kernels do, so that nothing need be copied in
  virtual std::int64_t free_memory() const = 0;  // bytes that could be allocated; of a CPU nobody knows: all there are
  virtual void synchronize() = 0;  // waits for all that was asked for; other handles may then use the results
  virtual std::unique_ptr<Recorder> recorder() = 0;  // to be destroyed before the device

  // The batch of B examples from step->first on, in their order; histories that overlap share their events, which stand
  // in the order of the sessions. Weights are divided by step->weight. Returns its number of events, or L where only
  // the device knows that.
  virtual std::int64_t build_batch(const TrainingExamples& examples, const TrainingStep* step,
                                   const BatchArrays& batch) = 0;

  virtual void gather_rows(std::int64_t N, std::int64_t D, const float* items, const std::int32_t* ids,
                           float* y) = 0;  // y[n] = items[ids[n]]

  // queries[B,D] of the examples.
  virtual void encode(const Encoder& encoder, float* queries) = 0;
  // From d_queries[B,D] to the gradients of the rows looked up, d_rows[L,D], zero for events of no example, and those
  // of the dense weights. Adam then trains `parameters`, some of these weights, each with the gradient that it names.
  // Follows encode of the same encoder on the same handle.
  virtual void encode_backward(const Encoder& encoder, const float* d_queries, float* d_rows,
                               const EncoderWeights<float>& gradients, std::span<const Parameter> parameters) = 0;

  // A copy of the items that catalog_cross_entropy multiplies instead, in the precision of the device. It is its
  // owner's to know that it is that of the items: whoever writes items makes it anew, or has ItemUpdate keep it.
  // rounded_size: bytes of it, 0 where the device wants none.
  virtual std::int64_t rounded_size(std::int64_t V, std::int64_t D) const = 0;
  virtual void round_items(std::int64_t V, std::int64_t D, const ItemRows& items, std::byte* rounded) = 0;

  // losses[b] = logsumexp_v(z_bv) - z_b,target with z = queries · itemsᵀ; log_sums[b]; d_queries[B,D] of
  // Σ weights · losses. One pass over tiles of the catalog, 4BVD flops.
  virtual void catalog_cross_entropy(const CatalogCrossEntropy& problem, float* losses, float* log_sums,
                                     float* d_queries) = 0;
  // Sorts what catalog_cross_entropy_backward of the same problem will add up: targets and the L rows looked up behind
  // them. Comes before that, and may go on beside what comes in between.
  virtual void sort_rows(const CatalogCrossEntropy& problem, std::int64_t L) = 0;
  // The gradient of the item table, plus row_gradients[L,D] of the rows looked up. 2BVD flops for the tiles that the
  // workspace kept, 4BVD for the others. Follows sort_rows and catalog_cross_entropy of the same problem on the same
  // handle.
  virtual void catalog_cross_entropy_backward(const CatalogCrossEntropy& problem, const float* log_sums, std::int64_t L,
                                              const float* row_gradients, const ItemUpdate& update) = 0;

  // All x, of differences that are cut to their bound first. The step's number picks k; null: 1 for all.
  virtual void content_rows(const ContentRows& content, const TrainingStep* step) = 0;
  // From d_items [V,D], the gradients of the x, to d_attribute_rows [K,D], added up by ascending products in pieces of
  // kPiece, and, in place, those of the differences, k_v times theirs.
  virtual void content_gradients(const ContentRows& content, const TrainingStep* step, float* d_items,
                                 float* d_attribute_rows) = 0;

  // norms[v] = 1 / |x_v|, 1 of zero rows: what products that are normalized are multiplied by.
  virtual void inverse_norms(std::int64_t V, std::int64_t D, const ItemRows& items, float* norms) = 0;
  // A copy of V rows that catalog_top_k scans instead, in a form of the device's own. packed_size: bytes of it.
  virtual std::int64_t packed_size(std::int64_t V, std::int64_t D) const = 0;
  virtual void pack_items(std::int64_t V, std::int64_t D, const ItemRows& items, std::byte* packed) = 0;
  // Exact: scores are those of fp32, added up in one order. NaN scores are never listed.
  virtual void catalog_top_k(const CatalogTopK& problem) = 0;

  virtual double squared_norm(std::int64_t n, const float* x) = 0;  // waits

  // step->gradient_scale = what bounds the norm of all gradients together by `norm`.
  virtual void clip_gradient(std::span<const Parameter> parameters, float norm, TrainingStep* step) = 0;
  virtual void adam(std::span<const Parameter> parameters, const TrainingStep* step) = 0;
};

struct DeviceOptions {
  int threads = 0;  // that a CPU uses at once: 0 for num_threads(), 1 to stay on the caller's
  // Of the operands of products in training. On CUDA fp32, tf32 or bf16, of which automatic is bf16. On a CPU fp32,
  // which is automatic, or bf16 for the products of the catalog's cross-entropy: faster where DeviceInfo says bf16,
  // slower elsewhere, with the same rounding. std::invalid_argument for tf32 there. Lists come of fp32 scores
  // everywhere.
  Precision precision = Precision::automatic;
};

// "cpu"; "cuda" or "cuda:1", of a module that is loaded when first asked for (docs/cuda.md says from where);
// "cuda-sim", the same kernels on a simulator for tests; "auto": CUDA where it works, else the CPU. Throws
// std::invalid_argument for a name that is none of these, std::runtime_error with the reason where the device cannot be
// had.
STAMP_API std::shared_ptr<Device> open_device(const std::string& name, const DeviceOptions& options = {});

struct DeviceInfo {
  std::string name;         // as open_device takes it
  std::string description;  // processor or GPU, with what it has; of a CPU "2 threads, avx512, bf16"
  std::string reason;       // why it cannot be had; empty where it can
};
// The CPU, and every CUDA device there is, or "cuda" with the reason why there is none.
STAMP_API std::vector<DeviceInfo> devices();

// "cuda" of "cuda:3".
STAMP_API std::string kind_of_device(const std::string& name);

// Threads of the CPU device: STAMP_NUM_THREADS, else what affinity and cgroup limits leave to this process.
STAMP_API int num_threads();
STAMP_API void set_num_threads(int threads);

// The instruction set that the CPU kernels chose: "avx512vnni", "avx512", "avx2vnni", "avx2" or "baseline".
// STAMP_CPU_ISA lowers it.
STAMP_API std::string cpu_isa();

}  // namespace stamp
