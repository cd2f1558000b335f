// A set of places, as bits, for what most requests have none of.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "stamp/error.h"

namespace stamp {

// Of places 0 … n-1. Nothing is written while nothing is in it, bits that exist already are pointed to, and a few
// places beside them are a list: only more takes bits of its own, whose room is kept for the next time. Counts as it
// goes. By one thread at a time, bits() too.
class STAMP_API PlaceSet {
 public:
  explicit PlaceSet(std::int64_t n = 0) { reset(n); }
  PlaceSet(const PlaceSet&) = delete;  // bits_ may point to own_
  PlaceSet& operator=(const PlaceSet&) = delete;

  void reset(std::int64_t n);  // none of n places is in it

  std::int64_t n() const { return n_; }
  std::int64_t count() const { return count_; }
  std::int64_t left() const { return n_ - count_; }  // places that are not in it
  // A word for 64 places, no bit set beyond the last; no words where nothing is in it.
  std::span<const std::uint64_t> bits() const;
  // The same in two parts, of which none is written for this: bits, and places that are not among them, ascending.
  std::span<const std::uint64_t> most_bits() const {
    return bits_ ? std::span(bits_, words()) : std::span<const std::uint64_t>();
  }
  std::span<const std::int32_t> few() const { return few_; }
  bool contains(std::int32_t place) const {
    return (bits_ && (bits_[place / 64] >> (place % 64) & 1)) || std::binary_search(few_.begin(), few_.end(), place);
  }

  void add(std::int32_t place) { add({&place, 1}); }
  void add(std::span<const std::int32_t> places);
  // As bits() has them, `count` of them set. They must stay as they are while this set is in use.
  void add(std::span<const std::uint64_t> bits, std::int64_t count);
  // Calls list(keep), and keep(places) from there: all places but those.
  template <class List>
  void add_all_but(List&& list) {
    kept_.assign(words(), 0);
    list([&](std::span<const std::int32_t> places) {
      for (std::int32_t place : places) kept_[place / 64] |= std::uint64_t{1} << (place % 64);
    });
    add_all_but_kept();
  }
  // mark(bits) sets some of [words] bits, and returns how many that were not.
  template <class Mark>
  void add_marked(Mark&& mark) {
    const std::int64_t fresh = mark(own());
    count_ += fresh;
  }

 private:
  std::size_t words() const { return static_cast<std::size_t>((n_ + 63) / 64); }
  std::uint64_t* own() const;  // bits_, in own_, with all that there is
  void add_all_but_kept();

  std::int64_t n_ = 0, count_ = 0;
  // What is in it, in one of three forms, which bits() changes.
  mutable const std::uint64_t* bits_ = nullptr;  // [words()], or null; somebody else's or own_
  mutable std::vector<std::int32_t> few_;        // beside those; none where they are own_
  mutable std::vector<std::uint64_t> own_;
  std::vector<std::uint64_t> kept_;
};

}  // namespace stamp
