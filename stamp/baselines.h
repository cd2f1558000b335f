// Baselines: recommenders without a network, which a model must beat and which a bundle may fall back on.
// docs/baselines.md defines each, with its source; popularity.h, item_rules.h and session_knn.h fit them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "stamp/lists.h"
#include "stamp/metrics.h"

namespace stamp {

// Immutable and thread-safe, over products 0 … V-1.
class STAMP_API Baseline {
 public:
  // Room that a call of score needs and the next one uses again.
  struct Scratch {
    virtual ~Scratch() = default;
  };

  virtual ~Baseline() = default;
  std::int64_t V() const { return V_; }
  // "popularity", "session_popularity", "association_rules", "sequential_rules", "item_knn" or "session_knn".
  const std::string& kind() const { return kind_; }
  // JSON: what it was fitted with.
  const std::string& options() const { return options_; }

  // Whether it says anything of sessions without a known event.
  virtual bool needs_history() const { return true; }
  // history: rows of 0 … V-1, the current product last. `scratch` is this baseline's. Nothing where it has no product
  // for this history.
  virtual ScoredProducts score(std::span<const std::int32_t> history, Scratch& scratch) const = 0;
  virtual std::unique_ptr<Scratch> scratch() const { return std::make_unique<Scratch>(); }

  // What a file keeps; the sources view this object's memory.
  virtual std::map<std::string, TensorSource> tensors() const = 0;
  // The same baseline over a catalog of V products; rows[v] is the row of product v there. Products that it does not
  // know are never listed.
  virtual std::shared_ptr<const Baseline> in_catalog(std::span<const std::int32_t> rows, std::int64_t V) const = 0;

 protected:
  Baseline(std::int64_t V, std::string kind, std::string options)
      : V_(V), kind_(std::move(kind)), options_(std::move(options)) {}

 private:
  std::int64_t V_;
  std::string kind_, options_;
};

// One safetensors file. load_baseline throws std::runtime_error that names what is wrong with it.
STAMP_API void save_baseline(const std::filesystem::path& path, const Baseline& baseline);
// `name` is what messages call the file, where that is not its path.
STAMP_API std::shared_ptr<const Baseline> load_baseline(const std::filesystem::path& path,
                                                        const std::string& name = {});

// Ranks what a baseline scores, on all cores; a target that it does not score is never listed.
STAMP_API std::unique_ptr<Ranker> baseline_ranker(std::shared_ptr<const Baseline> baseline);

// How much an event counts by its distance i = 1, 2, … from the one that is looked at: 1; 1/i; 1 - i/10, 0 from 10 on;
// 1/log10(i + 1.7); 1/i².
enum class Decay { same, div, linear, log, quadratic };
STAMP_API float decayed(Decay decay, std::int64_t distance);

// That rows are of 0 … V-1, no two the same, and as many as what in_catalog is given has products.
STAMP_API void check_moved(std::span<const std::int32_t> rows, std::int64_t products, std::int64_t V);

}  // namespace stamp
