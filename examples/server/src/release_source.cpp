#include "release_source.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "clock.h"
#include "stamp/files.h"

namespace server {

namespace {

constexpr off_t kMostBytes = 65536;  // of a pointer

// What release.json says, where there is one: its name, and of when its products are.
struct Description {
  std::string name;
  std::int64_t products_time = 0;
};

Description described(const std::filesystem::path& bundle) {
  const std::filesystem::path file = bundle / "release.json";
  if (!std::filesystem::exists(file)) return {std::filesystem::canonical(bundle).filename()};
  const auto release = nlohmann::json::parse(stamp::read_file(file), nullptr, false);
  if (!release.is_object() || !release.contains("release") || !release["release"].is_string())
    throw std::invalid_argument(file.string() + ": {\"release\": NAME} is expected");
  Description description{release["release"]};
  if (!release.contains("products_time")) return description;
  try {
    description.products_time = parse_time(release["products_time"].get<std::string>());
  } catch (const std::exception& error) {  // no text, or no time
    throw std::invalid_argument(file.string() + ": products_time: " + error.what());
  }
  return description;
}

bool is_digest(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

}  // namespace

ReleaseSource::ReleaseSource(std::filesystem::path directory, const char* watched, bool is_pointer)
    : directory_(std::move(directory)), watched_(directory_ / watched), is_pointer_(is_pointer) {}

std::string ReleaseSource::state() const {
  struct stat file;
  if (stat(watched_.c_str(), &file) != 0) {
    if (errno == ENOENT) return {};
    throw std::runtime_error(watched_.string() + ": " + std::strerror(errno));
  }
  if (!is_pointer_) {
    std::string state;
    for (const auto part : {static_cast<std::int64_t>(file.st_dev), static_cast<std::int64_t>(file.st_ino),
                            static_cast<std::int64_t>(file.st_size), static_cast<std::int64_t>(file.st_mtim.tv_sec),
                            static_cast<std::int64_t>(file.st_mtim.tv_nsec)})
      state += std::to_string(part) + ' ';
    return state;
  }
  if (file.st_size > kMostBytes)
    throw std::runtime_error(watched_.string() + ": has " + std::to_string(file.st_size) + " bytes, more than " +
                             std::to_string(kMostBytes));
  std::string text = stamp::read_file(watched_);
  return text.empty() ? " " : text;  // an empty pointer is one that cannot be
}

Wanted ReleaseSource::wanted(const std::string& state) const {
  if (!is_pointer_) {
    if (state.empty()) throw std::runtime_error(watched_.string() + ": does not exist");
    const Description release = described(directory_);
    return {release.name, directory_, "", state, release.products_time};
  }
  const auto fail = [&](const std::string& what) {
    throw std::invalid_argument(watched_.string() + ": " + what +
                                "; {\"release\": NAME, \"digest\": SHA256, \"since\": TIME} is expected");
  };
  const auto pointer = nlohmann::json::parse(state, nullptr, false);
  if (!pointer.is_object()) fail("is no JSON object");
  const auto text = [&](const char* key) -> std::string {
    if (!pointer.contains(key)) fail(std::string("\"") + key + "\" is missing");
    if (!pointer[key].is_string()) fail(std::string("\"") + key + "\" is no string");
    return pointer[key];
  };
  const std::string name = text("release"), digest = text("digest");
  if (name.empty() || name.front() == '.' || name.find('/') != name.npos || name.find('\0') != name.npos)
    fail("\"" + name + "\" cannot be the name of a directory in releases/");
  if (!is_digest(digest)) fail("\"digest\" is not 64 small hexadecimal digits");
  const std::filesystem::path path = directory_ / "releases" / name;
  return {name, path, digest, name + '\n' + digest, described(path).products_time};
}

}  // namespace server
