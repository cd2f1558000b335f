#include "kernels/cpu/catalog_scan.h"

#include <bit>

namespace stamp::cpu {

namespace {

// Where bounds leave more of a panel, all of it is scored: to list, and to rank, where each is scored at once.
constexpr int kManyListed = 32, kManyRanked = 8;
// Where they did so for every query and kPatience panels, they are tried at one panel in kPause.
constexpr Index kPatience = 8, kPause = 32;

template <class Use>
void for_bits(std::uint64_t bits, Use&& use) {
  for (; bits; bits &= bits - 1) use(std::countr_zero(bits));
}

}  // namespace

BlockScan::BlockScan(const CatalogScan& scan, Index first, Index count, Index k, Scored* kept)
    : simd_(simd()),
      gemm8_(gemm8()),
      scan_(scan),
      p_(scan.problem),
      first_(first),
      count_(count),
      room_(scan.table ? 4 * k + 256 : 0) {
  waiting_ = scratch<Waiting, 17>(count * room_);
  const Index room = BestScored::room(k, p_.V);
  float* bounds = scratch<float, 18>(scan.table ? count * room : 0);
  for (Index r = 0; r < count; ++r) {
    best_[r] = {kept + r * room, k};
    lower_[r] = {bounds + r * room, k};
  }
}

void BlockScan::run(Index begin, Index end) {
  for (Index r = 0; p_.floors.begin && r < count_; ++r) {
    const std::int32_t* ids = p_.floors.ids;
    next_floor_[r] =
        std::lower_bound(ids + p_.floors.begin[query(r)], ids + p_.floors.begin[query(r) + 1], begin) - ids;
  }
  Index in_vain = 0;  // panels since bounds last were of use
  for (Index at = begin; at < end; at += kPanel) {
    const std::uint64_t products = end - at < kPanel ? (std::uint64_t{1} << (end - at)) - 1 : ~std::uint64_t{0};
    const bool by_bounds = scan_.table && (in_vain < kPatience || in_vain % kPause == 0);
    in_vain = scan_panel(at, products, by_bounds) ? 0 : in_vain + 1;
  }
  for (Index r = 0; r < count_; ++r) {
    drop_ruled_out(r);
    score_waiting(r);
    best_[r].cut();
  }
}

BlockScan::FloorsOfPanel BlockScan::floors_of(Index r, Index begin) {
  FloorsOfPanel found;
  if (!p_.floors.begin) return found;
  const Index last = p_.floors.begin[query(r) + 1];
  Index& next = next_floor_[r];
  while (next < last && p_.floors.ids[next] < begin) ++next;
  found.ids = p_.floors.ids + next;
  found.values = p_.floors.values + next;
  for (; next + found.n < last && found.ids[found.n] < begin + kPanel; ++found.n)
    found.products |= std::uint64_t{1} << (found.ids[found.n] - begin);
  return found;
}

// Whether bounds were of use.
bool BlockScan::scan_panel(Index begin, std::uint64_t products, bool by_bounds) {
  std::array<Index, kQueries> whole;  // queries that the whole panel is scored for
  Index n_whole = 0;
  if (by_bounds) {
    const Index groups = Int8Table::groups(p_.D), width = groups * Gemm8::kGroup;
    const Index digits = scan_.digits;
    alignas(64) std::array<std::int32_t, 2 * kQueries * kPanel> integers;
    gemm8_.multiply(digits * count_, groups, scan_.queries + digits * first_ * width, width, scan_.table->panel(begin),
                    integers.data(), kPanel);
    for (Index r = 0; r < count_; ++r)
      if (!rule_out(r, begin, products, integers.data() + digits * r * kPanel)) whole[n_whole++] = query(r);
  } else {
    for (Index r = 0; r < count_; ++r) whole[n_whole++] = query(r);
  }
  if (n_whole == 0) return true;
  const Index n = std::bit_width(products);
  alignas(64) std::array<float, kQueries * kPanel> scores;
  scan_.exact.of_panel(n_whole, whole.data(), begin, n, scores.data());
  for (Index i = 0; i < n_whole; ++i) take(whole[i] - first_, begin, products, scores.data() + i * kPanel);
  return n_whole < count_;
}

// Keeps the few products of a panel that bounds leave. False, and nothing is done, where they leave many.
bool BlockScan::rule_out(Index r, Index begin, std::uint64_t products, const std::int32_t* integers) {
  const QuantizedQuery& q = scan_.quantized[query(r)];
  const Index panel = begin / kPanel;
  const float error = scan_.table->lengths[panel] * q.per_length + scan_.table->rests[panel] * q.per_rest;
  const std::int32_t* high = scan_.digits == 2 ? integers + kPanel : nullptr;
  const auto bounds = [&](const float* boosts, float least, std::uint64_t* surely) {
    return simd_.panel_bounds(integers, q.offset, high, q.high_offset, scan_.table->scales + begin, q.scale, error,
                              Int8Table::kSlack, boosts, least, surely);
  };
  const float* added = boosts(r) ? boosts(r) + begin : nullptr;
  std::array<float, kPanel> cut_off;  // a panel that the catalog ends in
  if (added && begin + kPanel > p_.V) {
    std::copy(added, boosts(r) + p_.V, cut_off.begin());
    added = cut_off.data();
  }
  const FloorsOfPanel floors = floors_of(r, begin);
  std::uint64_t left = bounds(added, least(r), nullptr) & products & ~excluded(r, begin) & ~floors.products;
  std::uint64_t unsure = 0;
  Index surely_above = 0;
  if (is_ranked(r)) {
    products &= ~floors.products;
    std::uint64_t surely;
    unsure = bounds(nullptr, scan_.target_scores[query(r)], &surely) & ~surely & products;
    surely_above = std::popcount(surely & products);
  }
  if (std::popcount(left) > kManyListed || std::popcount(unsure) > kManyRanked) return false;

  const auto bounds_of = [&](Index i) {
    const float sum = static_cast<float>(integers[i] - q.offset) +
                      (high ? 128.0f * static_cast<float>(high[i] - q.high_offset) : 0.0f);
    const float z = q.scale * sum, s = scan_.table->scales[begin + i];
    return Bounds{s * (z - error) - Int8Table::kSlack, s * (z + error) + Int8Table::kSlack};
  };
  above_[r] += surely_above;
  for_bits(unsure, [&](int i) { rank(r, score(r, static_cast<std::int32_t>(begin + i))); });
  for (Index i = 0; i < floors.n; ++i) bound_raised(r, floors, i, bounds_of(floors.ids[i] - begin));
  for_bits(left, [&](int i) {
    const float boost = added ? added[i] : 0;
    const Bounds plain = bounds_of(i);
    wait(r, static_cast<std::int32_t>(begin + i), {plain.lower + boost, plain.upper + boost});
  });
  return true;
}

// A product with a floor: log(exp(z) + exp(floor)) is at least the larger of the two, and at most log 2 above it.
void BlockScan::bound_raised(Index r, const FloorsOfPanel& floors, Index i, Bounds plain) {
  constexpr float kLog2 = 0.7f, kRounding = 0x1p-22f;  // both more than they are
  const std::int32_t v = floors.ids[i];
  const float floor = floors.values[i], upper = std::max(plain.upper, floor);  // NaN stays
  // Without a bound of z from below its score may be NaN, which is never listed.
  const bool bounded = plain.lower > -std::numeric_limits<float>::infinity();
  const Bounds bounds{bounded ? std::max(plain.lower, floor) : plain.lower,
                      upper + kLog2 + kRounding * std::abs(upper)};
  if (is_ranked(r)) {
    const float target = scan_.target_scores[query(r)];
    if (bounds.lower > target)
      ++above_[r];
    else if (!(bounds.upper < target))
      rank(r, score(r, v));
  }
  if (excluded(r, v) >> (v % kPanel) & 1) return;
  const float boost = boosts(r) ? boosts(r)[v] : 0;
  if (!(bounds.upper + boost < least(r))) wait(r, v, {bounds.lower + boost, bounds.upper + boost});
}

float BlockScan::least(Index r) const {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  if (scan_.table) return lower_[r].is_full() ? lower_[r].worst() : kNothing;
  return best_[r].is_full() ? best_[r].worst().score : kNothing;
}

float BlockScan::least_behind(Index r) const {
  if (!lower_[r].is_full()) return least(r);
  return std::nextafter(least(r), std::numeric_limits<float>::infinity());
}

void BlockScan::wait(Index r, std::int32_t v, Bounds bounds) {
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  lower_[r].offer(std::isnan(bounds.lower) ? -kInfinite : bounds.lower);
  if (n_waiting_[r] == room_) {
    drop_ruled_out(r);
    if (n_waiting_[r] > room_ / 2) score_waiting(r);
  }
  waiting(r)[n_waiting_[r]++] = {std::isnan(bounds.upper) ? kInfinite : bounds.upper, v};
}

void BlockScan::drop_ruled_out(Index r) {
  lower_[r].cut();
  const float bound = least(r);
  n_waiting_[r] = std::remove_if(waiting(r), waiting(r) + n_waiting_[r],
                                 [&](const Waiting& product) { return product.upper < bound; }) -
                  waiting(r);
}

void BlockScan::score_waiting(Index r) {
  constexpr Index kTogether = 16;
  std::array<std::int32_t, kTogether> ids;
  std::array<float, kTogether> scores;
  const Waiting* all = waiting(r);
  for (Index first = 0; first < n_waiting_[r]; first += kTogether) {
    const Index n = std::min(kTogether, n_waiting_[r] - first);
    for (Index i = 0; i < n; ++i) ids[i] = all[first + i].id;
    for (Index i = first + n; i < std::min(first + n + kTogether, n_waiting_[r]); ++i) scan_.exact.prefetch(all[i].id);
    scan_.exact.of(query(r), n, ids.data(), scores.data());
    for (Index i = 0; i < n; ++i) {
      raise(r, ids[i], scores[i]);
      if (const float* boost = boosts(r)) scores[i] += boost[ids[i]];
      if (scores[i] >= least(r)) best_[r].offer({scores[i], ids[i]});
    }
  }
  scored_[r] += n_waiting_[r];
  n_waiting_[r] = 0;
}

// A whole panel of exact scores.
void BlockScan::take(Index r, Index begin, std::uint64_t products, float* scores) {
  scored_[r] += std::popcount(products);
  const FloorsOfPanel floors = floors_of(r, begin);
  for (Index i = 0; i < floors.n; ++i)
    scores[floors.ids[i] - begin] = raised(scores[floors.ids[i] - begin], floors.values[i]);
  if (is_ranked(r)) for_bits(products, [&](int i) { rank(r, scores[i]); });
  if (const float* boost = boosts(r)) for_bits(products, [&](int i) { scores[i] += boost[begin + i]; });
  for_bits(simd_.panel_at_least(scores, least_behind(r)) & products & ~excluded(r, begin),
           [&](int i) { offer(r, begin + i, scores[i]); });
}

float BlockScan::score(Index r, std::int32_t v) {
  ++scored_[r];
  float score = scan_.exact.of(query(r), v);
  raise(r, v, score);
  return score;
}

void BlockScan::raise(Index r, std::int32_t v, float& score) const {
  for_floors(p_.floors, query(r), v, v + 1, [&](std::int32_t, float floor) { score = raised(score, floor); });
}

void BlockScan::rank(Index r, float score) {
  if (!is_ranked(r)) return;
  above_[r] += score > scan_.target_scores[query(r)];
  tied_[r] += score == scan_.target_scores[query(r)];
}

// A score, boost included, of a product that did not wait.
void BlockScan::offer(Index r, Index v, float score) {
  if (!(score >= least(r))) return;
  if (scan_.table) lower_[r].offer(score);
  best_[r].offer({score, static_cast<std::int32_t>(v)});
}

}  // namespace stamp::cpu
