#include "stamp/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "stamp/calibration.h"
#include "stamp/files.h"
#include "stamp/floors.h"
#include "stamp/internal/json.h"

namespace stamp {

TrainConfig TrainConfig::preset(const std::string& name) {
  Config::preset(name);  // throws for an unknown name
  TrainConfig config;
  config.optimizer.learning_rate = name == "paper" ? 0.005f : name == "official" ? 0.003f : 0.008f;
  config.epochs = name == "paper" ? 30 : name == "official" ? 10 : 6;
  if (name == "tuned") {
    config.batch_size = 256;
    config.oldest_weight = 0.3f;
    config.optimizer.schedule = Schedule::linear;
  }
  return config;
}

namespace {

struct Monitor {
  std::string metric;
  std::int64_t k;
};

Monitor parse_monitor(const std::string& text) {
  const auto at = text.find('@');
  const std::string metric = text.substr(0, at), digits = at == std::string::npos ? "" : text.substr(at + 1);
  const bool number = !digits.empty() && digits.size() < 10 && std::all_of(digits.begin(), digits.end(), ::isdigit);
  require((metric == "hr" || metric == "mrr" || metric == "ndcg") && number && std::stoll(digits) >= 1,
          "TrainConfig: monitor is '", text, "', expected hr@k, mrr@k or ndcg@k");
  return {metric, std::stoll(digits)};
}

double value_of(const Monitor& monitor, const Metrics& metrics) {
  for (const auto& m : metrics.at)
    if (m.k == monitor.k) return monitor.metric == "hr" ? m.hr : monitor.metric == "mrr" ? m.mrr : m.ndcg;
  fail("no metrics at ", monitor.k);
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

enum class Phase { select, refit };

// A GPU is asked how it goes every so often, not after every step: meanwhile the next ones are on their way.
constexpr double kWaitSeconds = 0.05;

constexpr const char* kDifferences = "differences";  // in checkpoints

// One run of train(): its place in the epochs, what a checkpoint holds and how that is written and read.
class Run {
 public:
  Run(Model& model, const Sessions& sessions, const TrainConfig& config, const TrainOptions& options)
      : model_(model),
        sessions_(sessions),
        config_(config),
        options_(options),
        monitor_(parse_monitor(config.monitor)) {
    fingerprint_ = sessions.fingerprint();
    if (options.validation) fingerprint_ = fingerprint_ * 0x100000001b3 ^ options.validation->fingerprint();
    optimizer_ = std::make_unique<Optimizer>(config.optimizer, model);
    if (!options.warm_start) return;
    auto initial = model.download();
    for (const auto& [name, values] : initial) initial_checksums_ += checksum(std::as_bytes(std::span(values)));
    if (options.refit) initial_ = std::move(initial);
  }

  TrainReport run() {
    if (std::filesystem::exists(options_.checkpoint)) restore();
    count_lengths();
    if (complete()) return report();  // a checkpoint of the end
    report_.device = model_.device()->name();
    report_.precision = model_.device()->precision();
    if (best_.empty()) best_ = model_.download();
    if (phase_ == Phase::select) {
      fit(sessions_.faded(config_.oldest_weight));
      if (complete()) options_.refit ? start_refit() : use_best();
    }
    if (phase_ == Phase::refit)
      fit(Sessions::concatenate(sessions_, options_.validation->without_unknown()).faded(config_.oldest_weight));
    if (complete() && !options_.checkpoint.empty()) save();
    return report();
  }

 private:
  bool complete() const { return report_.stopped == "finished" || report_.stopped == "patience"; }

  TrainReport report() const {
    TrainReport report = report_;
    report.steps = optimizer_->steps();
    report.temperature = model_.temperature();
    report.tail_power = model_.tail_power();
    report.seconds += seconds_since(start_);
    return report;
  }

  void count_lengths() {
    const std::int64_t history = model_.config().history;
    for (std::int64_t s = 0; s < sessions_.size(); ++s) {
      report_.longest_session = std::max(report_.longest_session, sessions_.length(s));
      if (history == 0) continue;
      std::int64_t cut = 0;
      const std::int64_t first = sessions_.offsets()[s] + std::max(config_.min_history, history + 1);
      for (std::int64_t event = first; event < sessions_.offsets()[s + 1]; ++event) cut += sessions_.is_target(event);
      report_.cut_examples += cut;
      report_.long_sessions += cut > 0;
    }
  }

  std::vector<std::int64_t> hold_out_of(const Sessions& sessions, std::vector<std::int64_t>& examples) const {
    if (!model_.config().has_floors()) return {};
    return hold_out(sessions, config_.calibration, model_.config().seed, examples);
  }

  // None where no floor is fitted to them, and the model came with none.
  std::shared_ptr<const Successors> count_successors(const Sessions& sessions,
                                                     std::span<const std::int64_t> held_out) const {
    const auto& floors = model_.successor_floors();
    const bool given = std::any_of(floors.begin(), floors.end(), [](float floor) { return floor != Model::kNoFloor; });
    const int steps = model_.config().successor_steps();
    if (floors.empty() || (held_out.empty() && !given)) return std::make_shared<Successors>(model_.V(), steps);
    return std::make_shared<Successors>(sessions, model_.V(), model_.config().successors, steps, held_out);
  }

  // Products whose attributes would only be pushed away from every query, bit v of each; whole words. Free rows are
  // nobody else's, and had better be pushed away than stay where they began.
  std::vector<std::uint64_t> never_targets(const Sessions& sessions, std::span<const std::int64_t> examples) const {
    std::vector<std::uint64_t> products(static_cast<std::size_t>((model_.V() + 63) / 64), ~std::uint64_t{0});
    for (std::int64_t target : examples) {
      const std::int32_t row = sessions.items()[target];
      products[row / 64] &= ~(std::uint64_t{1} << (row % 64));
    }
    for (std::int64_t row = 0; row < model_.V(); ++row)
      if (model_.content()->rows()[row].empty()) products[row / 64] &= ~(std::uint64_t{1} << (row % 64));
    return products;
  }

  // An objective whose label no example has is learnt as clicks are.
  Objectives objectives_of(const Sessions& sessions, std::span<const std::int64_t> examples) const {
    Objectives objectives{.count = static_cast<int>(model_.config().objectives.size()), .seed = model_.config().seed};
    if (sessions.labels().empty()) return objectives;
    for (int k = 0; k < objectives.count; ++k) {
      double all = 0, labelled = 0;
      for (const std::int64_t target : examples) {
        const double weight = sessions.weights().empty() ? 1 : sessions.weights()[target];
        all += weight;
        if (sessions.labels()[target] >> k & 1) labelled += weight;
      }
      if (labelled > 0)
        objectives.gains[k] = static_cast<float>(std::min(double{Objectives::kMostGain}, all / labelled));
    }
    return objectives;
  }

  std::int64_t planned_epochs() const { return phase_ == Phase::refit ? report_.best_epoch : config_.epochs; }

  void fit(const Sessions& sessions) {
    const std::int64_t epochs = planned_epochs();
    std::vector<std::int64_t> examples = example_targets(sessions, config_.min_history);
    const auto held_out = hold_out_of(sessions, examples);
    model_.set_successors(count_successors(sessions, held_out));
    if (phase_ == Phase::select) best_successors_ = model_.successors();
    report_.calibration_examples = static_cast<std::int64_t>(held_out.size());
    if (model_.content()) optimizer_->exclude(never_targets(sessions, examples));
    const std::int64_t count = static_cast<std::int64_t>(examples.size());
    const Objectives objectives = objectives_of(sessions, examples);
    largest_weight_ = objectives.largest_factor();
    // Half of what the model leaves, for activations and scratch are to come.
    Batches batches(model_.device(), sessions, examples, model_.config().history, config_.batch_size,
                    model_.config().seed, model_.device()->free_memory() / 2, objectives);
    report_.streamed = batches.streamed();
    report_.examples = count;
    for (; epoch_ < epochs && !out_of_patience(); ++epoch_) {
      batches.start(epoch_, epoch_ + 1 < epochs);
      const auto epoch_start = Clock::now();
      const double before = epoch_seconds_;
      const std::int64_t first_batch = position_;
      optimizer_->set_loss_sum(loss_sum_);
      float rate = 0;
      for (; position_ < batches.size(); ++position_) {
        const std::int64_t last = std::min(count, (position_ + 1) * config_.batch_size);
        const BatchPlace& batch = batches.at(position_);
        rate = optimizer_->learning_rate(epoch_ * batches.size() + position_, epochs * batches.size(), epoch_);
        optimizer_->enqueue(batch, rate, divergence());
        weight_sum_ += batch.weight;
        if (last < count && !progress_due() && !checkpoint_due() && seconds_since(last_wait_) < kWaitSeconds) continue;
        const TrainingStep state = optimizer_->wait();
        last_wait_ = Clock::now();
        loss_sum_ = state.loss_sum;
        if (last == count) optimizer_->finish_rows();
        if (state.stopped) return diverge(concat("the loss became ", state.loss), rate);
        epoch_seconds_ = before + seconds_since(epoch_start);
        const double done_here = static_cast<double>(last - first_batch * config_.batch_size);
        const double speed = done_here / std::max(1e-9, seconds_since(epoch_start));
        if (last == count) speed_ = speed;
        const bool go_on = report_progress({.phase = phase_ == Phase::refit ? "refit" : "train",
                                            .epoch = epoch_ + 1,
                                            .epochs = epochs,
                                            .examples_done = last,
                                            .examples = count,
                                            .loss = loss_sum_ / weight_sum_,
                                            .examples_per_second = speed,
                                            .learning_rate = rate});
        if (!go_on) {
          ++position_;
          return interrupt();
        }
        if (checkpoint_due()) {
          ++position_;
          optimizer_->finish_rows();
          save();
          --position_;
        }
      }
      if (const double rms = model_.rms(); !(rms < 1e6))  // the last step shows in no loss
        return diverge(concat("the root mean square of the weights became ", rms), rate);
      if (!held_out.empty()) {
        fit_floors(model_, sessions, held_out);
        calibrate(model_, sessions, held_out);
      }
      if (!end_epoch()) return;
    }
    report_.stopped = out_of_patience() ? "patience" : "finished";
    if (phase_ == Phase::refit || !options_.validation) report_.best_epoch = epochs;
  }

  // Before an epoch, so that a run which was interrupted behind the last one ends where others do.
  bool out_of_patience() const {
    return phase_ == Phase::select && config_.patience > 0 && epoch_ - report_.best_epoch >= config_.patience;
  }

  // False when training is interrupted here.
  bool end_epoch() {
    Epoch epoch{.epoch = epoch_ + 1, .loss = loss_sum_ / weight_sum_, .seconds = epoch_seconds_, .validation = {}};
    report_.examples_per_second = speed_;
    const bool validate = options_.validation && phase_ == Phase::select;
    if (validate) {
      auto ranker = model_ranker(model_, model_.device());
      MetricsOptions metrics{.min_history = config_.min_history, .history = model_.config().history};
      if (std::find(metrics.k.begin(), metrics.k.end(), monitor_.k) == metrics.k.end()) metrics.k.push_back(monitor_.k);
      bool go_on = true;
      const auto progress = [&](std::int64_t done, std::int64_t all) {
        go_on = report_progress({.phase = "validate",
                                 .epoch = epoch_ + 1,
                                 .epochs = config_.epochs,
                                 .examples_done = done,
                                 .examples = all,
                                 .loss = epoch.loss,
                                 .examples_per_second = speed_,
                                 .learning_rate = 0});
        return go_on;
      };
      epoch.validation = evaluate(*ranker, *options_.validation, item_counts(sessions_, model_.V()), metrics, progress);
      if (!go_on) {
        interrupt();
        return false;
      }
      const double value = value_of(monitor_, *epoch.validation);
      if (value > best_value_) {
        best_value_ = value;
        report_.best_epoch = epoch_ + 1;
        best_ = model_.download();
      }
    } else if (phase_ == Phase::select) {
      best_ = model_.download();  // to go back to, should a later epoch diverge
      report_.best_epoch = epoch_ + 1;
    }
    if (phase_ == Phase::select) report_.epochs.push_back(epoch);
    position_ = 0;
    loss_sum_ = weight_sum_ = epoch_seconds_ = 0;
    const bool go_on = !validate || !options_.on_epoch || options_.on_epoch(epoch);
    if (!go_on) {
      ++epoch_;  // where a checkpoint continues
      interrupt();
      return false;
    }
    return true;
  }

  // Far above the loss of a model that knows nothing, ln V, or of one as wrong as cosines can be.
  double divergence() const {
    const Config& config = model_.config();
    return largest_weight_ * (20 * std::log(static_cast<double>(model_.V()) + 1) +
                              (config.score == Score::cosine ? 2 * config.scale : 0));
  }

  void diverge(const std::string& what, float rate) {
    report_.stopped = "diverged";
    report_.reason = concat(what, " at step ", optimizer_->steps(), " (epoch ", epoch_ + 1, ", learning rate ", rate,
                            "); lower the learning rate, or set clip_norm");
    use_best();
  }

  void interrupt() {
    report_.stopped = "interrupted";
    optimizer_->finish_rows();
    if (!options_.checkpoint.empty()) save();
    if (options_.validation && report_.best_epoch > 0) use_best();
  }

  void use_best() {
    model_.upload(best_);
    model_.set_successors(best_successors_);
  }

  void start_refit() {
    phase_ = Phase::refit;
    epoch_ = position_ = 0;
    report_.stopped.clear();
    if (options_.warm_start)
      model_.upload(initial_);
    else
      model_ = Model(model_.config(), model_.V(), model_.device(), model_.content());
    optimizer_.reset();  // two sets of moments would not be needed at once
    optimizer_ = std::make_unique<Optimizer>(config_.optimizer, model_);
  }

  bool report_progress(const Progress& progress) {
    if (!options_.progress) return true;
    if (progress.examples_done < progress.examples && !progress_due()) return true;
    last_progress_ = Clock::now();
    return options_.progress(progress);
  }

  bool progress_due() const { return options_.progress && seconds_since(last_progress_) >= options_.progress_seconds; }

  bool checkpoint_due() const {
    return !options_.checkpoint.empty() && seconds_since(last_checkpoint_) >= config_.checkpoint_seconds;
  }

  // The checkpoint: weights, moments and best weights as tensors, the rest as JSON in the metadata. The end needs no
  // more than the weights.
  void save() {
    std::map<std::string, TensorSource> tensors;
    model_.save(tensors, "weights/");
    if (!complete()) {
      optimizer_->moment1().save(tensors, "moment1/");
      optimizer_->moment2().save(tensors, "moment2/");
      if (model_.content())  // which the items are not, to the bit
        tensors.insert_or_assign(kDifferences, TensorSource({DType::f32, {model_.V(), model_.config().dim}},
                                                            [this](std::size_t first, std::span<std::byte> block) {
                                                              model_.differences().read(first, block);
                                                            }));
      for (auto& [name, shape] : model_.shapes())
        tensors.insert_or_assign("best/" + name, TensorSource({DType::f32, shape}, best_.at(name).data()));
    }
    const Json state{{"phase", phase_ == Phase::refit ? "refit" : "select"},
                     {"epoch", epoch_},
                     {"position", position_},
                     {"steps", optimizer_->steps()},
                     {"loss_sum", loss_sum_},
                     {"weight_sum", weight_sum_},
                     {"epoch_seconds", epoch_seconds_},
                     {"best_value", best_value_},
                     {"report", Json::parse(to_json(report()))}};
    write_safetensors(options_.checkpoint, tensors, {{"run", identity().dump()}, {"state", state.dump()}});
    last_checkpoint_ = Clock::now();
  }

  void restore() {
    const Safetensors file(options_.checkpoint);
    const auto run = file.metadata().find("run"), state_text = file.metadata().find("state");
    require(run != file.metadata().end() && state_text != file.metadata().end(),
            "train: ", options_.checkpoint.string(), " is not a checkpoint of stamp; name another file");
    if (Json::parse(run->second) != identity())
      throw CheckpointMismatch(
          concat("train: checkpoint ", options_.checkpoint.string(),
                 " belongs to other data, options or device; remove it to train anew, or name another file"));
    const auto state = Json::parse(state_text->second);
    phase_ = state.at("phase") == "refit" ? Phase::refit : Phase::select;
    epoch_ = state.at("epoch").get<std::int64_t>();
    position_ = state.at("position").get<std::int64_t>();
    optimizer_->set_steps(state.at("steps").get<std::int64_t>());
    loss_sum_ = state.at("loss_sum").get<double>();
    weight_sum_ = state.at("weight_sum").get<double>();
    epoch_seconds_ = state.at("epoch_seconds").get<double>();
    best_value_ = state.at("best_value").get<double>();
    const auto& report = state.at("report");
    report_.best_epoch = report.at("best_epoch").get<std::int64_t>();
    report_.seconds = report.at("seconds").get<double>();
    report_.examples_per_second = speed_ = report.at("examples_per_second").get<double>();
    report_.examples = report.at("examples").get<std::int64_t>();
    report_.calibration_examples = report.at("calibration_examples").get<std::int64_t>();
    for (const Json& epoch : report.at("epochs").elements()) {
      Epoch past{.epoch = epoch.at("epoch").get<std::int64_t>(),
                 .loss = epoch.at("loss").get<double>(),
                 .seconds = epoch.at("seconds").get<double>(),
                 .validation = {}};
      if (const Json* validation = epoch.find("validation")) past.validation = metrics_from_json(validation->dump());
      report_.epochs.push_back(past);
    }
    report_.resumed = true;
    report_.device = report.value("device", "").text();
    report_.precision = precision_from_string(report.value("precision", "auto").text());
    const std::string& stopped = report.at("stopped").text();
    if (stopped == "finished" || stopped == "patience") report_.stopped = stopped;
    model_.load(file, "weights/");
    if (complete()) return;
    optimizer_->moment1().load(file, "moment1/");
    optimizer_->moment2().load(file, "moment2/");
    if (model_.content()) model_.differences().upload(file.f32(kDifferences, {model_.V(), model_.config().dim}));
    for (auto& [name, shape] : model_.shapes()) {
      const auto values = file.f32("best/" + name, shape);
      best_[name].assign(values.begin(), values.end());
    }
    if (phase_ == Phase::refit) {
      auto examples = example_targets(sessions_, config_.min_history);
      best_successors_ = count_successors(sessions_.faded(config_.oldest_weight), hold_out_of(sessions_, examples));
    }
  }

  // Equal for runs that may continue each other. The time between checkpoints may differ; the bound of the workspace
  // may not: exponentials that are kept and ones that are recomputed differ in their last bits.
  Json identity() const {
    auto train = Json::parse(to_json(config_));
    train.erase("checkpoint_seconds");
    return Json{{"model", Json::parse(to_json(model_.config()))},
                {"content", model_.content() ? model_.content()->fingerprint() : std::uint64_t{0}},
                {"train", train},
                {"products", model_.V()},
                {"refit", options_.refit},
                {"initial", initial_checksums_},
                {"device", kind_of_device(model_.device()->name())},
                {"precision", to_string(model_.device()->precision())},
                {"data", fingerprint_}};
  }

  Model& model_;
  const Sessions& sessions_;
  const TrainConfig config_;
  const TrainOptions& options_;
  const Monitor monitor_;
  std::uint64_t fingerprint_;
  std::unique_ptr<Optimizer> optimizer_;
  TrainReport report_;

  const Clock::time_point start_ = Clock::now();
  Phase phase_ = Phase::select;
  std::int64_t epoch_ = 0, position_ = 0;  // position_: batches of this epoch that are done
  double loss_sum_ = 0, weight_sum_ = 0, epoch_seconds_ = 0, speed_ = 0;
  double largest_weight_ = 1;  // of an example, where its batch's are 1 on average
  double best_value_ = -1;     // below any metric
  std::map<std::string, std::vector<float>> best_;
  std::shared_ptr<const Successors> best_successors_;  // of the selection
  std::map<std::string, std::vector<float>> initial_;  // that a warm refit begins with
  std::string initial_checksums_;                      // of all of them; empty where they follow from the seed
  Clock::time_point last_progress_{}, last_wait_{}, last_checkpoint_ = Clock::now();
};

// Of sessions to train on.
void check_rows(const Sessions& sessions, std::int64_t V) {
  require(sessions.max_item() < V, "train: a session holds product ", sessions.max_item(), ", expected rows below ", V);
}

}  // namespace

void TrainConfig::validate() const {
  optimizer.validate();
  require(epochs >= 1 && epochs <= 1'000'000, "epochs is ", epochs, ", expected 1 to 1000000");
  require(batch_size >= 1 && batch_size <= 1'000'000, "batch_size is ", batch_size, ", expected 1 to 1000000");
  require(min_history >= 1, "min_history is ", min_history, ", expected 1 or more");
  require(oldest_weight >= 0.001f && oldest_weight <= 1, "oldest_weight is ", oldest_weight,
          ", expected 0.001 to 1 (of what the newest session weighs)");
  require(calibration >= 0, "calibration is ", calibration, ", expected 0 (none) or more examples");
  require(patience >= 0, "patience is ", patience, ", expected 0 (off) or more");
  require(checkpoint_seconds >= 0, "checkpoint_seconds is ", checkpoint_seconds, ", expected 0 or more");
  parse_monitor(monitor);
}

TrainReport train(Model& model, const Sessions& sessions, const TrainConfig& config, const TrainOptions& options) {
  config.validate();
  check_rows(sessions, model.V());
  for (std::int32_t item : sessions.items())
    require(item >= 0, "train: a session holds an unknown product (row ", item, "); training needs rows from 0");
  require(options.validation || !options.refit, "train: refit needs validation sessions to choose the epochs by");
  require(options.validation || config.patience == 0, "train: patience needs validation sessions to judge by");
  require(!example_targets(sessions, config.min_history).empty(), "train: no example in ", sessions.size(),
          " sessions; an example is an event of a weight above 0 with ", config.min_history,
          " or more before it in its session");
  if (options.validation)
    require(!example_targets(*options.validation, config.min_history).empty(), "train: no example in the ",
            options.validation->size(), " validation sessions");
  if (options.refit) check_rows(*options.validation, model.V());
  if (!options.checkpoint.empty()) check_file(options.checkpoint);
  return Run(model, sessions, config, options).run();
}

}  // namespace stamp
