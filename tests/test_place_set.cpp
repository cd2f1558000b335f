// Sets of places against sets of integers; what is pointed to and what is not written at all.
#include <bit>
#include <random>
#include <set>

#include "stamp/place_set.h"
#include "tests/check.h"

using namespace stamp;

namespace {

using Places = std::set<std::int32_t>;

std::vector<std::uint64_t> bits_of(const Places& places, std::int64_t n) {
  std::vector<std::uint64_t> bits(static_cast<std::size_t>((n + 63) / 64));
  for (std::int32_t place : places) bits[place / 64] |= std::uint64_t{1} << (place % 64);
  return bits;
}

std::vector<std::uint64_t> bits_of(const PlaceSet& set) { return {set.bits().begin(), set.bits().end()}; }

}  // namespace

TEST_CASE("a place set holds what a set of integers holds, from one use to the next") {
  std::mt19937 random(1);
  const auto below = [&](std::int64_t n) { return static_cast<std::int32_t>(random() % static_cast<unsigned>(n)); };
  PlaceSet set;
  CHECK(set.bits().empty());
  for (int round = 0; round < 3000; ++round) {
    const std::int64_t n = std::vector<std::int64_t>{1, 63, 64, 65, 128, 200}[below(6)];
    CAPTURE(n);
    set.reset(n);
    Places expected;
    std::vector<std::vector<std::uint64_t>> pointed_to;
    std::vector<std::vector<std::uint64_t>> before;
    pointed_to.reserve(8);
    for (int step = below(6); step > 0; --step) {
      std::vector<std::int32_t> places;
      for (int i = below(20); i > 0; --i) places.push_back(below(n));
      const Places listed(places.begin(), places.end());
      switch (below(5)) {
        case 0:
          set.add(std::span<const std::int32_t>(places));
          expected.insert(listed.begin(), listed.end());
          break;
        case 1: {
          const std::int32_t place = below(n);
          set.add(place);
          expected.insert(place);
          break;
        }
        case 2:
          pointed_to.push_back(bits_of(listed, n));
          before.push_back(pointed_to.back());
          set.add(pointed_to.back(), static_cast<std::int64_t>(listed.size()));
          expected.insert(listed.begin(), listed.end());
          break;
        case 3:
          set.add_all_but([&](auto&& keep) {
            for (std::int32_t place : places) keep(std::span(&place, 1));
          });
          for (std::int32_t place = 0; place < n; ++place)
            if (!listed.contains(place)) expected.insert(place);
          break;
        default:
          set.add_marked([&](std::uint64_t* bits) {
            std::int64_t fresh = 0;
            for (std::int32_t place : listed) {
              fresh += !(bits[place / 64] >> (place % 64) & 1);
              bits[place / 64] |= std::uint64_t{1} << (place % 64);
            }
            return fresh;
          });
          expected.insert(listed.begin(), listed.end());
      }
      REQUIRE(set.count() == static_cast<std::int64_t>(expected.size()));
      REQUIRE(set.left() == n - set.count());
      Places parts(set.few().begin(), set.few().end());  // and none of them twice
      REQUIRE(parts.size() == set.few().size());
      REQUIRE(std::is_sorted(set.few().begin(), set.few().end()));
      for (std::int32_t place = 0; place < n; ++place) {
        REQUIRE(set.contains(place) == expected.contains(place));
        if (!set.most_bits().empty() && set.most_bits()[place / 64] >> (place % 64) & 1)
          REQUIRE(parts.insert(place).second);
      }
      REQUIRE(parts == expected);
      if (expected.empty())
        REQUIRE(set.bits().empty());
      else
        REQUIRE(bits_of(set) == bits_of(expected, n));
      for (std::int32_t place = 0; place < n; ++place) REQUIRE(set.contains(place) == expected.contains(place));
    }
    REQUIRE(pointed_to == before);
  }
}

TEST_CASE("bits that exist already are pointed to until something else comes in") {
  const std::vector<std::uint64_t> fixed{0b1011, 1}, none{0, 0};
  PlaceSet set(100);
  set.add(std::span(fixed), 4);
  CHECK(set.bits().data() == fixed.data());
  set.add(std::span(none), 0);
  set.add(64);
  set.add(std::vector<std::int32_t>{0, 1, 3});
  set.add(std::span<const std::int32_t>());
  CHECK(set.bits().data() == fixed.data());  // nothing new came in
  set.add(2);
  CHECK(set.most_bits().data() == fixed.data());  // it stands beside them
  CHECK(std::vector(set.few().begin(), set.few().end()) == std::vector<std::int32_t>{2});
  CHECK(set.bits().data() != fixed.data());
  CHECK(set.few().empty());
  CHECK(bits_of(set) == std::vector<std::uint64_t>{0b1111, 1});
  CHECK(set.count() == 5);
  CHECK(fixed == std::vector<std::uint64_t>{0b1011, 1});

  set.reset(100);
  CHECK(set.left() == 100);
  set.add(std::span(none), 0);
  CHECK(set.bits().empty());
  set.add(std::span(fixed), 4);
  CHECK(set.bits().data() == fixed.data());
  set.reset(0);
  set.add_all_but([](auto&&) {});
  CHECK(set.bits().empty());
}
