// One run of the catalog, scanned for a block of queries, panel after panel.
#pragma once

#include <array>
#include <functional>

#include "kernels/cpu/int8_table.h"
#include "kernels/cpu/top_k.h"

namespace stamp::cpu {

// What all scans of a problem read.
struct CatalogScan {
  const CatalogTopK& problem;
  const ExactScores& exact;
  const float* target_scores;       // [B], NaN where there is none
  const Int8Table* table;           // null: every product is scored
  Index digits;                     // of quantized queries, 1 or 2
  const std::int8_t* queries;       // [B, digits, 4 groups] of quantize_query, the high one last
  const QuantizedQuery* quantized;  // [B]
};

// Queries first … first+count-1. Keeps the k best products of each in kept [count, BestScored::room(k, V)], and ranks
// their targets.
class BlockScan {
 public:
  static constexpr Index kQueries = 64;  // at most
  using BestScored = Best<Scored, BetterScored>;

  BlockScan(const CatalogScan& scan, Index first, Index count, Index k, Scored* kept);

  // Products begin … end-1, whole panels but for the end of the catalog.
  void run(Index begin, Index end);

  Index size(Index r) const { return best_[r].size(); }  // of what query r keeps
  Index above(Index r) const { return above_[r]; }
  Index tied(Index r) const { return tied_[r]; }
  Index scored(Index r) const { return scored_[r]; }  // scores that were made from the rows themselves

 private:
  static constexpr Index kPanel = Int8Table::kPanel;

  // Entries of a query's floors that are of one panel.
  struct FloorsOfPanel {
    const std::int32_t* ids = nullptr;
    const float* values = nullptr;
    Index n = 0;
    std::uint64_t products = 0;
  };

  struct Bounds {
    float lower, upper;
  };

  // A product that may be among the k best, unless it is ruled out before the run ends.
  struct Waiting {
    float upper;
    std::int32_t id;
  };

  bool scan_panel(Index begin, std::uint64_t products, bool by_bounds);
  bool rule_out(Index r, Index begin, std::uint64_t products, const std::int32_t* integers);
  void take(Index r, Index begin, std::uint64_t products, float* scores);
  float score(Index r, std::int32_t v);  // raised to its floor
  FloorsOfPanel floors_of(Index r, Index begin);
  void bound_raised(Index r, const FloorsOfPanel& floors, Index i, Bounds plain);
  void rank(Index r, float score);
  void offer(Index r, Index v, float score);
  void wait(Index r, std::int32_t v, Bounds bounds);
  void raise(Index r, std::int32_t v, float& score) const;
  void drop_ruled_out(Index r);
  void score_waiting(Index r);

  Index query(Index r) const { return first_ + r; }
  bool is_ranked(Index r) const { return p_.targets && p_.targets[query(r)] >= 0; }
  const float* boosts(Index r) const { return p_.boosts ? p_.boosts[query(r)] : nullptr; }
  std::uint64_t excluded(Index r, Index v) const {  // of v's panel
    return p_.excluded && p_.excluded[query(r)] ? p_.excluded[query(r)][v / kPanel] : 0;
  }
  float least(Index r) const;         // what is below it is not among the k best
  float least_behind(Index r) const;  // the same of a product behind all that were offered: of equal ones it comes last
  Waiting* waiting(Index r) const { return waiting_ + r * room_; }

  const Simd& simd_;
  const Gemm8& gemm8_;
  const CatalogScan& scan_;
  const CatalogTopK& p_;
  Index first_, count_;
  std::array<BestScored, kQueries> best_;                         // of the scores that were made
  std::array<Best<float, std::greater<float>>, kQueries> lower_;  // with a table: bounds of scores, or scores
  Waiting* waiting_;                                              // [count, room]
  Index room_;
  std::array<Index, kQueries> n_waiting_{}, above_{}, tied_{}, scored_{};
  std::array<Index, kQueries> next_floor_{};  // the first entry of a panel to come
};

}  // namespace stamp::cpu
