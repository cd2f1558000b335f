// What was shown to whom, for A/B tests and off-policy estimates: JSON lines in files that rotate. Requests hand a line
// over and go on; where the disk does not keep up lines are dropped and counted.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>

namespace server {

struct ExposureOptions {
  std::string directory;  // empty: no log
  std::int64_t file_bytes = 67108864;
  int files = 48;     // rotated ones that are kept; the oldest goes
  int share = 10000;  // of 10,000 visitors, by hash: whole visitors, so that a sample is one of visitors
};

class ExposureLog {
 public:
  // Throws std::runtime_error where the directory cannot be had.
  explicit ExposureLog(const ExposureOptions& options);
  ~ExposureLog();  // writes what there is

  void add(std::string line);  // without its end

  std::uint64_t written() const { return written_; }
  std::uint64_t dropped() const { return dropped_; }

 private:
  static constexpr std::size_t kWaiting = 8 << 20;  // bytes

  void run();
  void open();
  void write(const std::string& lines);
  void rotate();
  std::filesystem::path current() const;

  const ExposureOptions options_;
  std::mutex mutex_;
  std::condition_variable some_;
  std::string waiting_;
  std::uint64_t lines_waiting_ = 0;
  bool ending_ = false;
  std::atomic<std::uint64_t> written_{0}, dropped_{0};
  int file_ = -1;           // of the writer, as what follows
  std::int64_t bytes_ = 0;  // whole lines
  std::thread writer_;
};

}  // namespace server
