#include "stamp/place_set.h"

namespace stamp {

void PlaceSet::reset(std::int64_t n) {
  n_ = n;
  count_ = 0;
  bits_ = nullptr;
}

std::uint64_t* PlaceSet::own() {
  if (bits_ && bits_ == own_.data()) return own_.data();
  if (count_ > 0)
    own_.assign(bits_, bits_ + words());
  else
    own_.assign(words(), 0);
  bits_ = own_.data();
  return own_.data();
}

void PlaceSet::add(std::span<const std::int32_t> places) {
  std::size_t i = 0;
  while (i < places.size() && contains(places[i])) ++i;  // what is in it already asks for no room
  if (i == places.size()) return;
  std::uint64_t* bits = own();
  std::int64_t fresh = 0;
  for (; i < places.size(); ++i) {
    const auto place = static_cast<std::uint32_t>(places[i]);
    std::uint64_t& word = bits[place / 64];
    fresh += ~word >> (place % 64) & 1;
    word |= std::uint64_t{1} << (place % 64);
  }
  count_ += fresh;
}

void PlaceSet::add(std::span<const std::uint64_t> bits, std::int64_t count) {
  if (count == 0) return;
  if (count_ == 0) {
    bits_ = bits.data();
    count_ = count;
    return;
  }
  std::uint64_t* to = own();
  for (std::size_t word = 0; word < words(); ++word) {
    count_ += std::popcount(bits[word] & ~to[word]);
    to[word] |= bits[word];
  }
}

void PlaceSet::add_all_but_kept() {
  if (n_ == 0) return;
  kept_.back() |= n_ % 64 ? ~std::uint64_t{0} << (n_ % 64) : 0;  // nothing beyond the last place
  std::uint64_t* to = own();
  for (std::size_t word = 0; word < words(); ++word) {
    count_ += std::popcount(~kept_[word] & ~to[word]);
    to[word] |= ~kept_[word];
  }
}

}  // namespace stamp
