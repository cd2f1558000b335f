// Pairs of products that occur together in sessions, weighed: what rules and successors are made of.
#pragma once

#include <functional>

#include "stamp/lists.h"

namespace stamp {

// Lists with a weight for each of their values.
struct WeightedLists {
  Lists lists;
  std::vector<float> weights;  // of lists.values

  std::span<const float> weights_of(std::int64_t key) const {
    return std::span(weights).subspan(static_cast<std::size_t>(lists.offsets[key]), lists[key].size());
  }
  // The same, where keys and values are products, over a catalog of V, of which rows[x] is product x here; what
  // concerns one that is not there, -1, is left out. Throws std::invalid_argument for rows of another number, or no
  // rows of V.
  WeightedLists in_catalog(std::span<const std::int32_t> rows, std::int64_t V) const;
};

// Where each product of 0 … V-1 occurs, as events of `sessions`, and the session that each event is of. 12 bytes an
// event. Throws std::invalid_argument for more sessions than 32 bits number.
struct Occurrences {
  std::vector<std::int64_t> begins, events;
  std::vector<std::int32_t> session;

  Occurrences(const Sessions& sessions, std::int64_t V);
  std::span<const std::int64_t> operator[](std::int32_t row) const {
    return std::span(events).subspan(static_cast<std::size_t>(begins[row]),
                                     static_cast<std::size_t>(begins[row + 1] - begins[row]));
  }
};

// Of each product x of 0 … V-1 the `most` products of the largest weight (0: all), sorted by it, of equal ones that
// which occurs first. add(x, sums) adds up the weights of pairs (x, y) in the order in which y occurs; weigh(x, y, sum)
// says what they come to, where it is not the sum. On all cores, to the same bits whatever their number; memory: the
// pairs kept, and 13·V bytes a thread.
WeightedLists strongest_pairs(std::int64_t V, std::int64_t most, const std::function<void(std::int32_t, Scores&)>& add,
                              const std::function<double(std::int32_t, std::int32_t, double)>& weigh = {});

}  // namespace stamp
