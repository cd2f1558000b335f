// What the kernel benchmarks share: a work bench with a device, a stream of its own, and one way to verify and to time.
//
// Every variant of a problem is checked against the CPU device, the oracle, at the very size that is timed. Time is
// that of N times (flush the second-level cache; work) less that of N times the flush, by the host's clock round one
// wait: the device's own stream is nobody else's business, so events cannot be recorded in it, and launches hide behind
// the flush. The median of several rounds is printed, a line of JSON a variant; benchmarks/kernels.py adds where and
// when.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/launch.h"
#include "stamp/tensor.h"

namespace bench {

using stamp::Array, stamp::Device, stamp::Precision, stamp::cuda::blocks_for, stamp::cuda::check, stamp::cuda::launch;
using Index = std::int64_t;
using Work = std::function<void()>;
using DevicePtr = std::shared_ptr<Device>;

constexpr int kThreads = 256;

// The least that a problem takes: flops at the rate of `unit`, bytes of device memory.
struct Least {
  double flops, bytes;
  const char* unit;  // "fp32", "tf32", "bf16"
};

class Bench {
 public:
  // PROGRAM [DEVICE [--tiny]]: the sizes of --tiny are for a rehearsal on the simulator.
  Bench(const char* group, int argc, char** argv)
      : group_(group), name_(argc > 1 ? argv[1] : "cuda"), tiny_(argc > 2 && std::strcmp(argv[2], "--tiny") == 0) {
    memory_ = open(Precision::fp32);
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
    flushed_ = Array<char>(memory_, tiny_ ? 64 : 192 << 20);  // more than any second-level cache of today
  }

  bool tiny() const { return tiny_; }
  cudaStream_t stream() const { return stream_; }
  const DevicePtr& memory() const { return memory_; }  // where arrays are
  DevicePtr open(Precision precision) const { return stamp::open_device(name_, {.precision = precision}); }

  // Memory that is there for both streams.
  template <class T = float>
  Array<T> array(Index n) const {
    Array<T> array(memory_, n);
    memory_->synchronize();
    return array;
  }
  template <class T>
  Array<T> upload(const std::vector<T>& values) const {
    Array<T> array(memory_, 0);
    array.upload(values);
    memory_->synchronize();
    return array;
  }

  // Calls work and waits for it.
  void once(const Work& work) const {
    work();
    check(cudaStreamSynchronize(stream_), "work");
  }

  // Times work in the stream of this bench, or in that of `device`, recorded as a step of training is.
  void time(const std::string& variant, const std::string& shape, Least least, double error, const Work& work) {
    const Work flush = [this] {
      check(cudaMemsetAsync(flushed_.data(), 0, static_cast<std::size_t>(flushed_.size()), stream_), "flush");
    };
    report(variant, shape, least, error,
           median(flush, work, [this] { check(cudaStreamSynchronize(stream_), "wait"); }));
  }
  void time(const std::string& variant, const std::string& shape, Least least, double error, Device& device,
            const Work& work) {
    const auto recorder = device.recorder();
    report(variant, shape, least, error,
           median([&] { device.zero(flushed_.data(), static_cast<std::size_t>(flushed_.size())); },
                  [&] { recorder->run(1, work); }, [&] { device.synchronize(); }));
  }

 private:
  double median(const Work& flush, const Work& work, const Work& wait) const {
    const auto seconds = [&](int repeats, const Work& both) {
      wait();
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < repeats; ++i) both();
      wait();
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / repeats;
    };
    for (int i = 0; i < 3; ++i) work();  // a recorder has recorded it by then
    const double once = seconds(1, work);
    const int repeats = tiny_ ? 1 : std::clamp(static_cast<int>(0.02 / once), 1, 20), rounds = tiny_ ? 1 : 15;
    std::vector<double> times;
    for (int i = 0; i < rounds; ++i) {
      const double with = seconds(repeats, [&] { flush(), work(); });
      times.push_back(with - seconds(repeats, flush));
    }
    std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
    return times[static_cast<std::size_t>(rounds / 2)];
  }

  void report(const std::string& variant, const std::string& shape, Least least, double error, double seconds) const {
    std::printf(
        "{\"group\": \"%s\", \"variant\": \"%s\", \"shape\": \"%s\", \"us\": %.3f, \"flops\": %.0f, \"bytes\": %.0f, "
        "\"unit\": \"%s\", \"error\": %.3g}\n",
        group_, variant.c_str(), shape.c_str(), 1e6 * seconds, least.flops, least.bytes, least.unit, error);
    std::fflush(stdout);
  }

  const char* group_;
  std::string name_;
  bool tiny_;
  DevicePtr memory_;
  cudaStream_t stream_ = nullptr;
  Array<char> flushed_;
};

inline std::vector<float> random(Index n, double std, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, static_cast<float>(std));
  std::vector<float> values(static_cast<std::size_t>(n));
  for (auto& value : values) value = normal(engine);
  return values;
}

inline std::vector<std::int32_t> random_rows(Index n, Index V, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_int_distribution<std::int32_t> row(0, static_cast<std::int32_t>(V - 1));
  std::vector<std::int32_t> rows(static_cast<std::size_t>(n));
  for (auto& value : rows) value = row(engine);
  return rows;
}

// |actual - expected| / |expected|, of whole vectors. Throws beyond `bound`, and for NaN.
template <class T>
double verify(const std::string& what, const std::vector<T>& actual, const std::vector<T>& expected, double bound) {
  double difference = 0, length = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double e = static_cast<double>(expected[i]), d = static_cast<double>(actual.at(i)) - e;
    difference += d * d;
    length += e * e;
  }
  const double error = std::sqrt(difference / std::max(length, 1e-30));
  if (!(error <= bound)) stamp::fail(what, " is off by ", error, ", expected ", bound, " at most");
  return error;
}

inline double bound_of(Precision precision) {
  return precision == Precision::bf16 ? 2e-2 : precision == Precision::tf32 ? 2e-3 : 1e-4;
}
inline const char* name_of(Precision precision) {
  return precision == Precision::bf16 ? "bf16" : precision == Precision::tf32 ? "tf32" : "fp32";
}

// What main of a benchmark does: its sizes one after another, errors said.
template <class F>
int run(const char* group, int argc, char** argv, F&& measure) {
  try {
    Bench bench(group, argc, argv);
    measure(bench);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", group, error.what());
    return 1;
  }
}

}  // namespace bench
