// An 8-bit copy of the item table, and how far scores of it can be from those of the rows themselves.
//
//   x = s x̂ + r    x̂ integers of -127 … 127, s = max |x_d| / 127; of a query likewise q = t q̂ + u
//
// The score is z = q · x, and what integers give is z̃ = s t (q̂ · x̂). As q · x = t q̂ · s x̂ + u · s x̂ + q · r,
//
//   |z - z̃| <= |u| |s x̂| + |q| |r|                                       (Cauchy and Schwarz)
//
// A score in single precision, added up in any order, is off by another γ |q| |x| at most, γ = D ε / (1 - D ε), ε =
// 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), and |x| <= |s x̂| + |r|; computing the bound
// itself costs a few ε of its parts. A panel of 64 products keeps λ, the largest |x̂|, and ρ, the largest |r| / s. So
// with
//
//   error = λ (|u| + (γ + 8ε) (|q| + |u|)) (1 + 8ε) + ρ |q| (1 + γ) (1 + 8ε)
//
// rounded up, the score lies in s (t (q̂ · x̂) ± error) ± slack. What underflows, flushed to zero or not, is far below
// the slack. Rows so short that s would be no normal number have x̂ = 0 and s = |r|; queries likewise t = 0 and |u| =
// |q|. Those that are not finite, or so long that sums might overflow, have x̂ = 0 and s infinite, queries an infinite
// error, so that the products are always looked at.
//
// What is quantized are rows as they are scored: x, or where they are normalized x · (1 / |x|) as rounded to single
// precision. Instruction sets add |x| up in 4, 8 or 16 sums; |r| is taken (D/4 + 16) ε |x| larger, so that a table is
// good for all of them.
//
// A query may have two digits of 8 bits: u is then a hundredth. Queries are products of two tanh, of which few
// dimensions are large, and in one digit most of the error is theirs.
//
// Four dimensions of a product stand side by side, 64 products beside each other, as x̂ + 128; 128 Σ q̂ is taken off the
// sums.
#pragma once

#include <cstddef>

#include "kernels/cpu/gemm8.h"

namespace stamp::cpu {

// V products in memory of `bytes`, aligned to 64.
struct Int8Table {
  static constexpr Index kPanel = Gemm8::kPanel;
  static constexpr float kSlack = 1e-30f;

  Int8Table(const std::byte* memory, Index V, Index D);
  static Index bytes(Index V, Index D);
  static Index groups(Index D) { return (D + Gemm8::kGroup - 1) / Gemm8::kGroup; }

  // Where product `first`, the first of a panel, is.
  const std::uint8_t* panel(Index first) const { return values + first * groups_ * Gemm8::kGroup; }

  const std::uint8_t* values;  // [panel][groups][64][4] x̂ + 128
  const float* scales;         // [V] s
  const float* lengths;        // [panel] λ
  const float* rests;          // [panel] ρ

 private:
  Index groups_;
};

// Fills the panel of products first … first+n-1 of a table with rows[i] · scales[i].
void quantize_panel(Index V, Index D, Index first, Index n, const float* const* rows, const float* scales,
                    std::byte* memory);

struct QuantizedQuery {
  float scale;                       // t
  std::int32_t offset, high_offset;  // 128 Σ of the values
  float per_length, per_rest;        // error = λ per_length + ρ per_rest
};

// q̂ in one or two digits: values [4 · groups] of magnitude `largest` at most, zero behind D, or q̂ = 128 high + values,
// with high likewise and values of magnitude 64 at most. high may be null.
QuantizedQuery quantize_query(Index D, const float* query, std::int32_t largest, std::int8_t* values,
                              std::int8_t* high);

}  // namespace stamp::cpu
