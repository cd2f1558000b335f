// What the ways to a top-k share: keys, queues of the best, the exact score of one product.
#pragma once

#include <cmath>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {

constexpr int kPanel = 64;  // products side by side, one line per dimension

using Key = std::uint64_t;  // of a candidate, greater is better: score, then lower row. 0: none

__device__ inline Key key_of(float score, Index v) {
  const unsigned bits = __float_as_uint(score + 0.0f);  // -0 ties with 0
  const unsigned ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return Key{ordered} << 32 | (0xffffffffu - static_cast<unsigned>(v));
}
__device__ inline float score_of(Key key) {
  const auto ordered = static_cast<unsigned>(key >> 32);
  return __uint_as_float(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}
__device__ inline std::int32_t id_of(Key key) {
  return static_cast<std::int32_t>(0xffffffffu - static_cast<unsigned>(key));
}

// Best first, by a warp: the first `count` of keys in shared memory, then zeros up to `capacity`, a power of 2.
// Bitonic.
__device__ inline void sort_best_first(Key* keys, int count, int capacity) {
  const int lane = lane_index();
  for (int i = count + lane; i < capacity; i += kWarp) keys[i] = 0;
  __syncwarp();
  for (int size = 2; size <= capacity; size *= 2)
    for (int stride = size / 2; stride > 0; stride /= 2) {
      for (int pair = lane; pair < capacity / 2; pair += kWarp) {
        const int i = 2 * pair - (pair & (stride - 1)), j = i + stride;
        const bool falling = (i & size) == 0;
        const Key a = keys[i], b = keys[j];
        if ((a < b) == falling) {
          keys[i] = b;
          keys[j] = a;
        }
      }
      __syncwarp();
    }
}

// The k best keys of one query, in shared memory that a warp owns.
class Queue {
 public:
  Queue() = default;
  __device__ Queue(Key* keys, int capacity, int k) : keys_(keys), capacity_(capacity), k_(k) {}

  // A key of each lane, 0 for none.
  __device__ void offer(Key key) {
    const bool enters = key > bound_;
    const unsigned entering = __ballot_sync(kAll, enters);
    if (entering == 0) return;
    if (count_ + __popc(entering) > capacity_) sort();
    if (enters) keys_[count_ + __popc(entering & ((1u << lane_index()) - 1))] = key;
    count_ += __popc(entering);
  }

  // Best first; keeps k.
  __device__ void sort() {
    sort_best_first(keys_, count_, capacity_);
    count_ = count_ < k_ ? count_ : k_;
    bound_ = count_ == k_ ? keys_[k_ - 1] : 0;
    __syncwarp();
  }

  __device__ int count() const { return count_; }
  __device__ Key operator[](int i) const { return i < count_ ? keys_[i] : 0; }

 private:
  Key* keys_ = nullptr;
  int capacity_ = 0, k_ = 0, count_ = 0;
  Key bound_ = 0;  // nothing at or below it can enter
};

// log(exp(z) + exp(floor)); NaN stays.
__device__ inline float raised(float z, float floor) {
  const float top = z < floor ? floor : z;
  return top + log1pf(expf((z < floor ? z : floor) - top));
}

// Query b's floors: entries of ids and values.
struct Floors {
  const std::int32_t* ids;
  const float* values;
  int first = 0, last = 0;

  __device__ Floors(const ScoreFloors& floors, Index b) : ids(floors.ids), values(floors.values) {
    if (!floors.begin) return;
    first = floors.begin[b];
    last = floors.begin[b + 1];
  }
  // The first entry of a product that is not below v.
  __device__ int at(Index v) const {
    return first + static_cast<int>(lower_bound(last - first, v, [&](Index i) { return Index{ids[first + i]}; }));
  }
  __device__ bool has(Index v) const {
    const int i = at(v);
    return i < last && ids[i] == v;
  }
  __device__ float apply(float z, Index v) const {
    const int i = at(v);
    return i < last && ids[i] == v ? raised(z, values[i]) : z;
  }
};

// What packed memory begins with: panels of the rows in fp32.
__device__ inline const float* panels_of(const CatalogTopK& p) { return reinterpret_cast<const float*>(p.packed); }

// Of one product: every way adds the dimensions up in this order, so the bits are the same.
__device__ inline float score(const CatalogTopK& p, Index b, Index v) {
  const float* line = panels_of(p) + v / kPanel * kPanel * p.D + v % kPanel;
  float sum = 0;
  for (Index d = 0; d < p.D; ++d) sum = fmaf(p.queries[b * p.D + d], line[d * kPanel], sum);
  return Floors(p.floors, b).apply(sum, v);
}

// What takes products out, or lifts them, for one query.
struct Filter {
  const std::uint64_t* excluded;
  const float* boosts;

  __device__ Filter(const CatalogTopK& p, Index b) {
    excluded = p.excluded ? p.excluded[b] : nullptr;
    boosts = p.boosts ? p.boosts[b] : nullptr;
  }
  __device__ bool excludes(Index v) const { return excluded && (excluded[v / 64] >> (v % 64) & 1); }
  __device__ Key key(float score, Index v) const {
    if (boosts) score += boosts[v];
    return excludes(v) || std::isnan(score) ? 0 : key_of(score, v);
  }
};

// Query b's list, by a warp, from a sorted queue.
__device__ inline void write_list(const CatalogTopK& p, Index b, int k, const Queue& best) {
  for (Index i = lane_index(); i < p.k; i += kWarp) {
    const Key key = i < k ? best[static_cast<int>(i)] : 0;
    p.ids[b * p.k + i] = key ? id_of(key) : -1;
    p.scores[b * p.k + i] = key ? score_of(key) : -INFINITY;
  }
}

}  // namespace stamp::cuda
