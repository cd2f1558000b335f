// The whole network on one screen. Notation as in docs/model.md; shapes with B, L, D, V of device.h.
//
//   x_i = items[event i]            x_t = the anchor, the last event          m_s = mean of all x_i
//   a_i = w0 · σ(W1 x_i + W2 x_t + W3 m_s + b_a)
//   m_a = Σ a_i x_i  (+ residual)
//   h_s = tanh(W_s m_a + b_s)       h_t = tanh(W_t x_t + b_t)
//   q   = h_s ⊙ h_t                 z_v = q · x_v                             p = softmax(z)
//
// With K objectives beside clicks, each bias b is b + Σ_k π_k u_k, of a preference vector π that says how much of each
// is wanted; u [K,D] for each of the three.
#pragma once

#include <array>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "stamp/content.h"
#include "stamp/objective.h"
#include "stamp/repeats.h"
#include "stamp/safetensors.h"
#include "stamp/sessions.h"
#include "stamp/successors.h"
#include "stamp/tensor.h"

namespace stamp {

enum class Score { dot, cosine };  // q · x_v, or scale · cos(q, x_v)

struct STAMP_API Config {
  std::int64_t dim = 100;
  Residual residual = Residual::mean;
  Normalization normalization = Normalization::none;
  bool attention_bias = false;
  bool mlp_bias = false;
  float max_norm = 0;  // rows looked up are shortened to it; 0: never
  Score score = Score::dot;
  float scale = 16;                   // of cosine scores
  std::int64_t repeat_floors = 0;     // of products of the history itself (floors.h): at so many distances; 0: none
  std::int64_t successor_floors = 0;  // of products that come near the last events: of so many events; 0: none
  std::int64_t second_floors = 0;     // of what comes near those (successors.h): likewise
  std::int64_t successors = 50;       // kept of each product for either
  float dropout = 0;                  // of the looked-up embeddings, while training
  // What is learnt beside clicks, three at most: the names of what Sessions::labels mark. Then lists go by a preference
  // vector.
  std::vector<std::string> objectives = {};
  std::int64_t K() const { return static_cast<std::int64_t>(objectives.size()); }
  // [K] shares of a checked objective; what it weighs beside these is for clicks.
  std::vector<float> preference(const Objective& objective) const;
  // Attributes that item rows are made of (content.h), x_v = c_v + δ_v; none: rows are free.
  std::vector<std::string> content = {};
  std::int64_t content_bins = 10;   // of a number
  float difference_bound = 0.95f;   // |δ_v| is at most so many |c_v|, of products with an attribute
  float difference_dropout = 0.2f;  // of whole δ_v, while training
  std::int64_t history = 0;         // at most so many last events are read; 0: all
  float item_std = 0.002f;          // initial weights: N(0, std²)
  float weight_std = 0.05f;
  std::uint64_t seed = 42;

  bool has_successors() const { return successor_floors + second_floors > 0; }
  bool has_floors() const { return repeat_floors > 0 || has_successors(); }
  int successor_steps() const { return second_floors > 0 ? 2 : 1; }  // that are counted, where they are
  // "paper", "official" (the authors' published code), "tuned" (what was found to rank best at the same cost of
  // serving: docs/model.md). Throws std::invalid_argument for another name.
  static Config preset(const std::string& name);
  // Throws std::invalid_argument naming the option that cannot be.
  void validate() const;
};

// Trained parameters, or anything with a value for each of them: gradients, moments. Absent tensors are empty.
struct STAMP_API Weights {
  Array<float> items;                                                        // [V,D]
  Array<float> attribute_rows;                                               // [K,D], where items are made of them
  Array<float> w0;                                                           // [D]
  Array<float> w1, w2, w3;                                                   // [D,D]
  Array<float> attention_bias;                                               // [D]
  Array<float> session_weight, session_bias;                                 // [D,D], [D]
  Array<float> anchor_weight, anchor_bias;                                   // [D,D], [D]
  Array<float> attention_objectives, session_objectives, anchor_objectives;  // [K,D], where there are objectives

  Weights() = default;
  // K: rows of attributes.
  Weights(const Config& config, std::int64_t V, const std::shared_ptr<Device>& device, bool with_items = true,
          std::int64_t K = 0);

  // Name in files, shape and array of each tensor that is present. `items` comes first, then `attribute_rows`.
  struct Named {
    std::string name;
    std::vector<std::int64_t> shape;
    Array<float>* array;
  };
  std::vector<Named> tensors();
  std::vector<Named> dense();  // all but these two

  // Every tensor of a file, or to one, under prefix + name.
  void load(const Safetensors& file, const std::string& prefix);
  void save(std::map<std::string, TensorSource>& tensors, const std::string& prefix) const;
};

// A batch on its device, its queries and gradients. Grows to the largest batch seen, then never again.
struct STAMP_API Activations {
  explicit Activations(const std::shared_ptr<Device>& device);
  // Room for a batch of B examples with L events. Events are padded to a multiple of Device::padding() with
  // Catalog::kUnknown, which no example reads.
  void resize(std::int64_t B, std::int64_t L, const Config& config);
  void upload(const Batch& batch, const Config& config);
  void prepare_backward(std::int64_t D);

  std::int64_t B = 0, L = 0;  // L: padding included
  Array<std::int32_t> rows;   // [B + L] of the item table: the targets, then the events
  Array<std::int32_t> begin, length;
  Array<float> weights;
  Array<float> preferences;       // [B,K] of objectives beside clicks
  Array<float> q, d_q;            // [B,D] the queries
  Array<float> d_x;               // [L,D] gradients of the rows looked up
  Array<float> losses, log_sums;  // [B]
  std::int32_t* targets() { return rows.data(); }
  const std::int32_t* events() const { return rows.data() + B; }
  Ranges ranges() const { return {begin.data(), length.data(), B, L}; }
  BatchArrays batch() {
    return {B, L, rows.data() + B, begin.data(), length.data(), rows.data(), weights.data(), preferences.data()};
  }
  // Differs where sizes or memory do.
  std::uint64_t layout();

 private:
  std::array<Array<std::int32_t>*, 3> integers();
  std::array<Array<float>*, 7> floats();

  std::shared_ptr<Device> device_;
  std::vector<std::int32_t> uploaded_;
};

class STAMP_API Model {
 public:
  // Weights drawn from config.seed. `content`: the attributes of the V products where config.content names some, else
  // null.
  Model(const Config& config, std::int64_t V, std::shared_ptr<Device> device,
        std::shared_ptr<const Content> content = nullptr);
  // Weights of a file with one tensor per name. Throws std::runtime_error when one is missing or of another shape. On a
  // device that reads host memory the item table stays in the mapped file: who trains it writes to pages of its own.
  Model(const Config& config, std::int64_t V, std::shared_ptr<Device> device, Safetensors file);

  const Config& config() const { return config_; }
  std::int64_t V() const { return V_; }
  const std::shared_ptr<Device>& device() const { return device_; }
  Weights& weights() { return weights_; }
  const Weights& weights() const { return weights_; }

  // Null where rows are free.
  const std::shared_ptr<const Content>& content() const { return content_; }
  // [V,D] δ of x_v = c_v + δ_v, which training keeps beside the items: made of these when first asked for, and whenever
  // somebody uploads or loads weights later.
  Array<float>& differences();
  // Begins as `other` ended, as far as attributes go: rows of those that both know are the other's, and products that
  // have attributes have no difference.
  void take_content(const Model& other);
  // The same network over the products of `content`, with the columns of this one's: those whose rows are `rows`, one
  // for each product here (-1: none), are as they are here, all others what their attributes say. On the same device.
  std::shared_ptr<Model> in_catalog(std::span<const std::int32_t> rows, std::shared_ptr<const Content> content) const;

  // activations.q for the uploaded batch. Touches nothing of the model, so several may run at once, each on a
  // device handle and activations of its own. The number of `step` picks the dropout mask; null: no dropout.
  void forward(Device& device, Activations& a, const TrainingStep* step = nullptr) const;
  // From activations.d_q to activations.d_x and the gradients of the dense weights, with which Adam trains
  // `parameters`, some of these weights. Follows forward with the same step.
  void backward(Device& device, Activations& a, Weights& gradients, const TrainingStep* step,
                std::span<const Parameter> parameters = {}) const;
  // What the two ask a device for.
  Encoder encoder(const Activations& a, const TrainingStep* step) const;

  // The products as catalog_top_k takes them: all, or those of `rows` in device memory.
  ItemRows item_rows(const std::int32_t* rows = nullptr) const {
    return {.items = weights_.items.data(), .rows = rows, .normalize = config_.score == Score::cosine};
  }

  // Below which scores of products that the history names do not fall (floors.h). In host memory; kNoFloor where there
  // is none. Of what it holds itself, [Repeat::kKinds,config.repeat_floors], by kind (repeats.h) and by how many events
  // ago that last was there: of the anchor, of the event before it, …, the last one for all before, too. Of what comes
  // near its events, [config.successor_floors + config.second_floors], by how many events ago those were, in one step
  // and then in two. Where there are K objectives, 1 + K of each, one behind the other, those for clicks first.
  static constexpr float kNoFloor = std::numeric_limits<float>::lowest();
  const std::vector<float>& repeat_floors() const { return repeat_floors_; }
  const std::vector<float>& successor_floors() const { return successor_floors_; }
  // Throws std::invalid_argument for another number of them, and for what is not finite.
  void set_floors(std::vector<float> repeats, std::vector<float> successors);
  const std::shared_ptr<const Successors>& successors() const { return successors_; }
  // Throws std::invalid_argument where they are of another number of products or steps.
  void set_successors(std::shared_ptr<const Successors> successors);

  // What makes scores the logarithms of probabilities, and popularity a guess (calibration.h). 1 and 1 where nothing
  // was fitted. Models that can have floors have both in their files; of older files they are 1.
  float temperature() const { return temperature_; }
  float tail_power() const { return tail_power_; }
  // Throws std::invalid_argument for a temperature that is not finite and above 0, a power that is not finite and 0 or
  // more.
  void set_calibration(float temperature, float tail_power);

  // Every tensor of a file, or to one, under prefix + name; `tensors` refers to this model.
  void load(const Safetensors& file, const std::string& prefix);
  void save(std::map<std::string, TensorSource>& tensors, const std::string& prefix) const;

  // Root mean square of all trained weights; NaN where one is.
  double rms() const;

  // name -> values, for files and for Python, of all but the successors; set throws std::invalid_argument on another
  // shape, a missing or an unknown name.
  std::map<std::string, std::vector<float>> download() const;
  std::map<std::string, std::vector<std::int64_t>> shapes() const;
  void upload(const std::map<std::string, std::vector<float>>& values);

 private:
  Model(const Config& config, const std::shared_ptr<Device>& device, std::shared_ptr<const Content> content,
        Weights weights);

  void forget_floors();
  std::vector<float> content_rows() const;         // [V,D] c
  void forget_differences();                       // of products that have attributes: their items become c
  void update_differences();                       // to what the items say
  std::vector<std::int64_t> repeat_shape() const;  // of floors, as they are saved
  std::vector<std::int64_t> successor_shape() const;

  Config config_;
  std::int64_t V_;
  std::shared_ptr<Device> device_;
  std::shared_ptr<const Content> content_;
  Weights weights_;
  Array<float> differences_;  // empty until asked for
  std::vector<float> repeat_floors_, successor_floors_;
  float temperature_ = 1, tail_power_ = 1;
  std::shared_ptr<const Successors> successors_;  // never null
};

}  // namespace stamp
