#include "releases.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "clock.h"
#include "stamp/files.h"

namespace server {

namespace {

std::string name_of(const std::filesystem::path& bundle) {
  const std::filesystem::path file = bundle / "release.json";
  if (!std::filesystem::exists(file)) return std::filesystem::canonical(bundle).filename();
  const auto release = nlohmann::json::parse(stamp::read_file(file), nullptr, false);
  if (!release.is_object() || !release.contains("release") || !release["release"].is_string())
    throw std::runtime_error(file.string() + ": {\"release\": NAME} is expected");
  return release["release"];
}

}  // namespace

Serving::Serving(const std::filesystem::path& bundle, const stamp::ReleaseOptions& options)
    : name(name_of(bundle)),
      path(bundle),
      since(now_ms()),
      recommender(bundle, options),
      kind(recommender.release()->catalog().kind()),
      zones(recommender.release()->zones()) {
  std::ranges::sort(zones);
}

bool Serving::has_zone(const std::string& zone) const { return std::ranges::binary_search(zones, zone); }

Releases::Releases(const std::filesystem::path& bundle, const stamp::ReleaseOptions& options)
    : current_(std::make_shared<Serving>(bundle, options)) {}

std::shared_ptr<Serving> Releases::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

}  // namespace server
