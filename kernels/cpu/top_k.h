// What the parts of the top-k share: queues of the best, floors, exact scores of products.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "stamp/device.h"

namespace stamp::cpu {

struct Scored {
  float score;
  std::int32_t id;
};

// Better first: higher score, then lower row.
struct BetterScored {
  bool operator()(const Scored& a, const Scored& b) const {
    return a.score > b.score || (a.score == b.score && a.id < b.id);
  }
};

// The k best of what was offered, in any order. Short lists are kept sorted. Of longer ones, what may be among the best
// is kept until there are 2k, and then cut to k in linear time, where a heap moves every value through its log k
// levels.
template <class T, class Better>
class Best {
 public:
  // Values of storage, where at most n will be offered.
  static Index room(Index k, Index n) { return std::min(2 * k, n); }

  Best() = default;
  Best(T* storage, Index k) : kept_(storage), k_(k) {}
  void offer(T candidate) {
    if (is_full_ && !Better()(candidate, worst_)) return;
    if (k_ <= kShort) return insert(candidate);
    kept_[size_++] = candidate;
    if (size_ == (is_full_ ? 2 * k_ : k_)) cut();
  }
  // Leaves the k best.
  void cut() {
    if (size_ < k_ || (size_ == k_ && is_full_)) return;
    std::nth_element(kept_, kept_ + k_ - 1, kept_ + size_, Better());
    size_ = k_;
    is_full_ = true;
    worst_ = kept_[k_ - 1];
  }
  Index size() const { return size_; }  // at most k after a cut
  bool is_full() const { return is_full_; }
  const T& worst() const { return worst_; }  // of the k best when it was last cut; where it is full

 private:
  static constexpr Index kShort = 32;

  void insert(T candidate) {
    Index i = is_full_ ? k_ - 1 : size_++;
    for (; i > 0 && Better()(candidate, kept_[i - 1]); --i) kept_[i] = kept_[i - 1];
    kept_[i] = candidate;
    is_full_ = size_ == k_;
    worst_ = kept_[size_ - 1];
  }

  T* kept_ = nullptr;
  Index k_ = 0, size_ = 0;
  bool is_full_ = false;
  T worst_{};
};

// Calls use(product, floor) for the floors of query b on products first … last-1.
template <class Use>
void for_floors(const ScoreFloors& floors, Index b, Index first, Index last, Use&& use) {
  if (!floors.begin) return;
  const std::int32_t* end = floors.ids + floors.begin[b + 1];
  for (const std::int32_t* id = std::lower_bound(floors.ids + floors.begin[b], end, first); id < end && *id < last;
       ++id)
    use(*id, floors.values[id - floors.ids]);
}

// log(exp(z) + exp(floor)); NaN stays.
inline float raised(float z, float floor) {
  const float top = std::max(z, floor);
  return top + std::log1p(std::exp(std::min(z, floor) - top));
}

inline const float* row_of(const ItemRows& items, Index D, Index v) {
  return items.items + (items.rows ? items.rows[v] : v) * D;
}

// What product v's row is multiplied by.
inline float scale_of(const ItemRows& items, Index D, Index v) {
  if (!items.normalize) return 1;
  if (items.inverse_norms) return items.inverse_norms[v];
  const float* row = row_of(items, D, v);
  const float norm = std::sqrt(simd().dot(D, row, row));
  return norm > 0 ? 1 / norm : 1;
}

// Scores from the rows themselves, in single precision, without floors and boosts. Each is added up in the order of the
// dimensions, whichever way it is made, so it is the same for any batch.
class ExactScores {
 public:
  static constexpr Index kPanel = 64;  // products that are scored at once, at most

  explicit ExactScores(const CatalogTopK& problem) : p_(problem) {}

  // Of query b and products ids[n].
  void of(Index b, Index n, const std::int32_t* ids, float* scores) const {
    const Rows rows(*this, n, [&](Index i) { return Index{ids[i]}; });
    const float* queries = query(b);
    simd().score_rows(1, n, p_.D, &queries, rows.begin, rows.scales, scores, kPanel);
  }
  float of(Index b, std::int32_t id) const {
    float score;
    of(b, 1, &id, &score);
    return score;
  }
  // Asks for a row that will be scored soon.
  void prefetch(Index v) const {
    constexpr Index kLine = 64 / sizeof(float);
    for (Index d = 0; d < p_.D; d += kLine) __builtin_prefetch(row(v) + d);
  }

  // Of `count` queries, in order, and products first … first+n-1. A query's scores are a line of kPanel.
  void of_panel(Index count, const Index* queries, Index first, Index n, float* scores) const {
    constexpr Index kFew = 4;      // queries, at most, for which rows are turned round in registers
    constexpr Index kTurned = 16;  // rows at once for more, and the next ones are asked for: both fit the nearest cache
    const Rows rows(*this, n, [&](Index i) { return first + i; });
    if (count <= kFew) {
      const float* begin[kFew];
      for (Index i = 0; i < count; ++i) begin[i] = query(queries[i]);
      return simd().score_rows(count, n, p_.D, begin, rows.begin, rows.scales, scores, kPanel);
    }
    const float* side_by_side = query(queries[0]);
    if (queries[count - 1] - queries[0] >= count) {
      float* copies = scratch<float, 16>(count * p_.D);
      for (Index i = 0; i < count; ++i) std::copy_n(query(queries[i]), p_.D, copies + i * p_.D);
      side_by_side = copies;
    }
    float* columns = scratch<float, 9>(kTurned * p_.D);
    for (Index i = 0; i < n; i += kTurned) {
      simd().transpose_rows(std::min(kTurned, n - i), p_.D, rows.begin + i, rows.scales + i, columns, kTurned);
      for (Index v = first + i + kTurned; v < std::min(first + i + 2 * kTurned, p_.V); ++v) prefetch(v);
      simd().gemm(count, kTurned, p_.D, side_by_side, p_.D, 1, columns, kTurned, scores + i, kPanel, false);
    }
  }

 private:
  struct Rows {
    template <class Id>
    Rows(const ExactScores& all, Index n, Id&& id) {
      for (Index i = 0; i < n; ++i) {
        begin[i] = all.row(id(i));
        scales[i] = scale_of(all.p_.items, all.p_.D, id(i));
      }
    }
    const float* begin[kPanel];
    float scales[kPanel];
  };

  const float* query(Index b) const { return p_.queries + b * p_.D; }
  const float* row(Index v) const { return row_of(p_.items, p_.D, v); }

  const CatalogTopK& p_;
};

}  // namespace stamp::cpu
