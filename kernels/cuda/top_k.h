// Exact top-k over the catalog in two passes, and what their kernels share: keys, bounds, the exact score of a product.
//
//   z_bv = q_b · x_v, raised to floors (+ boost)     the k best v of each b, ties by lower v; targets' ranks
//
// Pass 1 leaves two bounds of each query and chunk of 16 products: nothing in it scores above `upper`, something in it
// scores `lower` or more. It is made in bf16 on tensor cores (catalog_scan.cu), or in fp32, exactly, where targets want
// their ranks (catalog_top_k.cu). Pass 2 (catalog_select.cu) takes the k-th largest `lower` for
// a threshold, scores the chunks whose `upper` reaches it in fp32, and keeps the k best of those.
//
// It is exact. Chunks share no product, so k different products score the threshold or more, and so does every member
// of the list: it is in a chunk whose `upper` reaches it (>=, for ties). With fewer than k lower bounds the threshold
// is -inf. A bound that is not finite says nothing: the chunk is scored, and counts towards no threshold. Excluded
// products enter no bound. Products with a floor enter without it, so `lower` holds, and are scored in any case, once.
//
// A candidate is one 64-bit key, score and row, so order is total and no answer depends on the cut.
#pragma once

#include <cmath>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {

constexpr int kPanel = 64;  // products side by side, one line per dimension
constexpr int kChunk = 16;  // products that share their bounds

using Key = std::uint64_t;  // of a candidate, greater is better: score, then lower row. 0: none

// In the order of the scores; of finite ones 1 << 23 or more.
__device__ inline unsigned ordered(float score) {
  const unsigned bits = __float_as_uint(score + 0.0f);  // -0 ties with 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline float score_of_ordered(unsigned bits) {
  return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}
__device__ inline Key key_of(float score, Index v) {
  return Key{ordered(score)} << 32 | (0xffffffffu - static_cast<unsigned>(v));
}
__device__ inline float score_of(Key key) { return score_of_ordered(static_cast<unsigned>(key >> 32)); }
__device__ inline std::int32_t id_of(Key key) {
  return static_cast<std::int32_t>(0xffffffffu - static_cast<unsigned>(key));
}

// What pass 1 leaves for pass 2.
struct ChunkBounds {
  Index chunks;  // of a query; those behind the catalog have bounds of -inf
  float* upper;  // [B,chunks]
  // [B,chunks], where boosts want it. Else the product that gave `upper` scores upper - 2 error or more, and its error
  // is at most that of the longest row of its chunk; where there are no errors, `upper` itself.
  float* lower = nullptr;
  const float* errors = nullptr;   // [B] of a query's scores, in units of |x|
  const float* longest = nullptr;  // [chunks] the largest |x|

  __device__ float lower_of(Index b, Index chunk) const {
    if (lower) return lower[b * chunks + chunk];
    const float top = upper[b * chunks + chunk];
    return errors ? fmaf(-2 * errors[b], longest[chunk], top) : top;
  }
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

// Of one product, without its floor. Every way adds the dimensions up in this order, so the bits are the same.
__device__ inline float plain_score(const CatalogTopK& p, Index b, Index v) {
  const float* line = panels_of(p) + v / kPanel * kPanel * p.D + v % kPanel;
  const float* query = p.queries + b * p.D;
  constexpr int kAtOnce = 20;  // loads under way
  float sum = 0;
  Index d = 0;
  for (; d + kAtOnce <= p.D; d += kAtOnce) {
    float x[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) x[i] = line[(d + i) * kPanel];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) sum = fmaf(query[d + i], x[i], sum);
  }
  for (; d < p.D; ++d) sum = fmaf(query[d], line[d * kPanel], sum);
  return sum;
}

__device__ inline float score(const CatalogTopK& p, Index b, Index v) {
  return Floors(p.floors, b).apply(plain_score(p, b, v), v);
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
  __device__ float boosted(float score, Index v) const { return boosts ? score + boosts[v] : score; }
  __device__ Key key(float score, Index v) const {
    score = boosted(score, v);
    return excludes(v) || std::isnan(score) ? 0 : key_of(score, v);
  }
};

// Products that score above a target, and as much as it does, itself included.
struct Rank {
  std::int64_t above, tied;
};

}  // namespace stamp::cuda
