// The yardstick of the scan by 8 bits: what it replaced, on one thread. A copy of the items in single precision, in
// panels of 64 products, a line a dimension, is scored by the product that training has, and the best are kept in a
// heap. Reads 4D bytes a product.
#pragma once

#include <array>
#include <bit>
#include <vector>

#include "kernels/cpu/int8_table.h"
#include "kernels/cpu/top_k.h"

namespace bench {

using stamp::cpu::BetterScored;
using stamp::cpu::Index;
using stamp::cpu::Scored;

// The k best of what was offered, as a heap whose front is the worst kept.
class Heap {
 public:
  Heap() = default;
  Heap(Scored* storage, Index k) : kept_(storage), k_(k) {}
  void offer(Scored candidate) {
    if (size_ < k_) {
      kept_[size_++] = candidate;
      std::push_heap(kept_, kept_ + size_, BetterScored());
    } else if (BetterScored()(candidate, kept_[0])) {
      std::pop_heap(kept_, kept_ + k_, BetterScored());
      kept_[k_ - 1] = candidate;
      std::push_heap(kept_, kept_ + k_, BetterScored());
    }
  }
  bool is_full() const { return size_ == k_; }
  const Scored& worst() const { return kept_[0]; }

 private:
  Scored* kept_ = nullptr;
  Index k_ = 0, size_ = 0;
};

class Fp32Scan {
 public:
  static constexpr Index kPanel = 64, kPanelsAtOnce = 8;  // 512 products: their scores and items stay in cache
  static constexpr Index kQueriesAtOnce = 64;

  // inverse_norms [V]: what rows are scaled by.
  Fp32Scan(Index V, Index D, const float* items, const float* inverse_norms)
      : V_(V), D_(D), packed_(static_cast<std::size_t>((V + kPanel - 1) / kPanel * kPanel * D)) {
    for (Index first = 0; first < V; first += kPanel) {
      const Index n = std::min(kPanel, V - first);
      std::array<const float*, kPanel> rows;
      for (Index i = 0; i < n; ++i) rows[i] = items + (first + i) * D;
      stamp::cpu::simd().transpose_rows(n, D, rows.data(), inverse_norms + first, packed_.data() + first * D, kPanel);
    }
  }

  std::size_t bytes() const { return packed_.size() * sizeof(float); }

  // ids and scores [B,k], as Device::catalog_top_k gives them; k <= V.
  void top_k(Index B, Index k, const float* queries, std::int32_t* ids, float* scores) const {
    std::vector<Scored> kept(static_cast<std::size_t>(kQueriesAtOnce * k));
    for (Index first = 0; first < B; first += kQueriesAtOnce)
      top_k_of_block(std::min(kQueriesAtOnce, B - first), k, queries + first * D_, kept.data(), ids + first * k,
                     scores + first * k);
  }

 private:
  void top_k_of_block(Index B, Index k, const float* queries, Scored* kept, std::int32_t* ids, float* scores) const {
    constexpr Index kWidth = kPanel * kPanelsAtOnce;
    const auto& simd = stamp::cpu::simd();
    std::array<Heap, kQueriesAtOnce> best;
    for (Index b = 0; b < B; ++b) best[b] = {kept + b * k, k};
    alignas(64) static thread_local std::array<float, kQueriesAtOnce * kWidth> tile;
    for (Index first = 0; first < V_; first += kWidth) {
      const Index n = std::min(kWidth, V_ - first);
      for (Index at = 0; at < n; at += kPanel)
        simd.gemm(B, kPanel, D_, queries, D_, 1, packed_.data() + (first + at) * D_, kPanel, tile.data() + at, kWidth,
                  false);
      for (Index b = 0; b < B; ++b)
        for (Index at = 0; at < n; at += kPanel) {
          const float* row = tile.data() + b * kWidth + at;
          std::uint64_t left = simd.panel_at_least(
              row, best[b].is_full() ? best[b].worst().score : -std::numeric_limits<float>::infinity());
          if (n - at < kPanel) left &= (std::uint64_t{1} << (n - at)) - 1;
          for (; left; left &= left - 1) {
            const int i = std::countr_zero(left);
            best[b].offer({row[i], static_cast<std::int32_t>(first + at + i)});
          }
        }
    }
    for (Index b = 0; b < B; ++b) {
      std::sort_heap(kept + b * k, kept + (b + 1) * k, BetterScored());
      for (Index i = 0; i < k; ++i) {
        ids[b * k + i] = kept[b * k + i].id;
        scores[b * k + i] = kept[b * k + i].score;
      }
    }
  }

  Index V_, D_;
  std::vector<float> packed_;
};

}  // namespace bench
