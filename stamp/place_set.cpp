#include "stamp/place_set.h"

namespace stamp {

namespace {

constexpr std::size_t kFew = 64;

}  // namespace

void PlaceSet::reset(std::int64_t n) {
  n_ = n;
  count_ = 0;
  bits_ = nullptr;
  few_.clear();
}

std::uint64_t* PlaceSet::own() const {
  if (bits_ && bits_ == own_.data()) return own_.data();
  if (bits_)
    own_.assign(bits_, bits_ + words());
  else
    own_.assign(words(), 0);
  for (std::int32_t place : few_) own_[place / 64] |= std::uint64_t{1} << (place % 64);
  few_.clear();
  bits_ = own_.data();
  return own_.data();
}

std::span<const std::uint64_t> PlaceSet::bits() const {
  if (count_ == 0) return {};
  if (!few_.empty()) own();
  return {bits_, words()};
}

void PlaceSet::add(std::span<const std::int32_t> places) {
  for (std::int32_t place : places) {
    if (contains(place)) continue;
    ++count_;
    if (few_.size() < kFew && !(bits_ && bits_ == own_.data()))
      few_.insert(std::lower_bound(few_.begin(), few_.end(), place), place);
    else
      own()[place / 64] |= std::uint64_t{1} << (place % 64);
  }
}

void PlaceSet::add(std::span<const std::uint64_t> bits, std::int64_t count) {
  if (count == 0) return;
  if (!bits_) {
    bits_ = bits.data();
    std::erase_if(few_, [&](std::int32_t place) { return bits[place / 64] >> (place % 64) & 1; });
    count_ = count + static_cast<std::int64_t>(few_.size());
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
