// Item rows of attributes. Owners: of a product's row and difference, of a piece of an attribute row's products, of an
// attribute row. Bound by memory: with J attributes a product, rows read (1 + J)·4 bytes an element of [V,D], most of
// which are in the cache as attribute rows are few, and write 4 to 8; gradients read J·4 and write little.
//
// The tile's owner in the catalog's cross-entropy, who applies Adam to a plain row on the spot, cannot do it here: what
// an attribute row's gradient adds up lies in many tiles, and δ has its bound from what becomes of these rows. So the
// gradient of the table goes to memory and Adam is a pass of its own: 4 bytes written and 4 read more, beside the 24 of
// weights and moments.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_pool.h"
#include "stamp/philox.h"

namespace stamp::cpu {

namespace {

constexpr Index kGrain = 256;  // products; a multiple of 4

// Calls visit(v) for those products first … last-1 whose difference the step drops; first is a multiple of 4.
template <class F>
void for_dropped(const ContentRows& p, const TrainingStep* step, Index first, Index last, F&& visit) {
  if (!step || !(p.dropout > 0)) return;
  const std::uint64_t stream = streams::kContent + static_cast<std::uint64_t>(step->number);
  for (Index v = first; v < last; v += 4) {
    const auto words = philox(p.seed, stream, static_cast<std::uint64_t>(v / 4));
    for (Index i = v; i < last && i < v + 4; ++i)
      if (uniform(words[i - v]) < p.dropout && p.row_offsets[i] < p.row_offsets[i + 1]) visit(i);
  }
}

void cut(const ContentRows& p, const float* content, float* difference) {
  const float most = p.bound * std::sqrt(simd().dot(p.D, content, content));
  const float length = std::sqrt(simd().dot(p.D, difference, difference));
  if (length > most) simd().scale(p.D, most / length * (1 - ContentRows::kBelow), difference);
}

}  // namespace

void CpuDevice::content_rows(const ContentRows& p, const TrainingStep* step) {
  const Index D = p.D;
  parallel_for_ranges(p.V, kGrain, threads_, [&](Index first, Index last) {
    bool dropped[kGrain] = {};
    for_dropped(p, step, first, last, [&](Index v) { dropped[v - first] = true; });
    for (Index v = first; v < last; ++v) {
      float *x = p.items + v * D, *difference = p.differences + v * D;
      const Index begin = p.row_offsets[v], end = p.row_offsets[v + 1];
      std::fill_n(x, D, 0.0f);
      for (Index i = begin; i < end; ++i) simd().axpy(D, 1, p.attribute_rows + p.rows[i] * D, x);
      if (begin < end) cut(p, x, difference);
      if (!dropped[v - first]) simd().axpy(D, 1, difference, x);
    }
  });
}

void CpuDevice::content_gradients(const ContentRows& p, const TrainingStep* step, float* d_items,
                                  float* d_attribute_rows) {
  const Index D = p.D;
  partial_.resize(p.pieces * D);
  const auto is_whole = [&](Index row) { return p.first_pieces[row + 1] - p.first_pieces[row] == 1; };
  parallel_for_ranges(p.pieces, 8, threads_, [&](Index from, Index to) {
    for (Index piece = from; piece < to; ++piece) {
      const Index row = p.piece_rows[piece];
      const Index first = p.product_offsets[row] + (piece - p.first_pieces[row]) * ContentRows::kPiece;
      const Index last = std::min(first + ContentRows::kPiece, Index{p.product_offsets[row + 1]});
      float* sum = is_whole(row) ? d_attribute_rows + row * D : partial_.data() + piece * D;
      std::fill_n(sum, D, 0.0f);
      for (Index i = first; i < last; ++i) simd().axpy(D, 1, d_items + p.products[i] * D, sum);
    }
  });
  parallel_for(p.long_rows, threads_, [&](Index i) {
    const Index row = p.long_row_ids[i];
    float* sum = d_attribute_rows + row * D;
    std::fill_n(sum, D, 0.0f);
    for (Index piece = p.first_pieces[row]; piece < p.first_pieces[row + 1]; ++piece)
      simd().axpy(D, 1, partial_.data() + piece * D, sum);
  });
  parallel_for_ranges(p.V, kGrain, threads_, [&](Index first, Index last) {
    for_dropped(p, step, first, last, [&](Index v) { std::fill_n(d_items + v * D, D, 0.0f); });
  });
}

}  // namespace stamp::cpu
