#include "experiments.h"

#include <algorithm>
#include <set>
#include <stdexcept>

#include "sha256.h"

namespace server {

namespace {

constexpr int kWhole = 10000;

// Names stand in metrics and tokens.
void check_name(const std::string& name, const std::string& way, std::set<std::string>& others) {
  constexpr std::string_view kSigns = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  if (name.empty()) throw std::invalid_argument(way + ".name: is missing");
  if (name.size() > 64 || name.find_first_not_of(kSigns) != name.npos)
    throw std::invalid_argument(way + ".name: \"" + name + "\"; letters, digits, _, - and . are expected, 64 at most");
  if (!others.insert(name).second) throw std::invalid_argument(way + ".name: there are two of \"" + name + '"');
}

void check_one(const ExperimentOptions& experiment, const std::string& way, std::set<std::string>& experiments) {
  check_name(experiment.name, way, experiments);
  std::set<std::string> names;
  int share = 0;
  for (std::size_t i = 0; i < experiment.arms.size(); ++i) {
    const ArmOptions& arm = experiment.arms[i];
    check_name(arm.name, way + ".arms[" + std::to_string(i) + "]", names);
    if (!arm.zone.empty() && experiment.zones.size() != 1)
      throw std::invalid_argument(way + ".arms: arm \"" + arm.name +
                                  "\" has a zone; then the experiment is about one zone");
    share += arm.share;
  }
  if (experiment.arms.empty() || share > kWhole)
    throw std::invalid_argument(way + ".arms: shares add up to " + std::to_string(share) + "; 1 to 10000 are expected");
}

}  // namespace

int bucket_of(std::string_view salt, std::string_view visitor) {
  std::string text(salt);
  text += '\0';
  text += visitor;
  const Sha256::Bytes hash = sha256(text);
  std::uint64_t first = 0;
  for (int i = 0; i < 8; ++i) first = first << 8 | hash[i];
  return static_cast<int>(first % kWhole);
}

void Experiments::check(const std::vector<ExperimentOptions>& options) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < options.size(); ++i)
    check_one(options[i], "experiments[" + std::to_string(i) + "]", names);
}

Experiments::Experiments(std::vector<ExperimentOptions> options, const stamp::ReleaseOptions& release,
                         Inventory* inventory)
    : options_(std::move(options)) {
  check(options_);
  for (ExperimentOptions& experiment : options_) {
    if (experiment.salt.empty()) experiment.salt = experiment.name;
    auto& serving = serving_.emplace_back();
    for (const ArmOptions& arm : experiment.arms) {
      if (arm.bundle.empty()) {
        serving.push_back(nullptr);
        continue;
      }
      const ReleaseSource source = ReleaseSource::bundle(arm.bundle);
      serving.push_back(load_serving(source.wanted(source.state()), release, inventory));
    }
  }
}

Assignment Experiments::assign(std::string_view visitor, std::string_view zone) const {
  if (visitor.empty()) return {};
  for (std::size_t i = 0; i < options_.size(); ++i) {
    const ExperimentOptions& experiment = options_[i];
    if (!experiment.zones.empty() && std::ranges::find(experiment.zones, zone) == experiment.zones.end()) continue;
    int bucket = bucket_of(experiment.salt, visitor);
    for (std::size_t arm = 0; arm < experiment.arms.size(); bucket -= experiment.arms[arm++].share)
      if (bucket < experiment.arms[arm].share) return {&experiment, &experiment.arms[arm], serving_[i][arm]};
    return {};
  }
  return {};
}

}  // namespace server
