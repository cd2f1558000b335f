// Where releases come from: the directory of one bundle, or a directory of releases with a pointer to one of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace server {

// A release that is to be served.
struct Wanted {
  std::string name;
  std::filesystem::path path;
  std::string digest;    // that its files must have (release_digest.h); empty: nobody says
  std::string identity;  // differs from that of every other release
};

//   BUNDLE/                     a bundle; its "release" in release.json is its name, else the directory is
// or
//   DIR/current.json            {"release": NAME, "digest": SHA256, "since": TIME}, written aside and renamed
//   DIR/candidate.json          the same, of what may be served next
//   DIR/releases/NAME/          a bundle
class ReleaseSource {
 public:
  static ReleaseSource bundle(std::filesystem::path bundle) { return {std::move(bundle), "manifest.json", false}; }
  static ReleaseSource current(std::filesystem::path directory) { return {std::move(directory), "current.json", true}; }
  static ReleaseSource candidate(std::filesystem::path directory) {
    return {std::move(directory), "candidate.json", true};
  }

  const std::filesystem::path& watched() const { return watched_; }  // the file whose change is a new release

  // Changes whenever there may be something else to serve; empty where there is nothing yet. Cheap. Throws
  // std::runtime_error for what cannot be looked at.
  std::string state() const;
  // What such a state means. Throws std::invalid_argument for a pointer that says no release, std::runtime_error for
  // a bundle that has no manifest any more.
  Wanted wanted(const std::string& state) const;

 private:
  ReleaseSource(std::filesystem::path directory, const char* watched, bool is_pointer);

  std::filesystem::path directory_, watched_;
  bool is_pointer_;
};

// "products_time" of a bundle's release.json, ms: what the shop knew of its products by then is in it. 0 where nobody
// says. Throws std::invalid_argument for what is no time of RFC 3339, or in the future.
std::int64_t products_time_of(const std::filesystem::path& bundle);

}  // namespace server
