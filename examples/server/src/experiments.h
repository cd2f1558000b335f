// Who sees what in an experiment. A visitor stays in one arm, on every server, as long as the salt stays.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config.h"
#include "releases.h"

namespace server {

struct Assignment {
  const ExperimentOptions* experiment = nullptr;  // null: in none
  const ArmOptions* arm = nullptr;
  std::shared_ptr<Serving> serving = nullptr;  // null: what is served
};

class Experiments {
 public:
  // Throws std::invalid_argument, with the key, for experiments or arms that cannot be.
  static void check(const std::vector<ExperimentOptions>& options);
  // Checks, and loads the bundles of arms; the inventory (null: there is none) outlives this.
  Experiments(std::vector<ExperimentOptions> options, const stamp::ReleaseOptions& release, Inventory* inventory);

  const std::vector<ExperimentOptions>& options() const { return options_; }
  // Of the first experiment that has the zone. Nobody is in one without a name.
  Assignment assign(std::string_view visitor, std::string_view zone) const;

 private:
  std::vector<ExperimentOptions> options_;
  std::vector<std::vector<std::shared_ptr<Serving>>> serving_;  // by experiment and arm
};

// 0 to 9,999: the first eight bytes of SHA-256 over salt, a zero byte and the visitor, the highest first, modulo
// 10,000.
int bucket_of(std::string_view salt, std::string_view visitor);

}  // namespace server
