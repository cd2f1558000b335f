// How many products a request scores from the rows themselves, because bounds leave them.
//
//   bench_candidates bundle PATH HISTORIES         a trained model; histories: rows of the catalog, one history a line
//   bench_candidates TABLE PRODUCTS DIM QUERIES    a table of tables.h, rows normalized
//
// A line of JSON for each k and magnitude of a query's integers: `share` of the products, the mean over the queries,
// and the largest, `most`. Each request scans the whole catalog, as on one core. Floors of repeats are left out: they
// raise the k-th best, so that bounds leave less.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "benchmarks/serving/tables.h"
#include "kernels/cpu/catalog_scan.h"
#include "stamp/bundle.h"

namespace {

using stamp::cpu::BlockScan;
using stamp::cpu::Gemm8;
using stamp::cpu::Index;
using stamp::cpu::Int8Table;

struct Problem {
  std::int64_t V, D, B;
  const float* queries;  // [B,D]
  stamp::ItemRows items;
};

// Scores that were made for each query.
std::vector<Index> count(const Problem& p, const std::byte* packed, Index k, std::int32_t largest, Index digits) {
  const Int8Table table(packed, p.V, p.D);
  const Index width = Int8Table::groups(p.D) * Gemm8::kGroup;
  std::vector<std::int8_t> integers(static_cast<std::size_t>(p.B * digits * width));
  std::vector<stamp::cpu::QuantizedQuery> quantized;
  for (Index b = 0; b < p.B; ++b) {
    std::int8_t* values = integers.data() + b * digits * width;
    quantized.push_back(
        stamp::cpu::quantize_query(p.D, p.queries + b * p.D, largest, values, digits == 2 ? values + width : nullptr));
  }
  const std::vector<float> no_targets(static_cast<std::size_t>(p.B), std::numeric_limits<float>::quiet_NaN());
  const stamp::CatalogTopK problem{
      .B = p.B, .D = p.D, .V = p.V, .k = k, .queries = p.queries, .items = p.items, .ids = nullptr, .scores = nullptr};
  const stamp::cpu::ExactScores exact(problem);
  const stamp::cpu::CatalogScan scan{problem, exact,           no_targets.data(), &table,
                                     digits,  integers.data(), quantized.data()};

  std::vector<Index> scored;
  std::vector<stamp::cpu::Scored> kept(
      static_cast<std::size_t>(BlockScan::kQueries * BlockScan::BestScored::room(k, p.V)));
  for (Index first = 0; first < p.B; first += BlockScan::kQueries) {
    const Index n = std::min(BlockScan::kQueries, p.B - first);
    BlockScan block(scan, first, n, k, kept.data());
    block.run(0, p.V);
    for (Index r = 0; r < n; ++r) scored.push_back(block.scored(r));
  }
  return scored;
}

void report(const char* name, const Problem& p) {
  const auto device = stamp::open_device("cpu");
  stamp::Array<std::byte> packed(device, device->packed_size(p.V, p.D));
  device->pack_items(p.V, p.D, p.items, packed.data());
  for (const Index k : {20, 100})
    for (const auto& [largest, digits] : {std::pair<std::int32_t, Index>{stamp::cpu::kAnyByte, 2},
                                          {stamp::cpu::kAnyByte, 1},
                                          {stamp::cpu::kNoSaturation, 1}}) {
      double sum = 0, most = 0;
      for (const Index scored : count(p, packed.data(), k, largest, digits)) {
        const double share = static_cast<double>(scored) / static_cast<double>(p.V);
        sum += share / static_cast<double>(p.B);
        most = std::max(most, share);
      }
      std::printf(
          R"({"table": "%s", "products": %lld, "dim": %lld, "queries": %lld, "k": %lld, "largest": %d, "digits": %d, )"
          R"("share": %.6g, "most": %.6g})"
          "\n",
          name, static_cast<long long>(p.V), static_cast<long long>(p.D), static_cast<long long>(p.B),
          static_cast<long long>(k), largest, static_cast<int>(digits), sum, most);
    }
}

// Queries of histories, one at least.
stamp::Activations encode(const stamp::Model& model, const char* histories) {
  std::ifstream file(histories);
  stamp::require(file.is_open(), "bench_candidates: cannot read ", histories);
  stamp::Batch batch;
  for (std::string line; std::getline(file, line);) {
    std::istringstream rows(line);
    batch.add_history(std::vector<std::int32_t>(std::istream_iterator<std::int32_t>(rows), {}));
  }
  stamp::Activations activations(model.device());
  activations.upload(batch, model.config());
  model.forward(*model.device(), activations);
  return activations;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  // Counts are the same for every instruction set, and this one multiplies integers of either magnitude.
  setenv("STAMP_CPU_ISA", "baseline", 1);
  if (name == "bundle" && argc == 4) {
    const stamp::Bundle bundle = stamp::load_bundle(argv[2], stamp::open_device("cpu"));
    const stamp::Model& model = *bundle.clusters.at(0).model;
    const stamp::Activations activations = encode(model, argv[3]);
    report(argv[1], {model.V(), model.config().dim, activations.B, activations.q.data(), model.item_rows()});
  } else if (name != "bundle" && argc == 5) {
    const std::int64_t V = std::atoll(argv[2]), D = std::atoll(argv[3]), B = std::atoll(argv[4]);
    const std::vector<float> rows = bench::table(name, V, D), queries = bench::queries(name, B, D);
    report(argv[1], {V, D, B, queries.data(), {rows.data(), nullptr, true}});
  } else {
    std::fprintf(stderr, "usage: %s bundle PATH HISTORIES | TABLE PRODUCTS DIM QUERIES\n", argv[0]);
    return 2;
  }
}
