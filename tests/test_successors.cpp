// Products that come near each other: brute force over all pairs of events, files, what is refused.
#include "stamp/successors.h"

#include <algorithm>
#include <random>

#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

constexpr std::int64_t kProducts = 30;

// Sessions of up to 25 events, some of them of products that are unknown, some weights 0.
Sessions visits(unsigned seed, bool weighted) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  std::vector<float> weights;
  for (int s = 0; s < 80; ++s) {
    for (unsigned n = random() % 26; n > 0; --n) {
      items.push_back(random() % 12 == 0 ? Catalog::kUnknown : static_cast<std::int32_t>(random() % kProducts));
      if (weighted) weights.push_back(static_cast<float>(random() % 4) / 2);
    }
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return Sessions(items, offsets, {}, weights);
}

void check_same(const Successors& found, const std::array<reference::Shares, 2>& expected) {
  REQUIRE(found.steps() == 2);
  for (int step : {1, 2}) {
    const auto& shares = expected[step - 1];
    REQUIRE(found.V() == static_cast<std::int64_t>(shares.size()));
    for (std::int32_t x = 0; x < found.V(); ++x) {
      CAPTURE(step);
      CAPTURE(x);
      REQUIRE(found.rows(x, step).size() == shares[x].size());
      std::size_t i = 0;
      for (const auto& [row, share] : shares[x]) {  // ascending, as they should be
        CHECK(found.rows(x, step)[i] == row);
        CHECK(found.log_shares(x, step)[i] == doctest::Approx(std::log(share)).epsilon(1e-5));
        ++i;
      }
    }
  }
}

}  // namespace

TEST_CASE("successors are what all pairs of events come to") {
  for (unsigned seed = 0; seed < 4; ++seed)
    for (bool weighted : {false, true}) {
      const Sessions sessions = visits(seed, weighted);
      check_same(Successors(sessions, kProducts, kProducts, 2), reference::successor_shares(sessions, kProducts));
      // A catalog that knows fewer products counts those pairs alone.
      check_same(Successors(sessions, 20, kProducts, 2), reference::successor_shares(sessions, 20));
    }
}

TEST_CASE("sessions that are left out do not count, and of each product the largest shares are kept") {
  const Sessions sessions = visits(9, false);
  std::vector<std::int64_t> left_out;
  std::set<std::int64_t> left;
  for (std::int64_t s = 0; s < sessions.size(); s += 3)
    if (sessions.length(s) > 0) {
      left.insert(s);
      left_out.push_back(sessions.offsets()[s + 1] - 1);
    }
  check_same(Successors(sessions, kProducts, kProducts, 2, left_out),
             reference::successor_shares(sessions, kProducts, left));
  const auto all = reference::successor_shares(sessions, kProducts)[0];
  const Successors few(sessions, kProducts, 3);
  for (std::int32_t x = 0; x < kProducts; ++x) {
    std::vector<double> shares;
    for (const auto& [row, share] : all[x]) shares.push_back(share);
    std::sort(shares.begin(), shares.end(), std::greater<double>());
    REQUIRE(few.rows(x).size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
      const double share = all[x].at(few.rows(x)[i]);
      CHECK(few.log_shares(x)[i] == doctest::Approx(std::log(share)).epsilon(1e-5));
      CHECK(share >= shares[2] * (1 - 1e-6));
    }
  }
}

TEST_CASE("two steps go by way of what is kept of one, to what is popular more seldom") {
  // 0 leads to 1, and 1 to 2 and 3 alike, of which 2 is clicked in other sessions, too; few are kept of either.
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  const auto visit = [&](std::initializer_list<std::int32_t> session) {
    items.insert(items.end(), session);
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  };
  for (int again = 0; again < 4; ++again)
    for (const auto& session : {std::initializer_list<std::int32_t>{0, 1}, {1, 2}, {1, 3}, {4, 2}}) visit(session);
  visit({0, 5});
  const Sessions sessions(items, offsets);
  const Successors successors(sessions, 6, 2, 2);
  REQUIRE(successors.rows(0, 2).size() == 2);
  CHECK(successors.rows(0, 2)[0] == 2);
  CHECK(successors.rows(0, 2)[1] == 3);
  CHECK(successors.log_shares(0, 2)[1] - successors.log_shares(0, 2)[0] == doctest::Approx(std::log(8.0 / 4) / 2));
  const Successors one(sessions, 6, 2);
  CHECK(one.steps() == 1);
  for (std::int32_t x = 0; x < 6; ++x) CHECK(std::ranges::equal(one.rows(x), successors.rows(x)));
  // 1 is kept of 0, and of 1 the first of 2 and 3, which come equally often.
  const Successors fewest(sessions, 6, 1, 2);
  REQUIRE(fewest.rows(0, 2).size() == 1);
  CHECK(fewest.rows(0, 2)[0] == 2);
  CHECK_THROWS_WITH_AS(Successors(sessions, 6, 1, 3), "Successors: 3 steps, expected 1 or 2", std::invalid_argument);
}

TEST_CASE("what weighs next to nothing has a share, too, in two steps as in one") {
  const Sessions sessions({0, 1, 1, 2}, {0, 2, 4}, {}, std::vector<float>(4, 1e-44f));
  const Successors successors(sessions, 3, 3, 2);
  REQUIRE(successors.rows(0, 2).size() == 1);
  CHECK(successors.log_shares(0)[0] == doctest::Approx(std::log(1e-44 / 20)).epsilon(0.01));
  CHECK(successors.log_shares(0, 2)[0] == doctest::Approx(2 * std::log(1e-44 / 20)).epsilon(0.01));
}

TEST_CASE("a session without an example does not count") {
  const Sessions sessions({1, 2, 1, 3}, {0, 2, 4}, {}, {1, 0, 0, 1});  // 2 is no target, so 1 would lie before it alone
  const Successors successors(sessions, 4, 4);
  CHECK(successors.rows(2).empty());
  REQUIRE(successors.rows(1).size() == 1);
  CHECK(successors.rows(1)[0] == 3);
}

TEST_CASE("in another catalog they are those of the products that it has") {
  const Sessions sessions = visits(5, false);
  const Successors here(sessions, kProducts, kProducts, 2);
  std::vector<std::int32_t> rows(kProducts);  // the other way round, and every seventh product is not there
  for (std::int32_t x = 0; x < kProducts; ++x) rows[x] = x % 7 == 3 ? -1 : 2 * static_cast<std::int32_t>(kProducts) - x;
  std::array<reference::Shares, 2> expected;
  const auto shares = reference::successor_shares(sessions, kProducts);
  for (std::size_t step : {0, 1}) {
    expected[step].resize(2 * kProducts + 1);
    for (std::int32_t x = 0; x < kProducts; ++x)
      for (const auto& [y, share] : shares[step][x])
        if (rows[x] >= 0 && rows[y] >= 0) expected[step][rows[x]][rows[y]] = share;
  }
  check_same(here.in_catalog(rows, 2 * kProducts + 1), expected);
  CHECK_THROWS_AS(here.in_catalog(rows, kProducts), std::invalid_argument);  // rows beyond it
  CHECK_THROWS_AS(here.in_catalog(std::span(rows).first(3), 2 * kProducts + 1), std::invalid_argument);
  rows[1] = rows[2];
  CHECK_THROWS_AS(here.in_catalog(rows, 2 * kProducts + 1), std::invalid_argument);
}

TEST_CASE("a file gives the same successors back, and one that is not sound is refused by name") {
  const check::Folder folder;
  const auto path = folder / "successors.safetensors";
  const Sessions sessions = visits(2, true);
  const Successors successors(sessions, kProducts, 5, 2);
  std::map<std::string, TensorSource> tensors;
  successors.save(tensors, "here/");
  write_safetensors(path, tensors);
  const Successors back(Safetensors(path), "here/", kProducts, 2);
  for (int step : {1, 2})
    for (std::int32_t x = 0; x < kProducts; ++x) {
      CHECK(std::ranges::equal(back.rows(x, step), successors.rows(x, step)));
      CHECK(std::ranges::equal(back.log_shares(x, step), successors.log_shares(x, step)));
    }
  CHECK_THROWS_AS(Successors(Safetensors(path), "here/", kProducts + 1), std::runtime_error);
  tensors.clear();
  const Successors one(sessions, kProducts, 5);
  one.save(tensors, "");
  write_safetensors(path, tensors);
  CHECK(Successors(Safetensors(path), "", kProducts).steps() == 1);
  CHECK_THROWS_AS(Successors(Safetensors(path), "", kProducts, 2), std::runtime_error);

  const auto refused = [&](std::vector<std::int32_t> rows, std::vector<float> shares, const char* why) {
    const std::vector<std::int64_t> offsets{0, 2, 2};
    write_safetensors(path, {{"successors.offsets", TensorSource({DType::i64, {3}}, offsets.data())},
                             {"successors.values", TensorSource({DType::i32, {2}}, rows.data())},
                             {"successors.log_shares", TensorSource({DType::f32, {2}}, shares.data())}});
    CAPTURE(why);
    try {
      Successors(Safetensors(path), "", 2);
      FAIL("was read");
    } catch (const std::runtime_error& error) {
      CHECK(std::string(error.what()).find(path.string()) != std::string::npos);
      CHECK(std::string(error.what()).find(why) != std::string::npos);
    }
  };
  refused({0, 2}, {-1, -1}, "expected 0 to 1");
  refused({1, 0}, {-1, -1}, "do not ascend");
  refused({1, 1}, {-1, -1}, "do not ascend");
  refused({0, 1}, {-1, NAN}, "expected 0 or less");
  refused({0, 1}, {-1, 0.5f}, "expected 0 or less");
}
