#include "exposure_log.h"

#include <fcntl.h>
#include <unistd.h>

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
  try {
    open();
  } catch (const std::exception& why) {
    throw std::runtime_error("exposures.directory: " + current().string() + " cannot be written: " + why.what());
  }
  writer_ = std::thread([this] { run(); });
}

ExposureLog::~ExposureLog() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  some_.notify_one();
  writer_.join();
  if (file_ >= 0) ::close(file_);
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

// A process that was killed may have left half a line, which goes.
void ExposureLog::open() {
  file_ = ::open(current().c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) throw std::runtime_error(std::strerror(errno));
  bytes_ = ::lseek(file_, 0, SEEK_END);
  for (char last = 0; bytes_ > 0; --bytes_)
    if (::pread(file_, &last, 1, bytes_ - 1) == 1 && last == '\n') break;
  if (::ftruncate(file_, bytes_) != 0) throw std::runtime_error(std::strerror(errno));
}

void ExposureLog::write(const std::string& lines) {
  if (file_ < 0)
    open();
  else if (bytes_ >= options_.file_bytes)
    rotate();
  for (std::size_t at = 0; at < lines.size();) {
    const ssize_t n = ::write(file_, lines.data() + at, lines.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {  // a full disk: of what was written nothing is left, and the next lines stand where these would
      const std::string why = std::strerror(errno);
      if (::ftruncate(file_, bytes_) != 0) ::close(std::exchange(file_, -1));
      throw std::runtime_error(why);
    }
    at += static_cast<std::size_t>(n);
  }
  bytes_ += static_cast<std::int64_t>(lines.size());
}

void ExposureLog::rotate() {
  namespace fs = std::filesystem;
  ::close(std::exchange(file_, -1));
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
  open();
}

}  // namespace server
