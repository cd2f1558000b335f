// The products of a history, as those that the visitor may come back to: what Config::repeat_floors tells apart.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "stamp/error.h"

namespace stamp {

// Who has come back to a product comes back again: from one new product to the next by way of the same old one, or
// among a few old ones. So the kinds say who comes back, whether the last events did, and what was come back to. In a
// history in which no product came twice: 0 where it has one or two events, 1 where more. Else 2, + 1 for a product
// that came more than once, + 2 where the anchor had come before, + 4 where the event before the anchor had.
struct Repeat {
  static constexpr std::int64_t kKinds = 10;

  std::int32_t row;
  std::int32_t ago;   // events between its last one and the next: 0 for the anchor
  std::int32_t kind;  // 0 … kKinds-1

  // Its place among [kKinds,distances] floors; the last distance is that of all beyond, too.
  std::size_t place(std::size_t distances) const {
    return static_cast<std::size_t>(kind) * distances + std::min<std::size_t>(ago, distances - 1);
  }
};

// The distinct products of a history, by ascending row.
STAMP_API void find_repeats(std::span<const std::int32_t> history, std::vector<Repeat>& repeats);

// Floors [kKinds,distances] that are those of `distances` for every kind.
STAMP_API std::vector<float> for_every_kind(std::span<const float> distances);

}  // namespace stamp
