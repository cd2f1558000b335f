// Problems of top-k for the tests of its kernels: tables, rules, floors and targets on a device.
#pragma once

#include <algorithm>
#include <cstring>

#include "tests/check.h"
#include "tests/reference.h"

namespace top_k {

using stamp::Array;
using Doubles = std::vector<double>;

// A problem of top-k on a device: floors, sets of exclusions and lines of boosts that several queries share, targets.
struct TopK {
  TopK(const check::DevicePtr& device, std::int64_t B, std::int64_t D, std::int64_t V, std::vector<float> items,
       bool rules = true, bool floors = true)
      : device(device), B(B), D(D), V(V), q(check::random(B * D, 1, 7)), items(std::move(items)) {
    const std::int64_t words = (V + 63) / 64;
    excluded.resize(2 * words);
    for (std::int64_t v = 0; v < V; ++v) {
      excluded[v / 64] |= std::uint64_t{v % 3 == 0} << (v % 64);
      excluded[words + v / 64] |= std::uint64_t{v % 7 < 5} << (v % 64);
    }
    boosts = check::random(2 * V, 1, 9);
    for (std::int64_t v = 0; v < V; v += 5) boosts[v] = v % 2 ? -INFINITY : 1e4f;
    for (std::int64_t b = 0; b < B; ++b) {
      exclusion.push_back(static_cast<std::int32_t>(rules ? b % 3 - 1 : -1));
      boost.push_back(static_cast<std::int32_t>(rules ? b / 3 % 3 - 1 : -1));
      targets.push_back(static_cast<std::int32_t>(b % 5 == 2 ? -1 : b * 11 % V));
    }
    const float heights[] = {-3, 2, 40, std::numeric_limits<float>::lowest()};
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t v = b % 7; floors && b % 4 != 3 && v < V; v += 1 + (v * 31 + b) % (V / 4 + 1)) {
        floor_ids.push_back(static_cast<std::int32_t>(v));
        floor_values.push_back(heights[(b + v) % 4]);
      }
      floor_begin.push_back(static_cast<std::int32_t>(floor_ids.size()));
    }
    on_floor_begin = check::on(device, floor_begin);
    on_floor_ids = check::on(device, floor_ids);
    on_floor_values = check::on(device, floor_values);
    on_q = check::on(device, q);
    on_excluded = check::on(device, excluded);
    on_boosts = check::on(device, boosts);
    std::vector<const std::uint64_t*> sets;
    std::vector<const float*> lines;
    for (std::int64_t b = 0; b < B; ++b) {
      sets.push_back(exclusion[b] < 0 ? nullptr : on_excluded.data() + exclusion[b] * words);
      lines.push_back(boost[b] < 0 ? nullptr : on_boosts.data() + boost[b] * V);
    }
    on_sets = check::on(device, sets);
    on_lines = check::on(device, lines);
    on_targets = check::on(device, targets);
    on_items = check::on(device, this->items);
    check::Guarded<std::byte> copy(device, device->packed_size(V, D));
    device->pack_items(V, D, {on_items.data()}, copy.data());
    packed = check::on(device, copy.values());
  }

  struct Lists {
    std::vector<std::int32_t> ids;
    std::vector<float> scores;
    std::vector<std::int64_t> above, tied;
    bool operator==(const Lists&) const = default;
  };

  // Of `count` queries from `first` on.
  Lists run(std::int64_t k, std::int64_t first, std::int64_t count, bool with_targets = true, bool with_boosts = true,
            bool with_copy = true) const {
    check::Guarded<std::int32_t> ids(device, count * k);
    check::Guarded scores(device, count * k);
    check::Guarded<std::int64_t> above(device, count), tied(device, count);
    device->catalog_top_k({.B = count,
                           .D = D,
                           .V = V,
                           .k = k,
                           .queries = on_q.data() + first * D,
                           .items = {on_items.data()},
                           .packed = with_copy ? packed.data() : nullptr,
                           .floors = {on_floor_begin.data() + first, on_floor_ids.data(), on_floor_values.data()},
                           .excluded = on_sets.data() + first,
                           .boosts = with_boosts ? on_lines.data() + first : nullptr,
                           .targets = with_targets ? on_targets.data() + first : nullptr,
                           .ids = ids.data(),
                           .scores = scores.data(),
                           .above = with_targets ? above.data() : nullptr,
                           .tied = with_targets ? tied.data() : nullptr});
    return {ids.values(), scores.values(), above.values(), tied.values()};
  }
  Lists run(std::int64_t k) const { return run(k, 0, B); }

  bool is_excluded(std::int64_t b, std::int64_t v) const {
    return exclusion[b] >= 0 && (excluded[exclusion[b] * ((V + 63) / 64) + v / 64] >> (v % 64) & 1);
  }
  const float* floor_of(std::int64_t b, std::int64_t v) const {
    const auto first = floor_ids.begin() + floor_begin[b], last = floor_ids.begin() + floor_begin[b + 1];
    const auto found = std::find(first, last, v);
    return found == last ? nullptr : &floor_values[found - floor_ids.begin()];
  }
  // All scores [B,V], without boosts.
  Doubles scores() const {
    auto z = reference::scores_of(B, D, V, q, Doubles(items.begin(), items.end()));
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t i = floor_begin[b]; i < floor_begin[b + 1]; ++i) {
        double& score = z[b * V + floor_ids[i]];
        score = reference::raised(score, floor_values[i]);
      }
    return z;
  }
  double boost_of(std::int64_t b, std::int64_t v) const { return boost[b] < 0 ? 0 : boosts[boost[b] * V + v]; }

  check::DevicePtr device;
  std::int64_t B, D, V;
  std::vector<float> q, items, boosts;
  std::vector<std::uint64_t> excluded;
  std::vector<std::int32_t> exclusion, boost, targets, floor_begin{0}, floor_ids;
  std::vector<float> floor_values;
  Array<float> on_q, on_items, on_boosts, on_floor_values;
  Array<std::byte> packed;
  Array<std::uint64_t> on_excluded;
  Array<const std::uint64_t*> on_sets;
  Array<const float*> on_lines;
  Array<std::int32_t> on_targets, on_floor_begin, on_floor_ids;
};

// NaN included: the scores of queries that are not finite, and ranks that nobody asked for.
inline bool same_bits(const TopK::Lists& a, const TopK::Lists& b) {
  const auto same = [](const auto& x, const auto& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(x[0])) == 0;
  };
  return same(a.ids, b.ids) && same(a.scores, b.scores) && same(a.above, b.above) && same(a.tied, b.tied);
}

// Random items, every tenth equal to the first, one with a NaN, one whose scores overflow.
inline std::vector<float> awkward_items(std::int64_t D, std::int64_t V) {
  auto items = check::random(V * D, 1, 8);
  for (std::int64_t v = 10; v < V; v += 10) std::copy_n(items.begin(), D, items.begin() + v * D);
  if (V > 40) items[33 * D] = NAN;
  return items;
}

inline std::vector<std::vector<float>> all_kinds_of_items(std::int64_t D, std::int64_t V) {
  const auto normal = check::random(V * D, 1, 8);
  auto equal = normal, huge = normal, tiny = normal, uneven = normal;
  for (std::int64_t i = 0; i < V * D; ++i) {
    equal[i] = 0.5f + 1e-4f * normal[i];  // nearly: no bound tells them apart
    tiny[i] *= i / D % 3 ? 1e-25f : 1;
    uneven[i] *= i / D % 50 ? 0.1f : 10;
  }
  for (std::int64_t v = 0; v < V; v += 7) huge[v * D] = v % 2 ? 1e25f : INFINITY;
  return {awkward_items(D, V), normal, equal, huge, tiny, uneven, std::vector<float>(V * D)};
}

}  // namespace top_k
