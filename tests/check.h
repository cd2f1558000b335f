// Devices to test on, arrays on them, comparing, random inputs, and outputs with guard bands.
#pragma once

#include <doctest/doctest.h>

#include <unistd.h>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "stamp/tensor.h"

namespace check {

using DevicePtr = std::shared_ptr<stamp::Device>;

// The CUDA device of this machine, or why there is none.
inline stamp::DeviceInfo cuda() {
  stamp::DeviceInfo none{"cuda", "", "no device is listed"};
  for (const auto& info : stamp::devices()) {
    if (!info.name.starts_with("cuda")) continue;
    if (info.reason.empty()) return info;
    none = info;
  }
  return none;
}

// The simulator, or why it is not there.
inline stamp::DeviceInfo simulator() {
  try {
    stamp::open_device("cuda-sim");
    return {"cuda-sim", "", ""};
  } catch (const std::runtime_error& error) {
    return {"cuda-sim", "", error.what()};
  }
}

// Opens what CUDA there is in a precision. What is missing is said once, and fails where the environment asks for it.
inline void add_cuda(std::vector<DevicePtr>& found, stamp::Precision precision) {
  static const struct {
    stamp::DeviceInfo info;
    std::string wanted;
  } all[] = {{simulator(), "STAMP_REQUIRE_CUDA_SIM"}, {cuda(), "STAMP_REQUIRE_CUDA"}};
  static std::set<std::string> said;
  for (const auto& [info, wanted] : all) {
    if (info.reason.empty()) {
      found.push_back(stamp::open_device(info.name, {.precision = precision}));
      continue;
    }
    const char* value = std::getenv(wanted.c_str());
    if (value && std::string(value) == "1") FAIL(info.name, " is required by ", wanted, " and missing: ", info.reason);
    if (said.insert(info.name).second) MESSAGE("NOT TESTED ON ", info.name, ": ", info.reason);
  }
}

// Every device there is, computing in single precision: the CPU with one thread and with two, the simulator, CUDA.
inline std::vector<DevicePtr> devices() {
  stamp::set_num_threads(2);
  std::vector<DevicePtr> found{stamp::open_device("cpu", {.threads = 1}), stamp::open_device("cpu", {.threads = 2})};
  add_cuda(found, stamp::Precision::fp32);
  return found;
}

// The CPU in bf16, with one thread and with two.
inline std::vector<DevicePtr> cpu_in_bf16() {
  stamp::set_num_threads(2);
  return {stamp::open_device("cpu", {.threads = 1, .precision = stamp::Precision::bf16}),
          stamp::open_device("cpu", {.threads = 2, .precision = stamp::Precision::bf16})};
}

// Those that trade precision for speed: the CPU in bf16, and CUDA in each of its precisions.
inline std::vector<DevicePtr> fast_devices() {
  std::vector<DevicePtr> found = cpu_in_bf16();
  for (const auto precision : {stamp::Precision::tf32, stamp::Precision::bf16}) add_cuda(found, precision);
  return found;
}

// The simulator runs the kernels a thread at a time: sizes that take the others milliseconds take it seconds.
inline bool slow(const stamp::Device& device) { return device.name() == "cuda-sim"; }

struct Tolerance {
  double gradient;  // of one kernel, relative to the largest magnitude
  double network;   // of the whole network, likewise
  double loss;      // absolute, for scores spread by about 1
  double steps;     // the losses of ten training steps, absolute, for cosine scores up to 8
};

// What rounding the operands of products may cost. A bf16 operand has 8 bits and is off by 2^-9 of itself at most, so a
// product of two by 2^-8, and sums of such errors of both signs stay near one of them: 4e-3 of the largest magnitude.
// tf32 has 11 bits: an eighth. About twice what was measured on the simulator: 6e-3, 2e-2, 9e-3, 2e-2 in bf16 and 1e-3,
// 5e-3, 1e-3, 2e-3 in tf32.
inline Tolerance tolerance(const stamp::Device& device) {
  switch (device.precision()) {
    case stamp::Precision::bf16:
      return {.gradient = 1.2e-2, .network = 4e-2, .loss = 2e-2, .steps = 4e-2};
    case stamp::Precision::tf32:
      return {.gradient = 2e-3, .network = 1e-2, .loss = 2e-3, .steps = 5e-3};
    default:
      // Sums of up to a thousand terms of both signs; through six layers 5.2e-5 at worst was measured over devices,
      // instruction sets and builds, of the attention's bias, whose gradient is what is left of terms that cancel.
      return {.gradient = 1e-5, .network = 1e-4, .loss = 1e-5, .steps = 1e-4};
  }
}

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

// A copy in the device's memory.
template <class T>
stamp::Array<T> on(const DevicePtr& device, const std::vector<T>& values) {
  stamp::Array<T> array(device, 0);
  array.upload(values);
  return array;
}

// An output in the device's memory, between two bands that nobody may touch. It starts as NaN, or as what a kernel is
// to change in place.
template <class T = float>
class Guarded {
 public:
  Guarded(const DevicePtr& device, std::int64_t n)
      : Guarded(device, std::vector<T>(n, std::is_floating_point_v<T> ? std::numeric_limits<T>::quiet_NaN() : kMark)) {}
  Guarded(const DevicePtr& device, const std::vector<T>& values) : memory_(device, 0) {
    std::vector<T> all(values.size() + 2 * kBand, kMark);
    std::copy(values.begin(), values.end(), all.begin() + kBand);
    memory_.upload(all);
  }
  T* data() { return memory_.data() + kBand; }
  std::vector<T> values() const {
    const std::vector<T> all = memory_.download();
    const auto untouched = [](T value) { return value == kMark; };
    REQUIRE(std::all_of(all.begin(), all.begin() + kBand, untouched));
    REQUIRE(std::all_of(all.end() - kBand, all.end(), untouched));
    return {all.begin() + kBand, all.end() - kBand};
  }

 private:
  static constexpr std::int64_t kBand = 1024;
  static constexpr T kMark = static_cast<T>(sizeof(T) == 1 ? 123 : 12345.678);
  stamp::Array<T> memory_;
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

}  // namespace check
