// Exact top-k over the catalog, fused with scoring. Bound by reading D + 4 bytes a product for few queries, by 2BVD
// operations on 8 bits for many.
//
// Scores of an 8-bit copy, with bounds on their error (int8_table.h), leave few products that can be among the k best,
// and those are scored from the rows themselves: no answer depends on the copy. Blocks of queries scan runs of the
// catalog (catalog_scan.h); each run keeps its own k best, and runs are merged in order.
//
// Long lists of many queries have no use for bounds: there every product is scored, as where there is no copy, and for
// more than one query where no instruction multiplies integers faster.
#include <optional>

#include "kernels/cpu/catalog_scan.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/thread_pool.h"

namespace stamp::cpu {

namespace {

constexpr Index kTwoDigits = 2;  // queries, at most, that have two: the scan waits for memory then

struct Found {  // by one run, for one query
  Index size, above, tied;
};

// Whether bounds pay for lists of k. Long lists cost them most: what may be listed is kept twice and scored row by row,
// for each query, while a panel's rows are turned round once for all. Measured: they pay up to 1 / 13 of the catalog
// for one query, 1 / 330 for 64; 1 / 18 and 1 / 650 where coarser digits leave more.
bool bounds_pay(Index B, Index V, Index k) {
  if (!gemm8().in_hardware && B > 1) return false;
  const Index queries = std::min(B, BlockScan::kQueries);
  return k * (8 + (gemm8().largest == kAnyByte ? 5 : 10) * queries) <= V;
}

}  // namespace

Index CpuDevice::packed_size(Index V, Index D) const { return Int8Table::bytes(V, D); }

void CpuDevice::inverse_norms(Index V, Index D, const ItemRows& items, float* norms) {
  constexpr Index kGrain = 1024;
  const ItemRows unknown{.items = items.items, .rows = items.rows, .normalize = true};
  parallel_for_ranges(V, kGrain, threads_, [&](Index first, Index last) {
    for (Index v = first; v < last; ++v) norms[v] = scale_of(unknown, D, v);
  });
}

void CpuDevice::pack_items(Index V, Index D, const ItemRows& items, std::byte* packed) {
  constexpr Index kPanel = Int8Table::kPanel;
  parallel_for((V + kPanel - 1) / kPanel, threads_, [&](Index panel) {
    const Index first = panel * kPanel, n = std::min(kPanel, V - first);
    std::array<const float*, kPanel> rows;
    std::array<float, kPanel> scales;
    for (Index i = 0; i < n; ++i) {
      rows[i] = row_of(items, D, first + i);
      scales[i] = scale_of(items, D, first + i);
    }
    quantize_panel(V, D, first, n, rows.data(), scales.data(), packed);
  });
}

void CpuDevice::catalog_top_k(const CatalogTopK& p) {
  const Index D = p.D, V = p.V, k = std::min(p.k, V);
  const Index panels = (V + Int8Table::kPanel - 1) / Int8Table::kPanel;
  const Index blocks = (p.B + BlockScan::kQueries - 1) / BlockScan::kQueries;
  // Few queries leave threads idle unless the catalog is cut too. The answer is exact, so the cut does not show in it.
  const Index workers = threads_ == 0 ? num_threads() : threads_;
  const Index runs = std::min<Index>(panels, blocks >= workers ? 1 : workers);

  std::optional<Int8Table> table;
  if (p.packed) table.emplace(p.packed, V, D);
  const ExactScores exact(p);
  const bool by_bounds = table && bounds_pay(p.B, V, k);
  const Index width = Int8Table::groups(D) * Gemm8::kGroup;
  const Index digits = gemm8().in_hardware && p.B <= kTwoDigits ? 2 : 1;
  std::int8_t* queries = scratch<std::int8_t, 22>(by_bounds ? p.B * digits * width : 0);
  QuantizedQuery* quantized = scratch<QuantizedQuery, 23>(by_bounds ? p.B : 0);
  float* target_scores = scratch<float, 10>(p.B);
  parallel_for(p.B, threads_, [&](Index b) {
    std::int8_t* values = queries + b * digits * width;
    if (by_bounds)
      quantized[b] =
          quantize_query(D, p.queries + b * D, gemm8().largest, values, digits == 2 ? values + width : nullptr);
    const std::int32_t target = p.targets ? p.targets[b] : -1;
    target_scores[b] = target < 0 ? std::numeric_limits<float>::quiet_NaN() : exact.of(b, target);
    for_floors(p.floors, b, target, target + 1,
               [&](std::int32_t, float floor) { target_scores[b] = raised(target_scores[b], floor); });
  });

  const CatalogScan scan{p, exact, target_scores, by_bounds ? &*table : nullptr, digits, queries, quantized};
  const Index room = BlockScan::BestScored::room(k, V);
  Scored* kept = scratch<Scored, 11>(runs * p.B * room);
  Found* found = scratch<Found, 12>(runs * p.B);
  parallel_for(blocks * runs, threads_, [&](Index piece) {
    const Index run = piece % runs, first = piece / runs * BlockScan::kQueries;
    const Index count = std::min(BlockScan::kQueries, p.B - first);
    BlockScan block(scan, first, count, k, kept + (run * p.B + first) * room);
    block.run(run * panels / runs * Int8Table::kPanel, std::min(V, (run + 1) * panels / runs * Int8Table::kPanel));
    for (Index r = 0; r < count; ++r) found[run * p.B + first + r] = {block.size(r), block.above(r), block.tied(r)};
  });

  parallel_for(p.B, threads_, [&](Index b) {
    Scored* all = scratch<Scored, 13>(runs * k);
    Index candidates = 0, above = 0, tied = 0;
    for (Index run = 0; run < runs; ++run) {
      const Found& part = found[run * p.B + b];
      std::copy_n(kept + (run * p.B + b) * room, part.size, all + candidates);
      candidates += part.size;
      above += part.above;
      tied += part.tied;
    }
    const Index size = std::min(k, candidates);
    if (size < candidates) std::nth_element(all, all + size, all + candidates, BetterScored());
    std::sort(all, all + size, BetterScored());
    for (Index i = 0; i < p.k; ++i) {
      p.ids[b * p.k + i] = i < size ? all[i].id : -1;
      p.scores[b * p.k + i] = i < size ? all[i].score : -std::numeric_limits<float>::infinity();
    }
    if (!p.targets) return;
    const bool counted = p.targets[b] >= 0 && !std::isnan(target_scores[b]);
    p.above[b] = counted ? above : V;
    p.tied[b] = counted ? tied - 1 : 0;
  });
}

}  // namespace stamp::cpu
