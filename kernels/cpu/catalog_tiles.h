// A tile of the catalog as catalog_cross_entropy.cpp multiplies with it, in fp32 and in bf16. Either offers, to one
// thread:
//   Exponential, kept_size(B)   what exponentials are kept as, and how many make a tile's
//   load(n, items, values)      takes the tile's items[n,D]; values: add_values will be called
//   scores(b, rows, kept)       z[rows,kTile] of queries b …; with memory where they may be kept, or null
//   keep(rows, z, kept)         z, exponentials by now, as Exponentials: there, or in memory of its own
//   add_values(rows, z, sums)   sums[rows,padded(D)] += z · items
//   scale_queries(factors)      [B], for
//   add_gradient(…)             d_items[n,D] (+)= kept exponentialsᵀ · the scaled queries b …
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "stamp/device.h"

namespace stamp::cpu {

constexpr Index kTile = 512;           // products
constexpr Index kQueriesAtOnce = 192;  // even; their scores of a tile, 384 KiB, stay in the second-level cache

// Rows of D at this stride begin at lines of the cache and are whole vectors.
inline Index padded(Index D) { return (D + 15) / 16 * 16; }

// Whole panels of the product's; scores beyond n are of zeros and never read.
inline Index panels(Index n) { return (n + 63) / 64 * 64; }

class Fp32Tile {
 public:
  using Exponential = float;
  static Index kept_size(Index B) { return B * kTile; }

  Fp32Tile(const CatalogCrossEntropy& p, const std::vector<Bf16Pair>&) : p_(p), W_(padded(p.D)) {}

  void load(Index n, const float* items, bool values) {
    n_ = n;
    lines_ = scratch<float, 4>(p_.D * kTile);
    simd().transpose(n, p_.D, items, p_.D, lines_, panels(n));
    if (!values) return;
    values_ = scratch<float, 14>(kTile * W_);
    for (Index v = 0; v < n; ++v) {
      std::memcpy(values_ + v * W_, items + v * p_.D, p_.D * sizeof(float));
      std::fill(values_ + v * W_ + p_.D, values_ + (v + 1) * W_, 0.0f);
    }
  }

  float* scores(Index b, Index rows, float* kept) const {
    float* z = kept ? kept : scratch<float, 7>(kQueriesAtOnce * kTile);
    simd().gemm(rows, panels(n_), p_.D, p_.queries + b * p_.D, p_.D, 1, lines_, panels(n_), z, kTile, false);
    return z;
  }

  const float* keep(Index, const float* z, float*) const { return z; }

  void add_values(Index rows, const float* z, float* sums) const {
    simd().gemm(rows, W_, n_, z, kTile, 1, values_, W_, sums, W_, true);
  }

  void scale_queries(const float* factors) {
    scaled_ = scratch<float, 8>(p_.B * W_);
    for (Index b = 0; b < p_.B; ++b) {
      std::memcpy(scaled_ + b * W_, p_.queries + b * p_.D, p_.D * sizeof(float));
      simd().scale(p_.D, factors[b], scaled_ + b * W_);
    }
  }

  void add_gradient(Index n, Index b, Index rows, const float* kept, float* d_items, bool accumulate) const {
    simd().gemm(n, p_.D, rows, kept, 1, kTile, scaled_ + b * W_, W_, d_items, p_.D, accumulate);
  }

 private:
  const CatalogCrossEntropy& p_;
  Index W_, n_ = 0;
  float *lines_ = nullptr, *values_ = nullptr, *scaled_ = nullptr;  // [D,panels(n)], [n,W], [B,W]
};

// Operands in pairs along what each product sums over: dimensions, products of the tile, queries.
class Bf16Tile {
 public:
  using Exponential = Bf16Pair;
  static Index kept_size(Index B) { return (B + 1) / 2 * kTile; }

  // [B,(D+1)/2], once for all tiles
  static void pair_queries(const CatalogCrossEntropy& p, std::vector<Bf16Pair>& queries) {
    const Index pairs = (p.D + 1) / 2;
    queries.resize(p.B * pairs);
    for (Index b = 0; b < p.B; ++b) bf16().pair_columns(p.D, p.queries + b * p.D, queries.data() + b * pairs);
  }

  Bf16Tile(const CatalogCrossEntropy& p, const std::vector<Bf16Pair>& queries)
      : p_(p), queries_(queries.data()), pairs_((p.D + 1) / 2), W_(padded(p.D)) {}

  void load(Index n, const float* items, bool values) {
    n_ = n;
    lines_ = scratch<Bf16Pair, 4>(pairs_ * kTile);
    bf16().transpose(n, p_.D, items, lines_, panels(n));
    if (!values) return;
    values_ = scratch<Bf16Pair, 14>(kTile / 2 * W_);
    pair_rows(n, items, p_.D, nullptr, values_);
  }

  float* scores(Index b, Index rows, Bf16Pair*) const {
    float* z = scratch<float, 7>(kQueriesAtOnce * kTile);
    bf16().gemm(rows, panels(n_), pairs_, queries_ + b * pairs_, pairs_, 1, lines_, panels(n_), z, kTile, false);
    return z;
  }

  const Bf16Pair* keep(Index rows, const float* z, Bf16Pair* kept) const {
    if (!kept) kept = scratch<Bf16Pair, 15>(kQueriesAtOnce / 2 * kTile);
    for (Index r = 0; r < rows; r += 2)
      bf16().pair_rows(n_, z + r * kTile, 1, r + 1 < rows ? z + (r + 1) * kTile : nullptr, 1, kept + r / 2 * kTile);
    return kept;
  }

  void add_values(Index rows, const float* z, float* sums) const {
    Bf16Pair* left = scratch<Bf16Pair, 16>(kQueriesAtOnce * kTile / 2);
    for (Index r = 0; r < rows; ++r) bf16().pair_columns(n_, z + r * kTile, left + r * kTile / 2);
    bf16().gemm(rows, W_, (n_ + 1) / 2, left, kTile / 2, 1, values_, W_, sums, W_, true);
  }

  void scale_queries(const float* factors) {
    scaled_ = scratch<Bf16Pair, 8>((p_.B + 1) / 2 * W_);
    pair_rows(p_.B, p_.queries, p_.D, factors, scaled_);
  }

  void add_gradient(Index n, Index b, Index rows, const Bf16Pair* kept, float* d_items, bool accumulate) const {
    bf16().gemm(n, p_.D, (rows + 1) / 2, kept, 1, kTile, scaled_ + b / 2 * W_, W_, d_items, p_.D, accumulate);
  }

 private:
  // out[(n+1)/2,W] of x[n,D], each row times its factor
  void pair_rows(Index n, const float* x, Index D, const float* factors, Bf16Pair* out) const {
    for (Index i = 0; i < n; i += 2) {
      Bf16Pair* row = out + i / 2 * W_;
      bf16().pair_rows(D, x + i * D, factors ? factors[i] : 1, i + 1 < n ? x + (i + 1) * D : nullptr,
                       factors && i + 1 < n ? factors[i + 1] : 1, row);
      std::fill(row + D, row + W_, 0);
    }
  }

  const CatalogCrossEntropy& p_;
  const Bf16Pair* queries_;
  Index pairs_, W_, n_ = 0;
  Bf16Pair *lines_ = nullptr, *values_ = nullptr, *scaled_ = nullptr;  // [pairs,panels(n)], [(n+1)/2,W], [(B+1)/2,W]
};

}  // namespace stamp::cpu
