#include "stamp/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace stamp {

void OptimizerConfig::validate() const {
  require(learning_rate > 0 && std::isfinite(learning_rate), "learning_rate is ", learning_rate,
          ", expected more than 0");
  require(beta1 >= 0 && beta1 < 1, "beta1 is ", beta1, ", expected a number in [0, 1)");
  require(beta2 >= 0 && beta2 < 1, "beta2 is ", beta2, ", expected a number in [0, 1)");
  require(epsilon > 0, "epsilon is ", epsilon, ", expected more than 0");
  require(weight_decay >= 0 && std::isfinite(weight_decay), "weight_decay is ", weight_decay, ", expected 0 or more");
  require(clip_norm >= 0 && std::isfinite(clip_norm), "clip_norm is ", clip_norm, ", expected 0 (off) or more");
  require(decay > 0 && decay <= 1, "decay is ", decay, ", expected a factor in (0, 1]");
  require(warmup >= 0 && warmup < 1, "warmup is ", warmup, ", expected a share in [0, 1)");
  require(workspace_bytes >= 0, "workspace_bytes is ", workspace_bytes, ", expected 0 or more");
}

Optimizer::Optimizer(const OptimizerConfig& config, Model& model)
    : config_(config),
      model_(model),
      activations_(model.device()),
      gradients_(model.config(), model.V(), model.device(), config.clip_norm > 0),
      moment1_(model.config(), model.V(), model.device()),
      moment2_(model.config(), model.V(), model.device()),
      workspace_(model.device(), 0) {
  config_.validate();
  const auto values = model.weights().dense(), gradients = gradients_.dense();
  const auto first = moment1_.dense(), second = moment2_.dense();
  for (std::size_t i = 0; i < values.size(); ++i)
    dense_.push_back({values[i].array, gradients[i].array, first[i].array, second[i].array});
}

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
          .targets = a.targets.data(),
          .weights = a.weights.data(),
          .workspace = workspace_.data(),
          .workspace_size = workspace_.size()};
}

double Optimizer::forward_backward(const Batch& batch) {
  Device& device = *model_.device();
  Activations& a = activations_;
  a.upload(batch, model_.config().dim);
  a.prepare_backward(model_.config().dim);
  // All exponentials, rounded up to whole tiles, or as many as the bound allows.
  const std::int64_t all = a.B * (model_.V() + model_.V() / 256 + 1024);
  workspace_.resize(std::min<std::int64_t>(config_.workspace_bytes / sizeof(float), all));

  model_.forward(device, a, steps_);
  device.catalog_cross_entropy(loss_problem(), a.losses.data(), a.log_sums.data(), a.d_q.data());
  losses_.resize(static_cast<std::size_t>(a.B));
  device.copy_out(losses_.data(), a.losses.data(), losses_.size() * sizeof(float));
  double loss = 0;
  for (std::size_t b = 0; b < losses_.size(); ++b)
    if (batch.weights[b] != 0) loss += double{batch.weights[b]} * losses_[b];
  if (std::isfinite(loss)) model_.backward(device, a, gradients_, steps_);
  return loss;
}

double Optimizer::step(const Batch& batch, float learning_rate, double limit) {
  const double loss = forward_backward(batch);
  if (!(loss < limit)) return loss;
  ++steps_;
  Device& device = *model_.device();
  Activations& a = activations_;
  Weights& weights = model_.weights();
  AdamStep adam{.learning_rate = learning_rate,
                .beta1 = config_.beta1,
                .beta2 = config_.beta2,
                .epsilon = config_.epsilon,
                .weight_decay = config_.weight_decay,
                .step = steps_,
                .gradient_scale = 1};

  const bool clip = config_.clip_norm > 0;
  device.catalog_cross_entropy_backward(loss_problem(), a.log_sums.data(), a.L, a.events.data(), a.d_x.data(),
                                        {.d_items = clip ? gradients_.items.data() : nullptr,
                                         .items = weights.items.data(),
                                         .moment1 = moment1_.items.data(),
                                         .moment2 = moment2_.items.data(),
                                         .adam = adam});
  if (clip) {
    double squared = device.squared_norm(gradients_.items.size(), gradients_.items.data());
    for (const Parameter& p : dense_) squared += device.squared_norm(p.gradient->size(), p.gradient->data());
    const double norm = std::sqrt(squared);
    if (norm > config_.clip_norm) adam.gradient_scale = static_cast<float>(config_.clip_norm / norm);
    device.adam(weights.items.size(), gradients_.items.data(), weights.items.data(), moment1_.items.data(),
                moment2_.items.data(), adam);
  }
  for (const Parameter& p : dense_)
    device.adam(p.value->size(), p.gradient->data(), p.value->data(), p.moment1->data(), p.moment2->data(), adam);
  return loss;
}

double Optimizer::gradients(const Batch& batch, Weights& gradients) {
  const double loss = forward_backward(batch);
  Device& device = *model_.device();
  Activations& a = activations_;
  model_.backward(device, a, gradients, steps_);
  device.catalog_cross_entropy_backward(loss_problem(), a.log_sums.data(), a.L, a.events.data(), a.d_x.data(),
                                        {.d_items = gradients.items.data()});
  return loss;
}

}  // namespace stamp
