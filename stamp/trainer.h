// From sessions to a trained model: epochs, early stopping, refit, checkpoints.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stamp/metrics.h"
#include "stamp/optimizer.h"

namespace stamp {

struct STAMP_API TrainConfig {
  OptimizerConfig optimizer;
  std::int64_t epochs = 10;
  std::int64_t batch_size = 512;
  std::int64_t min_history = 1;  // an example needs at least so many events before its target
  // Of the examples and successors of the oldest session, where the newest weighs 1: Sessions::faded.
  float oldest_weight = 1;
  // Examples of whole sessions that no weight is trained on, to fit floors to (Config::repeat_floors,
  // successor_floors, second_floors), and what scores say of probabilities (calibration.h): some so many, a twentieth
  // at most.
  std::int64_t calibration = 10'000;
  std::int64_t patience = 0;       // stop after so many epochs without improvement on validation; 0: never
  std::string monitor = "mrr@20";  // "hr", "mrr" or "ndcg" with @k, on validation
  double checkpoint_seconds = 60;  // between checkpoints, where a path is given

  // The optimizer and number of epochs that go with Config::preset(name).
  static TrainConfig preset(const std::string& name);
  void validate() const;
};

struct Progress {
  std::string phase;                     // "train", "validate" or "refit"
  std::int64_t epoch, epochs;            // 1 for the first
  std::int64_t examples_done, examples;  // of this epoch
  double loss;                           // mean since the start of the epoch
  double examples_per_second;
  float learning_rate;
};

struct Epoch {
  std::int64_t epoch;  // 1 for the first
  double loss;         // mean training loss
  double seconds;
  std::optional<Metrics> validation;
};

struct TrainReport {
  std::vector<Epoch> epochs;
  std::int64_t best_epoch = 0;  // on validation, whose weights the model has, or that refit stopped at; else the last
  std::string stopped;          // "finished", "patience", "interrupted" or "diverged"
  std::string reason;           // where diverged: step, loss, learning rate
  std::int64_t steps = 0;
  std::int64_t examples = 0;              // of one epoch
  std::int64_t calibration_examples = 0;  // that fit floors and what follows, and nothing else
  float temperature = 1, tail_power = 1;  // of the model (calibration.h)
  std::int64_t longest_session = 0;       // events; of the training sessions, like the two below
  std::int64_t long_sessions = 0;         // with an example that Config::history cuts
  std::int64_t cut_examples = 0;          // whose history is longer than that
  double seconds = 0;
  double examples_per_second = 0;  // of training proper
  bool resumed = false;
  bool streamed = false;  // the sessions had no room beside the model and travelled to the device piece by piece
  std::string device;     // that trained, as open_device takes it
  Precision precision = Precision::automatic;
};

// A checkpoint of other data, options, initial weights or kind of device.
struct STAMP_API CheckpointMismatch : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// Return false to stop: the best weights so far are kept (of the selection, while the refit is under way), the latest
// where there is no validation, with the floors of the last whole epoch.
using ProgressCallback = std::function<bool(const Progress&)>;
using EpochCallback = std::function<bool(const Epoch&)>;

struct TrainOptions {
  const Sessions* validation = nullptr;  // may hold Catalog::kUnknown: misses as targets, skipped in histories
  bool refit = false;                    // then train anew on training + what validation knows, for best_epoch epochs
  bool warm_start = false;  // a refit begins with the weights that `model` came with, not with those of its seed
  // Resumed from when it exists and belongs to this data, config, kind of device and precision, and to these initial
  // weights where they are warm (CheckpointMismatch otherwise); its folder is made.
  // What stands there at the end gives the finished model back: remove it when that is saved.
  std::filesystem::path checkpoint = {};
  ProgressCallback progress = {};  // called after a batch, and at the end of each epoch
  double progress_seconds = 0.1;   // at least, between two calls
  EpochCallback on_epoch = {};     // each epoch that has been validated, of the selection; a resumed run: the new ones
};

// Trains `model` in place. Throws std::invalid_argument for data or options that cannot be: no example, a product
// outside the catalog, refit or patience without validation. Never throws for divergence: the
// weights are then those of the last good epoch, or the initial ones; see TrainReport::stopped.
STAMP_API TrainReport train(Model& model, const Sessions& sessions, const TrainConfig& config,
                            const TrainOptions& options = {});

// JSON texts of the two configurations; from_json starts from `config` and throws std::invalid_argument for an
// unknown key or a wrong type, naming it.
STAMP_API std::string to_json(const Config& config);
STAMP_API std::string to_json(const TrainConfig& config);
STAMP_API std::string to_json(const Metrics& metrics);
STAMP_API std::string to_json(const Epoch& epoch);
STAMP_API std::string to_json(const TrainReport& report);
// A report as to_json gives it, without what differs between trainings of the same model: times, speed, whether one was
// resumed, and which of several GPUs it was.
STAMP_API std::string reproducible_json(const std::string& report);
// Of to_json(Metrics).
STAMP_API Metrics metrics_from_json(const std::string& json);
STAMP_API Config config_from_json(const std::string& json, Config config = {});
STAMP_API TrainConfig train_config_from_json(const std::string& json, TrainConfig config = {});

}  // namespace stamp
