// A catalog as top-k reads it: panels in fp32 for exact scores, and rows in bf16 with their lengths for bounds on them.
#pragma once

#include "kernels/cuda/tensor_rows.h"
#include "kernels/cuda/top_k.h"

namespace stamp::cuda {

// How D dimensions are cut: `count` slices of the width of one of the kernels, the last of them filled up with zeros.
struct Slices {
  Index count, width;
  explicit Slices(Index D) : count((D + kWidest - 1) / kWidest) {
    with_width((D + count - 1) / count, [&](auto w) { width = w; });
  }
  Index all() const { return count * width; }
};

// Where a catalog's parts lie in packed memory.
struct Packed {
  float* panels;   // [panel][D][64]
  bf16* rows;      // [Vp/64][slice][64,W]
  float* lengths;  // [Vp]; -inf behind the catalog
  float* longest;  // [Vp/16] of a chunk
};

inline Packed packed_at(const std::byte* memory, Index V, Index D) {
  const Index Vp = rounded(V, kStream);
  auto* panels = reinterpret_cast<float*>(const_cast<std::byte*>(memory));
  float* lengths = panels + Vp * D + Vp * Slices(D).all() / 2;
  return {panels, reinterpret_cast<bf16*>(panels + Vp * D), lengths, lengths + Vp};
}

// What a length counts as in bounds: shorter ones as 1e-15, as squares may vanish; of longer ones nothing is known.
__device__ inline float bounded(float length) { return length <= 1e18f ? fmaxf(length, 1e-15f) : INFINITY; }

}  // namespace stamp::cuda
