#include "stamp/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace stamp {

void OptimizerConfig::validate() const {
  require(learning_rate > 0 && std::isfinite(learning_rate), "learning_rate is ", learning_rate,
          ", expected more than 0");
  require(beta1 >= 0 && beta1 < 1, "beta1 is ", beta1, ", expected a number in [0, 1)");
  require(beta2 >= 0 && beta2 < 1, "beta2 is ", beta2, ", expected a number in [0, 1)");
  constexpr float kLeast = std::numeric_limits<float>::min();  // what is smaller counts as 0 on a GPU
  require(epsilon >= kLeast, "epsilon is ", epsilon, ", expected ", kLeast, " or more");
  require(weight_decay >= 0 && std::isfinite(weight_decay), "weight_decay is ", weight_decay, ", expected 0 or more");
  require(clip_norm >= 0 && std::isfinite(clip_norm), "clip_norm is ", clip_norm, ", expected 0 (off) or more");
  require(decay > 0 && decay <= 1, "decay is ", decay, ", expected a factor in (0, 1]");
  require(warmup >= 0 && warmup < 1, "warmup is ", warmup, ", expected a share in [0, 1)");
  require(workspace_bytes >= 0, "workspace_bytes is ", workspace_bytes, ", expected 0 or more");
}

namespace {

Weights weights_like(const Model& model, bool with_items) {
  return {model.config(), model.V(), model.device(), with_items, model.content() ? model.content()->K() : 0};
}

}  // namespace

Optimizer::Optimizer(const OptimizerConfig& config, Model& model)
    : config_(config),
      model_(model),
      activations_(model.device()),
      gradients_(weights_like(model, config.clip_norm > 0 || model.content())),
      moment1_(weights_like(model, true)),
      moment2_(weights_like(model, true)),
      dense_(model.content() ? 2 : 1),
      excluded_(model.device(), 0),
      workspace_(model.device(), 0),
      rounded_(model.device(), model.device()->rounded_size(model.V(), model.config().dim)),
      step_(model.device(), 1),
      recorder_(model.device()->recorder()) {
  set_loss_sum(0);
  config_.validate();
  if (model.content()) content_.emplace(*model.content(), model.device());
  const auto values = model.weights().tensors(), gradients = gradients_.tensors();
  const auto first = moment1_.tensors(), second = moment2_.tensors();
  const std::size_t without_items = values.size() - gradients.size();  // 1 where the owner of a tile applies Adam
  for (std::size_t i = 0; i < values.size(); ++i)
    parameters_.push_back({.n = values[i].array->size(),
                           .value = values[i].array->data(),
                           .gradient = i < without_items ? nullptr : gradients[i - without_items].array->data(),
                           .moment1 = first[i].array->data(),
                           .moment2 = second[i].array->data()});
  if (content_) parameters_.front().value = model.differences().data();
}

void Optimizer::exclude(const std::vector<std::uint64_t>& products) { excluded_.upload(products); }

float Optimizer::learning_rate(std::int64_t step, std::int64_t planned, std::int64_t epoch) const {
  double rate = config_.learning_rate * std::pow(double{config_.decay}, static_cast<double>(epoch));
  const double warm = config_.warmup * static_cast<double>(planned);
  if (static_cast<double>(step) < warm) return static_cast<float>(rate * (static_cast<double>(step) + 1) / (warm + 1));
  const double done = (static_cast<double>(step) - warm) / std::max(1.0, static_cast<double>(planned) - warm);
  if (config_.schedule == Schedule::linear) rate *= 1 - done;
  if (config_.schedule == Schedule::cosine) rate *= (1 + std::cos(std::numbers::pi * done)) / 2;
  return static_cast<float>(rate);
}

CatalogCrossEntropy Optimizer::loss_problem() {
  const Config& config = model_.config();
  Activations& a = activations_;
  return {.B = a.B,
          .D = config.dim,
          .V = model_.V(),
          .queries = a.q.data(),
          .items = model_.weights().items.data(),
          .normalize_items = config.score == Score::cosine,
          .targets = a.targets(),
          .weights = a.weights.data(),
          .workspace = workspace_.data(),
          .workspace_size = workspace_.size(),
          .rounded = rounded_.data(),
          .excluded = excluded_.empty() ? nullptr : excluded_.data(),
          .step = step_.data()};
}

ContentRows Optimizer::content_problem() {
  const Config& config = model_.config();
  ContentRows problem = content_->lists();
  problem.D = config.dim;
  problem.items = model_.weights().items.data();
  problem.attribute_rows = model_.weights().attribute_rows.data();
  problem.differences = model_.differences().data();
  problem.bound = config.difference_bound;
  problem.dropout = config.difference_dropout;
  problem.seed = config.seed;
  return problem;
}

void Optimizer::prepare(TrainingStep step) {
  Activations& a = activations_;
  a.prepare_backward(model_.config().dim);
  // All exponentials, rounded up to whole tiles, or as many as the bound allows.
  const std::int64_t all = a.B * (model_.V() + model_.V() / 256 + 1024);
  workspace_.resize(std::min<std::int64_t>(config_.workspace_bytes / sizeof(float), all));
  if (!rounded_.empty() && !rounded_kept_ && !content_)  // whose rows every step makes anew
    model_.device()->round_items(model_.V(), model_.config().dim, model_.item_rows(), rounded_.data());
  step.number = steps_ + 1;
  step.beta1 = config_.beta1;
  step.beta2 = config_.beta2;
  step.epsilon = config_.epsilon;
  step.weight_decay = config_.weight_decay;
  model_.device()->copy_in(step_.data(), &step, offsetof(TrainingStep, gradient_scale));  // the rest is the device's
}

void Optimizer::set_loss_sum(double loss_sum) {
  const TrainingStep fresh{.done = steps_, .loss_sum = loss_sum};
  step_.upload(std::span(&fresh, 1));
}

void Optimizer::forward_backward(Weights& gradients, std::span<const Parameter> parameters) {
  Device& device = *model_.device();
  Activations& a = activations_;
  if (content_) {
    device.content_rows(content_problem(), step_.data());
    if (!rounded_.empty()) device.round_items(model_.V(), model_.config().dim, model_.item_rows(), rounded_.data());
  }
  device.sort_rows(loss_problem(), a.L);
  model_.forward(device, a, step_.data());
  device.catalog_cross_entropy(loss_problem(), a.losses.data(), a.log_sums.data(), a.d_q.data());
  model_.backward(device, a, gradients, step_.data(), parameters);
}

void Optimizer::enqueue(const BatchPlace& batch, float learning_rate, double limit) {
  activations_.resize(batch.B, batch.L, model_.config());
  prepare({.learning_rate = learning_rate, .weight = batch.weight, .limit = limit, .first = batch.first});
  examples_ = batch.data;
  run(true);
}

void Optimizer::enqueue(const Batch& batch, float learning_rate, double limit) {
  activations_.upload(batch, model_.config());
  prepare({.learning_rate = learning_rate, .weight = batch.weight, .limit = limit});
  run(false);
}

void Optimizer::run(bool build) {
  ++steps_;
  std::uint64_t key = build;
  for (const void* memory :
       std::initializer_list<const void*>{workspace_.data(), examples_.items, examples_.weights, examples_.examples,
                                          examples_.begins, examples_.labels, excluded_.data()})
    key = key * 0x100000001b3 ^ reinterpret_cast<std::uintptr_t>(memory);
  key = (key * 0x100000001b3 ^ static_cast<std::uint64_t>(workspace_.size())) * 0x100000001b3 ^ activations_.layout();
  recorder_->run(key, [this, build] {
    if (build) activations_.L = model_.device()->build_batch(examples_, step_.data(), activations_.batch());
    const Parameter& items = parameters_.front();
    const std::span all = parameters_;
    const bool clip = config_.clip_norm > 0;  // then Adam waits for the whole gradient
    forward_backward(gradients_, clip ? std::span<const Parameter>() : all.subspan(dense_));
    Device& device = *model_.device();
    Activations& a = activations_;
    device.catalog_cross_entropy_backward(loss_problem(), a.log_sums.data(), a.L, a.d_x.data(),
                                          {.d_items = items.gradient,
                                           .items = items.value,
                                           .moment1 = items.moment1,
                                           .moment2 = items.moment2,
                                           .step = step_.data(),
                                           .rounded = rounded_.data()});
    if (content_)
      device.content_gradients(content_problem(), step_.data(), items.gradient, gradients_.attribute_rows.data());
    if (clip) device.clip_gradient(all, config_.clip_norm, step_.data());
    if (clip || content_) device.adam(clip ? all : all.first(dense_), step_.data());
  });
  rounded_kept_ = !parameters_.front().gradient;  // by the owners of rows; Adam in a pass of its own knows none
}

TrainingStep Optimizer::wait() {
  rounded_kept_ = false;  // whoever waits may write weights
  TrainingStep state;
  model_.device()->copy_out(&state, step_.data(), sizeof state);
  if (state.stopped) {
    steps_ = state.done;
    set_loss_sum(state.loss_sum);
  }
  return state;
}

void Optimizer::finish_rows() {
  if (content_) model_.device()->content_rows(content_problem(), nullptr);
}

double Optimizer::step(const Batch& batch, float learning_rate, double limit) {
  enqueue(batch, learning_rate, limit);
  const double loss = wait().loss;
  finish_rows();
  return loss;
}

double Optimizer::gradients(const Batch& batch, Weights& gradients) {
  activations_.upload(batch, model_.config());
  prepare({.weight = batch.weight, .limit = std::numeric_limits<double>::infinity()});
  forward_backward(gradients, {});
  Device& device = *model_.device();
  Activations& a = activations_;
  device.catalog_cross_entropy_backward(loss_problem(), a.log_sums.data(), a.L, a.d_x.data(),
                                        {.d_items = gradients.items.data()});
  if (content_)
    device.content_gradients(content_problem(), step_.data(), gradients.items.data(), gradients.attribute_rows.data());
  const double loss = wait().loss;
  finish_rows();
  return loss;
}

}  // namespace stamp
