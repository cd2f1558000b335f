// The catalog's top-k, against plain loops on awkward sizes and values, with guard bands.
#include <numeric>

#include "tests/top_k.h"

using namespace stamp;
using namespace top_k;

namespace {

// The list of all products is sorted, complete and has the right scores; that of k is its beginning.
void check_lists(const TopK& problem, std::initializer_list<std::int64_t> ks) {
  const std::int64_t B = problem.B, D = problem.D, V = problem.V, most = V + 7;
  const auto z = problem.scores();
  const auto full = problem.run(most);
  for (std::int64_t b = 0; b < B; ++b) {
    CAPTURE(b);
    std::vector<bool> expected(V), listed(V);
    for (std::int64_t v = 0; v < V; ++v) expected[v] = !std::isnan(z[b * V + v]) && !problem.is_excluded(b, v);
    const auto* ids = full.ids.data() + b * most;
    const auto* scores = full.scores.data() + b * most;
    const std::int64_t found = std::find(ids, ids + most, -1) - ids;
    for (std::int64_t i = 0; i < found; ++i) {
      REQUIRE((ids[i] >= 0 && ids[i] < V));
      CHECK(!listed[ids[i]]);
      listed[ids[i]] = true;
      const double score = z[b * V + ids[i]] + problem.boost_of(b, ids[i]);
      if (std::isinf(score))
        CHECK(scores[i] == static_cast<float>(score));
      else
        CHECK(std::abs(scores[i] - score) < 1e-5 * (10 + std::abs(score)));
      const bool sorted = i == 0 || scores[i - 1] > scores[i] || (scores[i - 1] == scores[i] && ids[i - 1] < ids[i]);
      CHECK(sorted);
    }
    CHECK(listed == expected);
    CHECK(std::all_of(ids + found, ids + most, [](auto id) { return id == -1; }));

    const std::int64_t target = problem.targets[b];
    if (target < 0 || std::isnan(z[b * V + target])) {
      CHECK(full.above[b] == V);
      CHECK(full.tied[b] == 0);
      continue;
    }
    std::int64_t surely_above = 0, surely_not_below = -1, equal = -1;  // whatever is excluded or boosted
    for (std::int64_t v = 0; v < V; ++v) {
      surely_above += z[b * V + v] > z[b * V + target] + 1e-4;
      surely_not_below += z[b * V + v] >= z[b * V + target] - 1e-4;
      const auto row = problem.items.begin() + v * D;
      const bool raised = problem.floor_of(b, v) || problem.floor_of(b, target);
      equal += std::equal(row, row + D, problem.items.begin() + target * D) && (v == target || !raised);
    }
    CHECK(full.above[b] >= surely_above);
    CHECK(full.above[b] + full.tied[b] <= surely_not_below);
    CHECK(full.tied[b] >= equal);
  }
  for (std::int64_t k : ks) {
    CAPTURE(k);
    const auto lists = problem.run(k);
    for (std::int64_t b = 0; b < B; ++b) {
      const std::int64_t n = std::min(k, most);
      CHECK(std::equal(lists.ids.begin() + b * k, lists.ids.begin() + b * k + n, full.ids.begin() + b * most));
      for (std::int64_t i = 0; i < n && lists.ids[b * k + i] >= 0; ++i)
        CHECK(lists.scores[b * k + i] == full.scores[b * most + i]);
    }
    CHECK(lists.above == full.above);
    CHECK(lists.tied == full.tied);
  }
}

}  // namespace

TEST_CASE("top-k is what sorting all scores gives: ties, floors, exclusions, boosts, NaN, k beyond the catalog") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const auto check_shape = [&](std::int64_t B, std::int64_t D, std::int64_t V) {
      CAPTURE(B);
      CAPTURE(D);
      CAPTURE(V);
      check_lists(TopK(device, B, D, V, awkward_items(D, V)), {1, 20});
    };
    check_shape(1, 1, 1);
    check_shape(9, 7, 31);
    check_shape(9, 100, 65);
    check_shape(1, 300, 1090);
    check_shape(9, 300, 1023);
    check_shape(130, 33, 577);
    if (check::slow(*device)) continue;
    for (std::int64_t B : {1, 9, 130})
      for (std::int64_t D : {1, 7, 100})
        for (std::int64_t V : {1, 31, 65, 1023, 1090}) check_shape(B, D, V);
    check_shape(3, 33, 20'000);
  }
}

TEST_CASE("a search without targets finds what one with targets does, to the bit, whatever the items") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    int problems = 0;
    for (std::int64_t V : {1, 65, 1090, 5000})
      for (std::int64_t D : {7, 33, 100, 128}) {
        if (check::slow(*device) && V * D > 200'000) continue;
        for (const auto& items : all_kinds_of_items(D, V)) {
          const TopK problem(device, 20, D, V, items);
          // On the simulator all items meet every D, each time with the next k and B; where a catalog takes several
          // blocks and dim is smallest, with all.
          int left = problems++ % 6;
          const bool all = !check::slow(*device) || (V == 5000 && D == 7);
          for (std::int64_t k : {1, 20, 40})
            for (std::int64_t B : {1, 20}) {
              if (!all && left-- != 0) continue;
              CAPTURE(V);
              CAPTURE(D);
              CAPTURE(k);
              CAPTURE(B);
              const auto expected = problem.run(k, 0, B, true, false), found = problem.run(k, 0, B, false, false);
              CHECK(found.ids == expected.ids);
              bool same = true;
              for (std::size_t i = 0; i < found.ids.size(); ++i)
                same &= found.ids[i] < 0 || found.scores[i] == expected.scores[i];
              CHECK(same);
            }
        }
      }
  }
}

TEST_CASE("lists and ranks are the same with a packed copy and without, to the bit, whatever the items") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    for (std::int64_t V : {1, 64, 200, 1090, 4000})
      for (std::int64_t D : {1, 7, 100}) {
        if (check::slow(*device) && V != 200) continue;
        for (const auto& items : all_kinds_of_items(D, V)) {
          const TopK problem(device, 70, D, V, items);
          for (std::int64_t k : {std::int64_t{1}, std::int64_t{20}, V / 3 + 1, V})
            for (std::int64_t B : {1, 2, 70}) {
              if (check::slow(*device) && B != 2) continue;
              CAPTURE(V);
              CAPTURE(D);
              CAPTURE(k);
              CAPTURE(B);
              for (const bool with_targets : {false, true})
                CHECK(same_bits(problem.run(k, 0, B, with_targets), problem.run(k, 0, B, with_targets, true, false)));
            }
        }
      }
  }
}

TEST_CASE("the same of a catalog so large that batches of any size are listed by bounds") {
  constexpr std::int64_t B = 70, D = 7, V = 14'000, k = 20;
  for (const auto& device : check::devices()) {
    if (check::slow(*device)) continue;
    CAPTURE(device->name());
    for (const auto& items : all_kinds_of_items(D, V)) {
      const TopK problem(device, B, D, V, items);
      for (std::int64_t count : {4, 5, 70})
        for (const bool with_targets : {false, true}) {
          CAPTURE(count);
          CHECK(same_bits(problem.run(k, 0, count, with_targets), problem.run(k, 0, count, with_targets, true, false)));
        }
    }
  }
}

TEST_CASE("products that come from the worst to the best, each of which enters the list, or the other way round") {
  constexpr std::int64_t B = 9, V = 1500;
  std::vector<float> items(V);
  std::iota(items.begin(), items.end(), -700.0f);
  for (const auto& device : check::devices()) {
    TopK problem(device, B, 1, V, items, false, false);
    CAPTURE(device->name());
    for (std::int64_t k : {1, 20, 300, 749, 751})
      for (std::int64_t count : {std::int64_t{1}, B}) {
        CAPTURE(k);
        CAPTURE(count);
        const auto lists = problem.run(k, 0, count);
        for (std::int64_t b = 0; b < count; ++b)
          for (std::int64_t i = 0; i < k; ++i) CHECK(lists.ids[b * k + i] == (problem.q[b] > 0 ? V - 1 - i : i));
      }
  }
}

TEST_CASE("rows of a table, packed or not, are listed as a table of these rows is") {
  constexpr std::int64_t B = 5, D = 33, V = 700, k = 40;
  const auto table = check::random(3 * V * D, 1, 8), queries = check::random(B * D, 1, 7);
  std::vector<std::int32_t> places;
  std::vector<float> chosen;
  for (std::int32_t row = 0; row < 3 * V && static_cast<std::int64_t>(places.size()) < V; row += 1 + row % 4) {
    places.push_back(row);
    chosen.insert(chosen.end(), table.begin() + row * D, table.begin() + (row + 1) * D);
  }
  const auto n = static_cast<std::int64_t>(places.size());
  for (const auto& device : check::devices())
    for (const bool normalize : {false, true}) {
      CAPTURE(device->name());
      CAPTURE(normalize);
      const auto on_table = check::on(device, table), on_chosen = check::on(device, chosen),
                 on_queries = check::on(device, queries);
      const auto on_places = check::on(device, places);
      const auto run = [&](const ItemRows& rows, bool with_copy) {
        check::Guarded<std::byte> packed(device, device->packed_size(n, D));
        check::Guarded<std::int32_t> ids(device, B * k);
        check::Guarded scores(device, B * k);
        device->pack_items(n, D, rows, packed.data());
        device->catalog_top_k({.B = B,
                               .D = D,
                               .V = n,
                               .k = k,
                               .queries = on_queries.data(),
                               .items = rows,
                               .packed = with_copy ? packed.data() : nullptr,
                               .ids = ids.data(),
                               .scores = scores.data()});
        return std::pair(ids.values(), scores.values());
      };
      const auto expected = run({on_chosen.data(), nullptr, normalize}, true);
      CHECK(run({on_table.data(), on_places.data(), normalize}, true) == expected);
      CHECK(run({on_table.data(), on_places.data(), normalize}, false) == expected);
    }
}

TEST_CASE("lists of every length, for few and many queries") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const TopK problem(device, 40, 33, 1500, check::random(1500 * 33, 1, 8));
    const auto longest = problem.run(1500, 0, 33);
    for (std::int64_t k : {64, 65, 128, 129, 256, 257, 513, 1024, 1025})
      for (std::int64_t B : {1, 9, 32, 33}) {
        if (check::slow(*device) && B * k > 9000) continue;
        CAPTURE(k);
        CAPTURE(B);
        const auto lists = problem.run(k, 0, B);
        for (std::int64_t b = 0; b < B; ++b)
          CHECK(std::equal(lists.ids.begin() + b * k, lists.ids.begin() + (b + 1) * k, longest.ids.begin() + b * 1500));
      }
  }
}

TEST_CASE("of equal scores the lowest rows are listed, and all others tie with the target") {
  for (const auto& device : check::devices())
    for (std::int64_t V : {1, 65, 1090}) {
      CAPTURE(device->name());
      CAPTURE(V);
      constexpr std::int64_t B = 9, k = 20;
      const TopK problem(device, B, 7, V, std::vector<float>(V * 7, 0.5f), false, false);
      const auto lists = problem.run(k);
      for (std::int64_t b = 0; b < B; ++b) {
        for (std::int64_t i = 0; i < k; ++i) CHECK(lists.ids[b * k + i] == (i < V ? i : -1));
        CHECK(lists.above[b] == (problem.targets[b] < 0 ? V : 0));
        CHECK(lists.tied[b] == (problem.targets[b] < 0 ? 0 : V - 1));
      }
    }
}

TEST_CASE("exclusions and boosts touch no target's rank") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const TopK ruled(device, 70, 33, 577, awkward_items(33, 577)), free(device, 70, 33, 577, ruled.items, false);
    const auto with = ruled.run(20), without = free.run(20);
    CHECK(with.above == without.above);
    CHECK(with.tied == without.tied);
    CHECK(with.ids != without.ids);
  }
}

TEST_CASE("every list is the same for any batch, to the bit") {
  for (const auto& device : check::devices())
    for (std::int64_t D : {33, 100}) {  // of 33, queries begin anywhere
      CAPTURE(device->name());
      constexpr std::int64_t B = 130, k = 50;
      const TopK problem(device, B, D, 1090, awkward_items(D, 1090));
      const auto together = problem.run(k);
      const auto part = [&](std::int64_t first, std::int64_t count) {
        const auto of = [&](const auto& values, std::int64_t width) {
          return std::vector(values.begin() + first * width, values.begin() + (first + count) * width);
        };
        return TopK::Lists{of(together.ids, k), of(together.scores, k), of(together.above, 1), of(together.tied, 1)};
      };
      for (std::int64_t b = 0; b < B; b += check::slow(*device) ? 19 : 1) CHECK(problem.run(k, b, 1) == part(b, 1));
      for (std::int64_t count : {2, 9, 70}) CHECK(problem.run(k, 5, count) == part(5, count));
    }
}

TEST_CASE("normalized panels score by cosine; a zero row scores zero") {
  constexpr std::int64_t B = 3, D = 33, V = 100;
  const auto q = check::random(B * D, 1, 1);
  auto items = check::random(V * D, 1, 2);
  std::fill_n(items.begin() + 7 * D, D, 0.0f);
  Doubles unit(items.begin(), items.end());
  for (std::int64_t v = 0; v < V; ++v) {
    double squared = 0;
    for (std::int64_t d = 0; d < D; ++d) squared += unit[v * D + d] * unit[v * D + d];
    for (std::int64_t d = 0; d < D && squared > 0; ++d) unit[v * D + d] /= std::sqrt(squared);
  }
  const auto z = reference::scores_of(B, D, V, q, unit);
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const auto on_q = check::on(device, q), on_items = check::on(device, items);
    check::Guarded<std::byte> packed(device, device->packed_size(V, D));
    check::Guarded scores(device, B * V);
    check::Guarded<std::int32_t> ids(device, B * V);
    const ItemRows rows{.items = on_items.data(), .normalize = true};
    device->pack_items(V, D, rows, packed.data());
    device->catalog_top_k({.B = B,
                           .D = D,
                           .V = V,
                           .k = V,
                           .queries = on_q.data(),
                           .items = rows,
                           .packed = packed.data(),
                           .ids = ids.data(),
                           .scores = scores.data()});
    const auto listed = ids.values();
    const auto actual = scores.values();
    Doubles expected;
    for (std::int64_t i = 0; i < B * V; ++i) {
      REQUIRE(listed[i] >= 0);
      expected.push_back(z[i / V * V + listed[i]]);
    }
    CHECK(check::error(actual, expected) < 1e-5);
  }
}
