// Comparing arrays, random inputs, and outputs with guard bands.
#pragma once

#include <doctest/doctest.h>

#include <unistd.h>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "stamp/tensor.h"

namespace check {

// The largest difference, relative to the largest expected magnitude; infinite for NaN or another size.
template <class A, class B>
double error(const A& actual, const B& expected) {
  if (actual.size() != expected.size()) return INFINITY;
  double scale = 1e-30, worst = 0;
  for (auto value : expected) scale = std::max(scale, std::abs(static_cast<double>(value)));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    if (!(difference <= worst)) worst = std::isnan(difference) ? INFINITY : difference;
  }
  return worst / scale;
}

inline std::vector<float> random(std::size_t n, double std, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(0, std);
  std::vector<float> values(n);
  for (auto& value : values) value = static_cast<float>(normal(engine));
  return values;
}

// An output of n floats between two bands that nobody may touch.
class Guarded {
 public:
  explicit Guarded(std::size_t n) : memory_(n + 2 * kBand, kMark), n_(n) {}
  float* data() { return memory_.data() + kBand; }
  std::vector<float> values() const {
    for (std::size_t i = 0; i < kBand; ++i) REQUIRE((memory_[i] == kMark && memory_[kBand + n_ + i] == kMark));
    return {memory_.begin() + kBand, memory_.end() - kBand};
  }

 private:
  static constexpr std::size_t kBand = 1024;
  static constexpr float kMark = 12345.678f;
  std::vector<float> memory_;
  std::size_t n_;
};

// A folder of its own, removed at the end.
class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() /
              ("stamp-test-" + std::to_string(getpid()) + "-" + std::to_string(count_++))) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  static inline int count_ = 0;
  std::filesystem::path path_;
};

// Every device there is, each with one thread and with two.
inline std::vector<std::shared_ptr<stamp::Device>> devices() {
  stamp::set_num_threads(2);
  return {stamp::open_device("cpu", 1), stamp::open_device("cpu", 2)};
}

}  // namespace check
