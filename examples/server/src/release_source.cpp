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
constexpr const char* kDescription = "release.json";
constexpr std::int64_t kSkew = 300'000;  // ms that clocks may differ by

// Null where there is none.
nlohmann::json read_description(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return nullptr;
  return nlohmann::json::parse(stamp::read_file(file), nullptr, false);
}

std::string name_of(const std::filesystem::path& bundle) {
  const std::filesystem::path file = bundle / kDescription;
  const auto release = read_description(file);
  if (release.is_null()) return std::filesystem::canonical(bundle).filename();
  if (!release.is_object() || !release.contains("release") || !release["release"].is_string())
    throw std::invalid_argument(file.string() + ": {\"release\": NAME} is expected");
  return release["release"];
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
    return {name_of(directory_), directory_, "", state};
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
  return {name, directory_ / "releases" / name, digest, name + '\n' + digest};
}

std::int64_t products_time_of(const std::filesystem::path& bundle) {
  const std::filesystem::path file = bundle / kDescription;
  const auto release = read_description(file);
  if (!release.is_object() || !release.contains("products_time")) return 0;
  const auto wrong = [&](const std::string& what) {
    return std::invalid_argument(file.string() + ": products_time: " + what);
  };
  if (!release["products_time"].is_string()) throw wrong("is no string; \"2026-11-28T02:00:00Z\" is expected");
  std::int64_t time;
  try {
    time = parse_time(release["products_time"].get<std::string>());
  } catch (const std::invalid_argument& error) {
    throw wrong(error.what());
  }
  if (time > now_ms() + kSkew) throw wrong(format_time(time) + " is in the future; it is " + format_time(now_ms()));
  return time;
}

}  // namespace server
