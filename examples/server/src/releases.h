// What is served: a bundle under its name, and the one before it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "stamp/recommender.h"

namespace server {

// A loaded release. Requests hold it while they are answered.
struct Serving {
  Serving(const std::filesystem::path& path, const stamp::ReleaseOptions& options);

  std::string name;  // "release" in the bundle's release.json, else the directory's name
  std::filesystem::path path;
  std::int64_t since;  // ms
  stamp::Recommender recommender;
  stamp::Catalog::Kind kind;
  std::vector<std::string> zones;  // sorted

  bool has_zone(const std::string& zone) const;
};

class Releases {
 public:
  // Loads the bundle; throws as stamp::Recommender does.
  Releases(const std::filesystem::path& bundle, const stamp::ReleaseOptions& options);

  std::shared_ptr<Serving> current() const;

 private:
  mutable std::mutex mutex_;  // held for a moment
  std::shared_ptr<Serving> current_;
};

}  // namespace server
