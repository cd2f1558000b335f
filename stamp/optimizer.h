// Adam over all weights, each updated where its gradient is made; with clipping when all gradients are there.
#pragma once

#include <limits>
#include <optional>
#include <string>

#include "stamp/batches.h"
#include "stamp/content_arrays.h"
#include "stamp/model.h"

namespace stamp {

enum class Schedule { constant, linear, cosine };  // from learning_rate to 0 over the planned steps

struct STAMP_API OptimizerConfig {
  float learning_rate = 0.001f;
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  float weight_decay = 0;  // decoupled
  float clip_norm = 0;     // bound on the norm of the whole gradient; 0: none
  Schedule schedule = Schedule::constant;
  float decay = 1;                          // learning rate is multiplied by it after every epoch
  float warmup = 0;                         // this share of the planned steps rises linearly from 0
  std::int64_t workspace_bytes = 64 << 20;  // for the catalog's exponentials

  void validate() const;
};

class STAMP_API Optimizer {
 public:
  Optimizer(const OptimizerConfig& config, Model& model);

  // A bit set of (V+63)/64 words: products that no step's softmax has, those that are no example's target. None to
  // begin with.
  void exclude(const std::vector<std::uint64_t>& products);

  // One training step on a batch, which may be under way when this returns. A loss that is not below `limit` changes no
  // weight, nor do later steps until wait() has told so. learning_rate is the one of the schedule. From here to wait()
  // nobody else writes the weights: steps keep a copy of the item table, which the first one behind a wait() makes.
  void enqueue(const BatchPlace& batch, float learning_rate, double limit = std::numeric_limits<double>::infinity());
  void enqueue(const Batch& batch, float learning_rate, double limit = std::numeric_limits<double>::infinity());
  // Waits for all steps: the last one's loss, Σ weights · losses, their sum, and whether one stopped.
  TrainingStep wait();
  // Item rows that are made of attributes are now those of the last step, without some differences. This makes them
  // what they are outside training, of the weights as they are: to be called behind wait() before anybody reads them.
  void finish_rows();
  // All three: the loss.
  double step(const Batch& batch, float learning_rate, double limit = std::numeric_limits<double>::infinity());

  // Learning rate of step `step` (0 for the first) of `planned`, in epoch `epoch`.
  float learning_rate(std::int64_t step, std::int64_t planned, std::int64_t epoch) const;

  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }
  void set_loss_sum(double loss_sum);  // that the next steps add to
  Weights& moment1() { return moment1_; }
  Weights& moment2() { return moment2_; }

  // Loss and gradients of every tensor, that of the differences in the place of the items', without an update of any
  // but differences beyond their bound: for tests.
  double gradients(const Batch& batch, Weights& gradients);

 private:
  CatalogCrossEntropy loss_problem();
  ContentRows content_problem();
  // Memory for a batch of the size that activations have, and the step's options.
  void prepare(TrainingStep step);
  // The step, whose batch is built first or is there.
  void run(bool build);
  void forward_backward(Weights& gradients, std::span<const Parameter> parameters);

  OptimizerConfig config_;
  Model& model_;
  Activations activations_;
  TrainingExamples examples_{};  // that the step's batch is built of
  Weights gradients_, moment1_, moment2_;
  std::vector<Parameter> parameters_;  // the items, or the differences and the rows of attributes, then the dense ones
  std::size_t dense_;                  // the first of these
  std::optional<ContentArrays> content_;
  Array<std::uint64_t> excluded_;
  Array<float> workspace_;
  Array<std::byte> rounded_;   // Device::round_items of the item table
  bool rounded_kept_ = false;  // by the last step
  Array<TrainingStep> step_;   // one
  std::unique_ptr<Recorder> recorder_;
  std::int64_t steps_ = 0;
};

}  // namespace stamp
