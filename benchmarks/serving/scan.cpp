// Exact lists by the scan of 8 bits beside the scan in single precision that it replaced, on one thread and in turns.
//
//   bench_scan PRODUCTS DIM ROUNDS
//
// A line of JSON for each case, medians: `fp32_ms` and `ms` of a call, `ratio` of neighbours. Lists that differ in a
// bit end it. `state_fp32` and `state`: bytes a product in memory, rows included.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "benchmarks/serving/fp32_scan.h"
#include "benchmarks/serving/tables.h"
#include "stamp/tensor.h"

namespace {

using Clock = std::chrono::steady_clock;
using bench::Index;

constexpr double kSampleMs = 20;

struct Lists {
  Lists(Index B, Index k) : ids(static_cast<std::size_t>(B * k)), scores(ids.size()) {}
  bool operator==(const Lists& other) const {
    return ids == other.ids && !std::memcmp(scores.data(), other.scores.data(), scores.size() * sizeof(float));
  }
  std::vector<std::int32_t> ids;
  std::vector<float> scores;
};

template <class Call>
double ms_of(int repeats, const Call& call) {
  const auto start = Clock::now();
  for (int i = 0; i < repeats; ++i) call();
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count() / repeats;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

class Table {
 public:
  Table(std::string_view name, Index V, Index D)
      : name_(name),
        V_(V),
        D_(D),
        device_(stamp::open_device("cpu", {.threads = 1})),
        rows_(bench::table(name, V, D)),
        inverse_norms_(inverse_norms()),
        packed_(device_, device_->packed_size(V, D)),
        fp32_(V, D, rows_.data(), inverse_norms_.data()) {
    device_->pack_items(V, D, items(), packed_.data());
  }

  // False where the lists differ.
  bool measure(Index B, Index k, int rounds) const {
    const std::vector<float> queries = bench::queries(name_, B, D_);
    Lists expected(B, k), found(B, k);
    const auto by_fp32 = [&] { fp32_.top_k(B, k, queries.data(), expected.ids.data(), expected.scores.data()); };
    const auto by_bounds = [&] {
      device_->catalog_top_k({.B = B,
                              .D = D_,
                              .V = V_,
                              .k = k,
                              .queries = queries.data(),
                              .items = items(),
                              .packed = packed_.data(),
                              .ids = found.ids.data(),
                              .scores = found.scores.data()});
    };
    by_fp32();
    by_bounds();
    if (!(found == expected)) return false;
    const auto repeats = [&](double ms) { return std::max(1, static_cast<int>(kSampleMs / ms)); };
    const int of_fp32 = repeats(ms_of(1, by_fp32)), of_bounds = repeats(ms_of(1, by_bounds));
    std::vector<double> fp32, ours, ratios;
    for (int round = 0; round < rounds; ++round) {
      fp32.push_back(ms_of(of_fp32, by_fp32));
      ours.push_back(ms_of(of_bounds, by_bounds));
      ratios.push_back(fp32.back() / ours.back());
    }
    const auto V = static_cast<double>(V_);
    std::printf(
        R"({"table": "%.*s", "products": %lld, "dim": %lld, "batch": %lld, "k": %lld, "isa": "%s", "fp32_ms": %.4f, )"
        R"("ms": %.4f, "ratio": %.3f, "state_fp32": %.1f, "state": %.1f})"
        "\n",
        static_cast<int>(name_.size()), name_.data(), static_cast<long long>(V_), static_cast<long long>(D_),
        static_cast<long long>(B), static_cast<long long>(k), stamp::cpu_isa().c_str(), median(fp32), median(ours),
        median(ratios), static_cast<double>(fp32_.bytes()) / V + 4.0 * static_cast<double>(D_),
        static_cast<double>(packed_.size()) / V + 4.0 * static_cast<double>(D_ + 1));
    std::fflush(stdout);
    return true;
  }

 private:
  stamp::ItemRows items() const { return {rows_.data(), nullptr, true, inverse_norms_.data()}; }
  std::vector<float> inverse_norms() const {
    std::vector<float> norms(static_cast<std::size_t>(V_));
    device_->inverse_norms(V_, D_, {rows_.data()}, norms.data());
    return norms;
  }

  std::string_view name_;
  Index V_, D_;
  std::shared_ptr<stamp::Device> device_;
  std::vector<float> rows_, inverse_norms_;
  stamp::Array<std::byte> packed_;
  bench::Fp32Scan fp32_;
};

struct Case {
  Index batch, k;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s PRODUCTS DIM ROUNDS\n", argv[0]);
    return 2;
  }
  const Index V = std::atoll(argv[1]), D = std::atoll(argv[2]);
  const std::vector<Case> usual = {{1, 20}, {64, 20}, {1, 1000}, {64, 1000}}, worst = {{1, 20}, {64, 20}};
  for (std::string_view name : {bench::kRandom, bench::kEqual, bench::kAlike, bench::kZero}) {
    const Table table(name, V, D);
    for (const auto& [batch, k] : name == bench::kRandom ? usual : worst)
      if (!table.measure(batch, k, std::atoi(argv[3]))) {
        std::fprintf(stderr, "%s, %lld requests for %lld: the lists differ\n", name.data(),
                     static_cast<long long>(batch), static_cast<long long>(k));
        return 1;
      }
  }
}
