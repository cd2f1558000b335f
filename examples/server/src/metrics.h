// Counters and histograms that threads add to without waiting for each other, as text for Prometheus
// (https://prometheus.io/docs/instrumenting/exposition_formats).
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace server {

// A sum in pieces: each thread adds to its own.
class Sum {
 public:
  void add(std::uint64_t n = 1) { cells_[cell()].value.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t value() const;

 private:
  static constexpr std::size_t kCells = 16;
  static std::size_t cell();
  struct alignas(64) Cell {
    std::atomic<std::uint64_t> value{0};
  };
  std::array<Cell, kCells> cells_;
};

// Of durations or of shares, which are counted in millionths of a second or of the whole.
class Histogram {
 public:
  // Where buckets end: from 50 µs to 10 s, and from none to all.
  static constexpr std::array<int, 18> kTimes{50,   100,  200,  300,   500,   700,   1000,   1500,    2000,
                                              3000, 5000, 7000, 10000, 20000, 50000, 100000, 1000000, 10000000};
  static constexpr std::array<int, 11> kShares{0,      100000, 200000, 300000, 400000, 500000,
                                               600000, 700000, 800000, 900000, 1000000};

  explicit Histogram(std::span<const int> edges) : edges_(edges), counts_(edges.size() + 1) {}

  void observe(std::chrono::steady_clock::duration time);
  void observe(double share);

 private:
  friend class Metrics;
  void add(std::int64_t millionths);

  std::span<const int> edges_;
  std::vector<Sum> counts_;
  Sum millionths_;
};

class Metrics {
 public:
  // Labels as they are written: path="anchor",arm="b". What is handed out lives as long as the metrics; of one name and
  // labels there is one.
  Sum& counter(const std::string& name, const std::string& help, const std::string& labels = "");
  Histogram& histogram(const std::string& name, const std::string& help, const std::string& labels = "",
                       std::span<const int> edges = Histogram::kTimes);
  static std::string label(std::string_view key, std::string_view value);
  // Asked when somebody reads. Whoever it looks at must outlive the metrics' last text().
  void gauge(const std::string& name, const std::string& help, std::function<double()> value,
             const std::string& labels = "");
  // Several of one kind whose labels come and go.
  using Samples = std::vector<std::pair<std::string, double>>;  // labels and value
  void gauges(const std::string& name, const std::string& help, std::function<Samples()> values);

  std::string text() const;

 private:
  struct Entry {
    std::string name, help, labels, type;
    Sum sum = {};
    std::unique_ptr<Histogram> histogram = {};
    std::function<Samples()> values = {};
  };
  Entry& entry(const std::string& name, const std::string& help, const std::string& labels, const char* type);

  mutable std::mutex mutex_;
  std::deque<Entry> entries_;  // those of one name stand together in text()
};

}  // namespace server
