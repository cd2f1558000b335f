#include "exposure_log.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "clock.h"

namespace server {

namespace {

constexpr std::string_view kCurrent = "exposures.jsonl", kRotated = "exposures-";  // and a time and a number
constexpr std::chrono::milliseconds kPause{200};  // between writes: lines of a moment are written together

}  // namespace

ExposureLog::ExposureLog(const ExposureOptions& options) : options_(options) {
  std::error_code error;
  std::filesystem::create_directories(options_.directory, error);
  file_ = std::fopen(current().c_str(), "ab");
  if (!file_)
    throw std::runtime_error("exposures.directory: " + current().string() + " cannot be written: " + std::strerror(errno));
  bytes_ = static_cast<std::int64_t>(std::filesystem::file_size(current(), error));
  writer_ = std::thread([this] { run(); });
}

ExposureLog::~ExposureLog() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  some_.notify_one();
  writer_.join();
  if (file_) std::fclose(file_);
}

std::filesystem::path ExposureLog::current() const { return std::filesystem::path(options_.directory) / kCurrent; }

void ExposureLog::add(std::string line) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() + line.size() >= kWaiting) {
      ++dropped_;
      return;
    }
    waiting_ += line;
    waiting_ += '\n';
    ++lines_waiting_;
  }
  some_.notify_one();
}

void ExposureLog::run() {
  std::string lines;
  for (bool last = false; !last;) {
    std::uint64_t count;
    {
      std::unique_lock lock(mutex_);
      some_.wait(lock, [&] { return ending_ || !waiting_.empty(); });
      if (!ending_) some_.wait_for(lock, kPause, [&] { return ending_ || waiting_.size() > kWaiting / 2; });
      lines.swap(waiting_);
      count = std::exchange(lines_waiting_, 0);
      last = ending_;
    }
    if (!lines.empty()) {
      try {
        write(lines);
        written_ += count;
      } catch (const std::exception&) {  // a full disk: counted, and tried again with what comes next
        dropped_ += count;
      }
    }
    lines.clear();
  }
}

void ExposureLog::write(const std::string& lines) {
  if (!file_ || bytes_ >= options_.file_bytes) rotate();
  if (std::fwrite(lines.data(), 1, lines.size(), file_) != lines.size() || std::fflush(file_) != 0) {
    // Half a line may stand there: what follows begins in a file of its own.
    bytes_ = options_.file_bytes;
    throw std::runtime_error(std::strerror(errno));
  }
  bytes_ += static_cast<std::int64_t>(lines.size());
}

void ExposureLog::rotate() {
  namespace fs = std::filesystem;
  if (file_) std::fclose(std::exchange(file_, nullptr));
  std::string time = format_time(now_ms());  // 2026-11-28T09:30:00.250Z
  std::erase_if(time, [](char c) { return c == ':' || c == '-'; });
  fs::path name;
  for (int i = 0; i == 0 || fs::exists(name); ++i)
    name = fs::path(options_.directory) / (std::string(kRotated) + time + "-" + std::to_string(i) + ".jsonl");
  std::error_code error;
  fs::rename(current(), name, error);
  std::vector<fs::path> rotated;
  for (const fs::directory_entry& entry : fs::directory_iterator(options_.directory, error)) {
    const std::string file = entry.path().filename();
    if (file.starts_with(kRotated) && file.ends_with(".jsonl")) rotated.push_back(entry.path());
  }
  std::ranges::sort(rotated);
  for (std::size_t i = 0; i + options_.files < rotated.size(); ++i) fs::remove(rotated[i], error);
  file_ = std::fopen(current().c_str(), "ab");
  bytes_ = 0;
  if (!file_) throw std::runtime_error(std::strerror(errno));
}

}  // namespace server
