// Exact top-k over the catalog, fused with scoring. Bound by reading 4VD bytes of items for few queries, by 2BVD flops
// for many.
//
// Items are packed in panels of 64, one line per dimension: a query's 64 scores need no horizontal sum and each is
// added up in the order of the dimensions, so a score is the same for any batch. A block of queries scans runs of
// panels; each run keeps its own k best, and runs are merged in order.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_pool.h"

namespace stamp::cpu {

namespace {

constexpr Index kPanel = Device::kPanel;
constexpr Index kPanelsAtOnce = 8;  // 512 products: a tile of scores and its items stay in cache
constexpr Index kQueriesAtOnce = 64;

struct Scored {
  float score;
  std::int32_t id;
};

// Better first: higher score, then lower row.
bool better(const Scored& a, const Scored& b) { return a.score > b.score || (a.score == b.score && a.id < b.id); }

// The k best of what was offered, in ascending order of id, as a heap whose front is the worst kept.
class Best {
 public:
  Best() = default;
  Best(Scored* storage, Index k) : kept_(storage), k_(k) {}
  // Nothing below this can enter.
  float bound() const { return size_ < k_ ? -std::numeric_limits<float>::infinity() : kept_[0].score; }
  void offer(Scored candidate) {
    if (size_ < k_) {
      kept_[size_++] = candidate;
      std::push_heap(kept_, kept_ + size_, better);
    } else if (better(candidate, kept_[0])) {
      std::pop_heap(kept_, kept_ + k_, better);
      kept_[k_ - 1] = candidate;
      std::push_heap(kept_, kept_ + k_, better);
    }
  }
  Index size() const { return size_; }

 private:
  Scored* kept_ = nullptr;
  Index k_ = 0, size_ = 0;
};

const std::uint64_t* excluded_of(const CatalogTopK& p, Index b) {
  const Index words = (p.V + 63) / 64;
  return p.exclusion && p.exclusion[b] >= 0 ? p.excluded + p.exclusion[b] * words : nullptr;
}

const float* boosts_of(const CatalogTopK& p, Index b) {
  return p.boost && p.boost[b] >= 0 ? p.boosts + p.boost[b] * p.V : nullptr;
}

// log(exp(z) + exp(floor)); NaN stays.
float raised(float z, float floor) {
  const float top = std::max(z, floor);
  return top + std::log1p(std::exp(std::min(z, floor) - top));
}

// Raises scores of products first … first+n-1 to the floors of query b.
void raise(const ScoreFloors& floors, Index b, Index first, Index n, float* scores) {
  if (!floors.begin) return;
  const std::int32_t* last = floors.ids + floors.begin[b + 1];
  const std::int32_t* id = std::lower_bound(floors.ids + floors.begin[b], last, first);
  for (; id < last && *id < first + n; ++id)
    scores[*id - first] = raised(scores[*id - first], floors.values[id - floors.ids]);
}

bool is_excluded(const std::uint64_t* bits, Index v) { return bits && (bits[v / 64] >> (v % 64) & 1); }

}  // namespace

void CpuDevice::pack_items(Index V, Index D, const float* items, bool normalize, float* packed) {
  parallel_for((V + kPanel - 1) / kPanel, threads_, [&](Index panel) {
    const Index first = panel * kPanel, n = std::min(kPanel, V - first);
    float scale[kPanel];
    for (Index v = 0; v < n; ++v) {
      const float* row = items + (first + v) * D;
      const float norm = normalize ? std::sqrt(simd().dot(D, row, row)) : 1;
      scale[v] = norm > 0 ? 1 / norm : 1;
    }
    simd().transpose(n, D, items + first * D, D, scale, packed + first * D, kPanel);
  });
}

void CpuDevice::catalog_top_k(const CatalogTopK& p) {
  const Index D = p.D, V = p.V, k = std::min(p.k, V), panels = (V + kPanel - 1) / kPanel;
  const Index steps = (panels + kPanelsAtOnce - 1) / kPanelsAtOnce;
  const Index blocks = (p.B + kQueriesAtOnce - 1) / kQueriesAtOnce;
  // Few queries leave threads idle unless the catalog is cut too. The answer is exact, so the cut does not show in it.
  const Index workers = threads_ == 0 ? num_threads() : threads_;
  const Index runs = std::min<Index>(steps, blocks >= workers ? 1 : workers);

  float* target_scores = scratch<float, 10>(p.B);
  std::fill_n(target_scores, p.B, std::numeric_limits<float>::quiet_NaN());
  if (p.targets) {  // the same product in the same order of additions as in the scan
    parallel_for(p.B, threads_, [&](Index b) {
      if (p.targets[b] < 0) return;
      float scores[kPanel];
      const Index panel = p.targets[b] / kPanel;
      simd().gemm(1, kPanel, D, p.queries + b * D, D, 1, p.packed_items + panel * kPanel * D, kPanel, scores, kPanel,
                  false);
      raise(p.floors, b, panel * kPanel, kPanel, scores);
      target_scores[b] = scores[p.targets[b] % kPanel];
    });
  }

  struct Found {  // by one run, for one query
    Index size, above, tied;
  };
  Scored* kept = scratch<Scored, 11>(runs * p.B * k);
  Found* found = scratch<Found, 12>(runs * p.B);
  parallel_for(blocks * runs, threads_, [&](Index piece) {
    const Index run = piece % runs, from = piece / runs * kQueriesAtOnce, rows = std::min(kQueriesAtOnce, p.B - from);
    constexpr Index kWidth = kPanel * kPanelsAtOnce;
    float* scores = scratch<float, 7>(kQueriesAtOnce * kWidth);
    std::array<Best, kQueriesAtOnce> best;
    for (Index r = 0; r < rows; ++r) best[r] = Best(kept + (run * p.B + from + r) * k, k);
    std::array<Index, kQueriesAtOnce> above{}, tied{};

    for (Index step = run * steps / runs; step < (run + 1) * steps / runs; ++step) {
      const Index first = step * kWidth, n = std::min(kWidth, V - first);
      for (Index panel = 0; panel * kPanel < n; ++panel)
        simd().gemm(rows, kPanel, D, p.queries + from * D, D, 1, p.packed_items + (first + panel * kPanel) * D, kPanel,
                    scores + panel * kPanel, kWidth, false);
      for (Index r = 0; r < rows; ++r) {
        float* row = scores + r * kWidth;
        raise(p.floors, from + r, first, n, row);
        if (p.targets && p.targets[from + r] >= 0) {
          const float target = target_scores[from + r];
          for (Index v = 0; v < n; ++v) {
            above[r] += row[v] > target;
            tied[r] += row[v] == target;
          }
        }
        if (const float* boosts = boosts_of(p, from + r)) simd().axpy(n, 1, boosts + first, row);
        const std::uint64_t* bits = excluded_of(p, from + r);
        for (Index v = 0; (v = simd().find_at_least(v, n, row, best[r].bound())) < n; ++v)
          if (!is_excluded(bits, first + v)) best[r].offer({row[v], static_cast<std::int32_t>(first + v)});
      }
    }
    for (Index r = 0; r < rows; ++r) found[run * p.B + from + r] = {best[r].size(), above[r], tied[r]};
  });

  parallel_for(p.B, threads_, [&](Index b) {
    Scored* all = scratch<Scored, 13>(runs * k);
    Index candidates = 0, above = 0, tied = 0;
    for (Index run = 0; run < runs; ++run) {
      const Found& part = found[run * p.B + b];
      std::copy_n(kept + (run * p.B + b) * k, part.size, all + candidates);
      candidates += part.size;
      above += part.above;
      tied += part.tied;
    }
    const Index size = std::min(k, candidates);
    std::partial_sort(all, all + size, all + candidates, better);
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
