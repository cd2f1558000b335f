#include "stamp/model.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "stamp/philox.h"

namespace stamp {

Config Config::preset(const std::string& name) {
  Config config;
  if (name == "paper") {
    config.residual = Residual::none;
    config.attention_bias = config.mlp_bias = true;
  } else if (name == "official") {
    config.residual = Residual::mean;
    config.max_norm = 1;
  } else if (name == "tuned") {
    config.attention_bias = config.mlp_bias = true;
    config.score = Score::cosine;
    config.scale = 12;
    config.repeat_floors = 4;
    config.successor_floors = 3;
    config.second_floors = 2;
    config.history = 50;
    config.dropout = 0.3f;
    config.item_std = 0.1f;
  } else {
    require(false, "Config::preset: unknown preset '", name, "', expected 'paper', 'official' or 'tuned'");
  }
  return config;
}

void Config::validate() const {
  require(dim >= 1 && dim <= 65536, "Config: dim is ", dim, ", expected 1 to 65536");
  require(max_norm >= 0 && std::isfinite(max_norm), "Config: max_norm is ", max_norm, ", expected 0 (off) or more");
  require(scale > 0 && std::isfinite(scale), "Config: scale is ", scale, ", expected more than 0");
  require(repeat_floors >= 0 && repeat_floors <= 65536, "Config: repeat_floors is ", repeat_floors,
          ", expected 0 (none) to 65536");
  require(successor_floors >= 0 && successor_floors <= 64, "Config: successor_floors is ", successor_floors,
          ", expected 0 (none) to 64");
  require(second_floors >= 0 && second_floors <= 64, "Config: second_floors is ", second_floors,
          ", expected 0 (none) to 64");
  require(successors >= 1 && successors <= 65536, "Config: successors is ", successors, ", expected 1 to 65536");
  require(dropout >= 0 && dropout < 1, "Config: dropout is ", dropout, ", expected a rate in [0, 1)");
  std::vector<std::string> names = content;
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) require(false, "Config: content names '", *twice, "' twice");
  require(content_bins >= 1 && content_bins <= 65536, "Config: content_bins is ", content_bins,
          ", expected 1 to 65536");
  require(difference_bound > 0 && difference_bound < 1, "Config: difference_bound is ", difference_bound,
          ", expected a number in (0, 1)");
  require(difference_dropout >= 0 && difference_dropout < 1, "Config: difference_dropout is ", difference_dropout,
          ", expected a rate in [0, 1)");
  require(objectives.size() <= Objectives::kMost, "Config: objectives has ", objectives.size(), " names, expected ",
          Objectives::kMost, " or fewer");
  for (std::size_t k = 0; k < objectives.size(); ++k) {
    const auto& name = objectives[k];
    require(!name.empty() && name != kClick, "Config: objectives names '", name, "', expected what is learnt beside '",
            kClick, "'");
    require(std::find(objectives.begin(), objectives.begin() + k, name) == objectives.begin() + k,
            "Config: objectives names '", name, "' twice");
  }
  require(history >= 0, "Config: history is ", history, ", expected 0 (all events) or more");
  require(item_std >= 0 && std::isfinite(item_std), "Config: item_std is ", item_std, ", expected 0 or more");
  require(weight_std >= 0 && std::isfinite(weight_std), "Config: weight_std is ", weight_std, ", expected 0 or more");
}

std::vector<float> Config::preference(const Objective& objective) const {
  double sum = 0;
  for (const auto& [name, weight] : objective) sum += weight;
  std::vector<float> shares(objectives.size());
  for (std::size_t k = 0; k < objectives.size(); ++k)
    if (const auto found = objective.find(objectives[k]); found != objective.end())
      shares[k] = static_cast<float>(found->second / sum);
  return shares;
}

namespace {
constexpr const char *kItems = "items", *kAttributeRows = "attribute_rows";
}

Weights::Weights(const Config& config, std::int64_t V, const std::shared_ptr<Device>& device, bool with_items,
                 std::int64_t K) {
  const std::int64_t D = config.dim;
  if (with_items) items = Array<float>(device, V * D);
  if (K > 0) attribute_rows = Array<float>(device, K * D);
  w0 = Array<float>(device, D);
  for (auto* matrix : {&w1, &w2, &w3, &session_weight, &anchor_weight}) *matrix = Array<float>(device, D * D);
  if (config.attention_bias) attention_bias = Array<float>(device, D);
  if (config.mlp_bias) {
    session_bias = Array<float>(device, D);
    anchor_bias = Array<float>(device, D);
  }
  if (config.K() > 0)
    for (auto* rows : {&attention_objectives, &session_objectives, &anchor_objectives})
      *rows = Array<float>(device, config.K() * D);
}

std::vector<Weights::Named> Weights::tensors() {
  std::vector<Named> present;
  const std::int64_t D = w0.size();
  if (!items.empty()) present.push_back({kItems, {items.size() / D, D}, &items});
  if (!attribute_rows.empty()) present.push_back({kAttributeRows, {attribute_rows.size() / D, D}, &attribute_rows});
  const struct {
    const char* name;
    bool matrix;
    Array<float>* array;
  } others[] = {
      {"attention.w0", false, &w0},
      {"attention.w1", true, &w1},
      {"attention.w2", true, &w2},
      {"attention.w3", true, &w3},
      {"attention.bias", false, &attention_bias},
      {"mlp_session.weight", true, &session_weight},
      {"mlp_session.bias", false, &session_bias},
      {"mlp_anchor.weight", true, &anchor_weight},
      {"mlp_anchor.bias", false, &anchor_bias},
  };
  for (const auto& [name, matrix, array] : others)
    if (!array->empty()) present.push_back({name, std::vector<std::int64_t>(matrix ? 2 : 1, D), array});
  for (const auto& [name, array] : {std::pair{"attention.objectives", &attention_objectives},
                                    {"mlp_session.objectives", &session_objectives},
                                    {"mlp_anchor.objectives", &anchor_objectives}})
    if (!array->empty()) present.push_back({name, {array->size() / D, D}, array});
  return present;
}

std::vector<Weights::Named> Weights::dense() {
  auto present = tensors();
  std::erase_if(present,
                [this](const Named& tensor) { return tensor.array == &items || tensor.array == &attribute_rows; });
  return present;
}

void Weights::load(const Safetensors& file, const std::string& prefix) {
  for (auto& [name, shape, array] : tensors()) array->upload(file.f32(prefix + name, shape));
}

void Weights::save(std::map<std::string, TensorSource>& tensors, const std::string& prefix) const {
  for (auto& [name, shape, array] : const_cast<Weights*>(this)->tensors())
    tensors.insert_or_assign(prefix + name,
                             TensorSource({DType::f32, shape}, [array](std::size_t first, std::span<std::byte> block) {
                               array->read(first, block);
                             }));
}

Activations::Activations(const std::shared_ptr<Device>& device) : device_(device) {
  for (auto* array : integers()) *array = Array<std::int32_t>(device, 0);
  for (auto* array : floats()) *array = Array<float>(device, 0);
}

std::array<Array<std::int32_t>*, 3> Activations::integers() { return {&rows, &begin, &length}; }

std::array<Array<float>*, 7> Activations::floats() {
  return {&weights, &preferences, &q, &d_q, &d_x, &losses, &log_sums};
}

void Activations::resize(std::int64_t batch_B, std::int64_t batch_L, const Config& config) {
  const std::int64_t padding = device_->padding();
  B = batch_B;
  L = (batch_L + padding - 1) / padding * padding;
  rows.resize(B + L);
  for (auto* array : {&begin, &length}) array->resize(B);
  weights.resize(B);
  preferences.resize(B * config.K());
  q.resize(B * config.dim);
}

void Activations::upload(const Batch& batch, const Config& config) {
  resize(batch.B(), batch.L(), config);
  uploaded_.assign(batch.targets.begin(), batch.targets.end());
  uploaded_.resize(static_cast<std::size_t>(B), Catalog::kUnknown);  // where nobody asks for targets
  uploaded_.insert(uploaded_.end(), batch.items.begin(), batch.items.end());
  uploaded_.resize(static_cast<std::size_t>(B + L), Catalog::kUnknown);
  rows.upload(uploaded_);
  begin.upload(batch.begin);
  length.upload(batch.length);
  weights.upload(batch.weights);
  if (preferences.empty()) return;
  if (batch.preferences.empty())
    device_->zero(preferences.data(), static_cast<std::size_t>(preferences.size()) * sizeof(float));
  else
    preferences.upload(batch.preferences);
}

void Activations::prepare_backward(std::int64_t D) {
  d_x.resize(L * D);
  d_q.resize(B * D);
  for (auto* array : {&losses, &log_sums}) array->resize(B);
}

std::uint64_t Activations::layout() {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV
  const auto add = [&](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3; };
  add(static_cast<std::uint64_t>(B));
  add(static_cast<std::uint64_t>(L));
  for (const auto* array : integers()) add(reinterpret_cast<std::uint64_t>(array->data()));
  for (const auto* array : floats()) add(reinterpret_cast<std::uint64_t>(array->data()));
  return hash;
}

namespace {

// Normal numbers by Box and Muller; `stream` keeps the tensors apart.
std::vector<float> normal(std::int64_t n, float std, std::uint64_t seed, std::uint64_t stream) {
  std::vector<float> values(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; i += 4) {
    const auto words = philox(seed, stream, static_cast<std::uint64_t>(i / 4));
    for (int pair = 0; pair < 2; ++pair) {
      const float radius = std * std::sqrt(-2 * std::log(uniform(words[2 * pair])));
      const float angle = 2 * std::numbers::pi_v<float> * uniform(words[2 * pair + 1]);
      if (i + 2 * pair < n) values[i + 2 * pair] = radius * std::cos(angle);
      if (i + 2 * pair + 1 < n) values[i + 2 * pair + 1] = radius * std::sin(angle);
    }
  }
  return values;
}

constexpr const char *kRepeatFloors = "repeat.floors", *kSuccessorFloors = "successor.floors";
constexpr const char *kTemperature = "temperature", *kTailPower = "tail.power";

constexpr std::uint64_t kAttributeStream = streams::kWeights + 100;

template <class T>
EncoderWeights<T> pointers(auto& w) {
  return {w.w0.data(),
          w.w1.data(),
          w.w2.data(),
          w.w3.data(),
          w.attention_bias.data(),
          w.session_weight.data(),
          w.session_bias.data(),
          w.anchor_weight.data(),
          w.anchor_bias.data(),
          w.attention_objectives.data(),
          w.session_objectives.data(),
          w.anchor_objectives.data()};
}

void validate(const Config& config, std::int64_t V, const Content* content) {
  config.validate();
  require(config.content.empty() == (content == nullptr), "Model: ", content ? "" : "no ", "attributes are given, and ",
          config.content.size(), " are named in content");
  if (content) require(content->V() == V, "Model: attributes of ", content->V(), " products, expected ", V);
  require(V >= 1 && V < (std::int64_t{1} << 31), "Model: ", V, " products, expected 1 to 2³¹-1");
}

}  // namespace

Model::Model(const Config& config, std::int64_t V, std::shared_ptr<Device> device, Safetensors file)
    : config_(config), V_(V), device_(std::move(device)) {
  if (!config.content.empty()) content_ = std::make_shared<Content>(Content::from(file, "", V));
  validate(config_, V, content_.get());
  file.f32(kItems, {V, config.dim});  // before memory is asked for
  const bool mapped = device_->reads_host_memory();
  weights_ = Weights(config_, V, device_, !mapped, content_ ? content_->K() : 0);
  forget_floors();
  load(file, "");
  if (mapped) weights_.items = Array<float>(device_, file.mapped_f32(kItems, {V, config.dim}), V * config.dim);
}

Model::Model(const Config& config, std::int64_t V, std::shared_ptr<Device> device,
             std::shared_ptr<const Content> content)
    : config_(config), V_(V), device_(std::move(device)), content_(std::move(content)) {
  validate(config_, V, content_.get());
  weights_ = Weights(config_, V, device_, true, content_ ? content_->K() : 0);
  forget_floors();
  std::uint64_t stream = streams::kWeights;
  for (auto& [name, shape, array] : weights_.tensors()) {
    const bool bias = name.ends_with("bias") || name.ends_with("objectives");  // which begin at 0
    if (name == kAttributeRows) {
      // Of a stream of its own, so that the other weights are those of a model without; sums of one row for each
      // attribute are as long as free rows.
      const float std = config_.item_std / std::sqrt(static_cast<float>(content_->columns().size()));
      array->upload(normal(array->size(), std, config_.seed, kAttributeStream));
      continue;
    }
    const float std = name == kItems ? config_.item_std : config_.weight_std;
    if (!bias) array->upload(normal(array->size(), std, config_.seed, stream));
    ++stream;
  }
  if (content_) forget_differences();
}

Model::Model(const Config& config, const std::shared_ptr<Device>& device, std::shared_ptr<const Content> content,
             Weights weights)
    : config_(config), V_(content->V()), device_(device), content_(std::move(content)), weights_(std::move(weights)) {
  forget_floors();
}

std::shared_ptr<Model> Model::in_catalog(std::span<const std::int32_t> rows,
                                         std::shared_ptr<const Content> content) const {
  require(content_ && content->K() == content_->K(), "Model::in_catalog: ", content->K(),
          " rows of attributes, expected ", content_ ? content_->K() : 0);
  require(static_cast<std::int64_t>(rows.size()) == V_, "Model::in_catalog: rows of ", rows.size(),
          " products, expected ", V_);
  const std::int64_t D = config_.dim;
  auto values = download();
  std::vector<float> items = Content::sums(content->rows(), values.at(kAttributeRows), D);
  for (std::int64_t v = 0; v < V_; ++v)
    if (rows[v] >= 0) std::copy_n(values.at(kItems).begin() + v * D, D, items.begin() + rows[v] * D);
  values[kItems] = std::move(items);
  std::shared_ptr<Model> moved(
      new Model(config_, device_, content, Weights(config_, content->V(), device_, true, content->K())));
  moved->upload(values);
  moved->set_successors(std::make_shared<Successors>(successors_->in_catalog(rows, content->V())));
  return moved;
}

std::vector<float> Model::content_rows() const {
  return Content::sums(content_->rows(), weights_.attribute_rows.download(), config_.dim);
}

void Model::forget_differences() {
  const std::int64_t D = config_.dim;
  std::vector<float> items = weights_.items.download();
  const std::vector<float> sums = content_rows();
  for (std::int64_t v = 0; v < V_; ++v)
    if (!content_->rows()[v].empty()) std::copy_n(sums.begin() + v * D, D, items.begin() + v * D);
  weights_.items.upload(items);
  update_differences();
}

void Model::take_content(const Model& other) {
  require(content_ && other.content_, "Model::take_content: a model has no attributes");
  require(config_.dim == other.config_.dim, "Model::take_content: dim is ", other.config_.dim, ", expected ",
          config_.dim);
  const std::int64_t D = config_.dim;
  std::vector<float> rows = weights_.attribute_rows.download();
  const std::vector<float> others = other.weights_.attribute_rows.download();
  const auto counterparts = content_->rows_in(*other.content_);
  for (std::size_t row = 0; row < counterparts.size(); ++row)
    if (counterparts[row] >= 0)
      std::copy_n(others.begin() + counterparts[row] * D, D, rows.begin() + static_cast<std::int64_t>(row) * D);
  weights_.attribute_rows.upload(rows);
  forget_differences();
}

Array<float>& Model::differences() {
  if (differences_.empty() && content_) {
    differences_ = Array<float>(device_, V_ * config_.dim);
    update_differences();
  }
  return differences_;
}

void Model::update_differences() {
  if (differences_.empty()) return;
  std::vector<float> differences = weights_.items.download();
  const std::vector<float> sums = content_rows();
  for (std::size_t i = 0; i < sums.size(); ++i) differences[i] -= sums[i];
  differences_.upload(differences);
}

void Model::forward(Device& device, Activations& a, const TrainingStep* step) const {
  device.encode(encoder(a, step), a.q.data());
}

void Model::backward(Device& device, Activations& a, Weights& gradients, const TrainingStep* step,
                     std::span<const Parameter> parameters) const {
  device.encode_backward(encoder(a, step), a.d_q.data(), a.d_x.data(), pointers<float>(gradients), parameters);
}

Encoder Model::encoder(const Activations& a, const TrainingStep* step) const {
  return {.ranges = a.ranges(),
          .D = config_.dim,
          .events = a.events(),
          .items = weights_.items.data(),
          .weights = pointers<const float>(weights_),
          .max_norm = config_.max_norm,
          .dropout = step ? config_.dropout : 0,
          .seed = config_.seed,
          .step = step,
          .residual = config_.residual,
          .normalization = config_.normalization,
          .scale = config_.score == Score::cosine ? config_.scale : 0,
          .K = config_.K(),
          .preferences = a.preferences.data()};
}

void Model::load(const Safetensors& file, const std::string& prefix) {
  weights_.load(file, prefix);
  update_differences();
  const auto floors = [&](const char* name, const std::vector<std::int64_t>& shape) {
    if (shape.back() == 0) return std::vector<float>();
    const auto values = file.f32(prefix + name, shape);
    return std::vector<float>(values.begin(), values.end());
  };
  const auto found = file.tensors().find(prefix + kRepeatFloors);
  const bool without_kinds = found != file.tensors().end() && found->second.shape.size() == 1;  // of earlier versions
  const auto fitted = [&](const std::string& name) {
    return file.contains(prefix + name) ? file.f32(prefix + name, {1})[0] : 1.0f;
  };
  try {
    set_floors(without_kinds ? for_every_kind(floors(kRepeatFloors, {config_.repeat_floors}))
                             : floors(kRepeatFloors, repeat_shape()),
               floors(kSuccessorFloors, successor_shape()));
    if (config_.has_floors()) set_calibration(fitted(kTemperature), fitted(kTailPower));
  } catch (const std::invalid_argument& error) {
    fail(file.name(), ": ", error.what());
  }
  if (config_.has_successors())
    set_successors(std::make_shared<Successors>(file, prefix, V_, config_.successor_steps()));
}

void Model::save(std::map<std::string, TensorSource>& tensors, const std::string& prefix) const {
  weights_.save(tensors, prefix);
  if (content_) content_->save(tensors, prefix);
  if (config_.has_floors()) {
    tensors.insert_or_assign(prefix + kTemperature, TensorSource({DType::f32, {1}}, &temperature_));
    tensors.insert_or_assign(prefix + kTailPower, TensorSource({DType::f32, {1}}, &tail_power_));
  }
  if (!repeat_floors_.empty())
    tensors.insert_or_assign(prefix + kRepeatFloors, TensorSource({DType::f32, repeat_shape()}, repeat_floors_.data()));
  if (successor_floors_.empty()) return;
  tensors.insert_or_assign(prefix + kSuccessorFloors,
                           TensorSource({DType::f32, successor_shape()}, successor_floors_.data()));
  successors_->save(tensors, prefix);
}

std::vector<std::int64_t> Model::repeat_shape() const {
  std::vector<std::int64_t> shape{Repeat::kKinds, config_.repeat_floors};
  if (!config_.objectives.empty()) shape.insert(shape.begin(), 1 + config_.K());
  return shape;
}

std::vector<std::int64_t> Model::successor_shape() const {
  std::vector<std::int64_t> shape{config_.successor_floors + config_.second_floors};
  if (!config_.objectives.empty()) shape.insert(shape.begin(), 1 + config_.K());
  return shape;
}

void Model::forget_floors() {
  const auto all = [&](std::int64_t of_one) { return static_cast<std::size_t>((1 + config_.K()) * of_one); };
  repeat_floors_.assign(all(Repeat::kKinds * config_.repeat_floors), kNoFloor);
  successor_floors_.assign(all(config_.successor_floors + config_.second_floors), kNoFloor);
  successors_ = std::make_shared<Successors>(V_, config_.successor_steps());
}

void Model::set_floors(std::vector<float> repeats, std::vector<float> successors) {
  require(repeats.size() == repeat_floors_.size() && successors.size() == successor_floors_.size(),
          "Model::set_floors: ", repeats.size(), " floors of repeats and ", successors.size(),
          " of successors, expected ", repeat_floors_.size(), " and ", successor_floors_.size());
  for (const auto* floors : {&repeats, &successors})
    for (float floor : *floors) require(std::isfinite(floor), "Model::set_floors: a floor is ", floor);
  repeat_floors_ = std::move(repeats);
  successor_floors_ = std::move(successors);
}

void Model::set_successors(std::shared_ptr<const Successors> successors) {
  require(successors->V() == V_, "Model::set_successors: successors of ", successors->V(), " products, expected ", V_);
  require(successors->steps() == config_.successor_steps(), "Model::set_successors: successors of ",
          successors->steps(), " steps, expected ", config_.successor_steps());
  successors_ = std::move(successors);
}

void Model::set_calibration(float temperature, float tail_power) {
  require(temperature > 0 && std::isfinite(temperature), "Model::set_calibration: the temperature is ", temperature,
          ", expected more than 0");
  require(tail_power >= 0 && std::isfinite(tail_power), "Model::set_calibration: the tail power is ", tail_power,
          ", expected 0 or more");
  temperature_ = temperature;
  tail_power_ = tail_power;
}

double Model::rms() const {
  double squared = 0, count = 0;
  for (const auto& [name, shape, array] : const_cast<Weights&>(weights_).tensors()) {
    squared += device_->squared_norm(array->size(), array->data());
    count += static_cast<double>(array->size());
  }
  return std::sqrt(squared / count);
}

std::map<std::string, std::vector<float>> Model::download() const {
  std::map<std::string, std::vector<float>> values;
  for (const auto& [name, shape, array] : const_cast<Weights&>(weights_).tensors()) values[name] = array->download();
  if (!repeat_floors_.empty()) values[kRepeatFloors] = repeat_floors_;
  if (!successor_floors_.empty()) values[kSuccessorFloors] = successor_floors_;
  if (config_.has_floors()) {
    values[kTemperature] = {temperature_};
    values[kTailPower] = {tail_power_};
  }
  return values;
}

std::map<std::string, std::vector<std::int64_t>> Model::shapes() const {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const auto& [name, shape, array] : const_cast<Weights&>(weights_).tensors()) shapes[name] = shape;
  if (!repeat_floors_.empty()) shapes[kRepeatFloors] = repeat_shape();
  if (!successor_floors_.empty()) shapes[kSuccessorFloors] = successor_shape();
  if (config_.has_floors()) shapes[kTemperature] = shapes[kTailPower] = {1};
  return shapes;
}

void Model::upload(const std::map<std::string, std::vector<float>>& values) {
  const auto expected = shapes();
  for (const auto& [name, shape] : expected) {
    const auto found = values.find(name);
    require(found != values.end(), "Model::upload: tensor '", name, "' is missing");
    std::int64_t size = 1;
    for (std::int64_t n : shape) size *= n;
    require(static_cast<std::int64_t>(found->second.size()) == size, "Model::upload: tensor '", name, "' has ",
            found->second.size(), " values, expected ", size);
  }
  for (const auto& [name, data] : values)
    require(expected.contains(name), "Model::upload: no tensor '", name, "' in this model");
  for (auto& [name, shape, array] : weights_.tensors()) array->upload(values.at(name));
  update_differences();
  const auto floors = [&](const char* name) {
    const auto found = values.find(name);
    return found == values.end() ? std::vector<float>() : found->second;
  };
  set_floors(floors(kRepeatFloors), floors(kSuccessorFloors));
  if (config_.has_floors()) set_calibration(values.at(kTemperature)[0], values.at(kTailPower)[0]);
}

}  // namespace stamp
