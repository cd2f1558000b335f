// Versions of a value: readers keep theirs, the next one is an old one brought up to date.
#include <atomic>
#include <numeric>
#include <random>
#include <thread>

#include "stamp/versions.h"
#include "tests/check.h"

using stamp::Versions;

namespace {

struct Numbers {
  std::vector<int> values;
  static inline std::atomic<int> copies = 0;

  explicit Numbers(std::size_t n) : values(n) {}
  Numbers(const Numbers& other) : values(other.values) { ++copies; }
};
using Change = std::pair<std::size_t, int>;

using Changed = Versions<Numbers, Change>;

void apply(Numbers& numbers, const std::vector<Change>& changes) {
  for (const auto& [at, value] : changes) numbers.values[at] = value;
}

void change(Changed& versions, std::vector<Change> changes) {
  versions.publish(versions.prepare(std::move(changes), apply));
}

}  // namespace

TEST_CASE("changes are there in the next version, and two copies are all that it takes") {
  Numbers::copies = 0;
  Changed versions(std::make_shared<const Numbers>(5));
  std::vector<int> expected(5);
  for (int i = 0; i < 100; ++i) {
    const auto at = static_cast<std::size_t>(i * 7 % 5), other = static_cast<std::size_t>(i * 3 % 5);
    expected[at] = i;
    expected[other] = -i;
    change(versions, {{at, i}, {other, -i}});
    REQUIRE(versions.latest()->values == expected);
  }
  CHECK(Numbers::copies == 2);
}

TEST_CASE("a version that is read stays what it is, and one that was read for long is not used again") {
  Changed versions(std::make_shared<const Numbers>(3));
  change(versions, {{0, 1}});
  auto held = versions.latest();
  for (int i = 2; i < 10; ++i) change(versions, {{static_cast<std::size_t>(i % 3), i}});
  CHECK(held->values == std::vector<int>{1, 0, 0});
  held.reset();  // of many versions ago
  change(versions, {{2, 20}});
  CHECK(versions.latest()->values == std::vector<int>{9, 7, 20});
  change(versions, {{1, 30}});
  CHECK(versions.latest()->values == std::vector<int>{9, 30, 20});
}

TEST_CASE("what is not published changes nothing, and is in no later version") {
  Changed versions(std::make_shared<const Numbers>(3));
  for (int i = 1; i < 4; ++i) change(versions, {{0, i}});
  CHECK_THROWS_AS(versions.prepare({{1, 5}},
                                   [](Numbers& numbers, const auto&) {
                                     numbers.values[1] = 5;
                                     throw std::bad_alloc();
                                   }),
                  std::bad_alloc);
  static_cast<void>(versions.prepare({{1, 6}}, apply));
  CHECK(versions.latest()->values == std::vector<int>{3, 0, 0});
  for (int i = 0; i < 4; ++i) {
    change(versions, {{2, 7 + i}});
    CHECK(versions.latest()->values == std::vector<int>{3, 0, 7 + i});
  }
}

TEST_CASE("versions that are read for a while are used again, however many changes came meanwhile") {
  Changed versions(std::make_shared<const Numbers>(4));
  std::vector<int> expected(4);
  std::vector<std::shared_ptr<const Numbers>> held;
  std::mt19937 random(3);
  for (int i = 1; i <= 500; ++i) {
    expected[static_cast<std::size_t>(i % 4)] = i;
    change(versions, {{static_cast<std::size_t>(i % 4), i}});
    REQUIRE(versions.latest()->values == expected);
    held.push_back(versions.latest());
    while (held.size() > random() % 12) held.erase(held.begin() + static_cast<std::ptrdiff_t>(random() % held.size()));
  }
}

TEST_CASE("readers may outlive all of it") {
  std::shared_ptr<const Numbers> held;
  {
    Changed versions(std::make_shared<const Numbers>(3));
    change(versions, {{0, 1}});
    held = versions.latest();
  }
  CHECK(held->values == std::vector<int>{1, 0, 0});
}

TEST_CASE("threads read whole versions while one changes them") {
  constexpr std::size_t kSize = 64;
  Changed versions(std::make_shared<const Numbers>(kSize));
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t)
    readers.emplace_back([&] {
      for (int last = 0; !done;) {
        const auto numbers = versions.latest();
        const int first = numbers->values.front();
        wrong += first < last;
        for (const int value : numbers->values) wrong += value != first;
        last = first;
      }
    });
  for (int i = 1; i <= 3000; ++i) {
    std::vector<Change> changes;
    for (std::size_t at = 0; at < kSize; ++at) changes.emplace_back(at, i);
    change(versions, std::move(changes));
  }
  done = true;
  for (auto& reader : readers) reader.join();
  CHECK(wrong == 0);
}
