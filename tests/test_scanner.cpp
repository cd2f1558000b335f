// What a scanner lists for requests that exclude, in whatever form their sets are, against the list of everything.
#include <numeric>

#include "stamp/scanner.h"
#include "tests/check.h"

using namespace stamp;

namespace {

constexpr std::int64_t V = 300;

std::shared_ptr<Model> model_on(const check::DevicePtr& device) {
  Config config;
  config.dim = 6;
  config.item_std = 0.5f;
  config.weight_std = 0.5f;
  config.repeat_floors = 2;
  auto model = std::make_shared<Model>(config, V, device);
  model->set_floors(for_every_kind(std::vector{1, 0.1f}), {});
  return model;
}

bool same(const std::vector<Scored>& a, const std::vector<Scored>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Scored& x, const Scored& y) { return x.place == y.place && x.score == y.score; });
}

}  // namespace

TEST_CASE("lists are what is left of the list of everything, however places are excluded") {
  for (const char* name : {"cpu", "cuda-sim", "cuda"}) {
    if (name == std::string("cuda") && !check::cuda().reason.empty()) continue;
    if (name == std::string("cuda-sim") && !check::simulator().reason.empty()) continue;
    CAPTURE(name);
    for (const bool all : {true, false}) {
      std::vector<std::int32_t> candidates;
      for (std::int32_t row = 0; row < V; ++row)
        if (all || row % 3 != 1) candidates.push_back(row);
      Scanner scanner(model_on(open_device(name)), candidates);
      const std::int64_t n = scanner.size();
      std::vector<std::uint64_t> third(static_cast<std::size_t>((n + 63) / 64));
      for (std::int64_t place = 0; place < n; place += 3) third[place / 64] |= std::uint64_t{1} << (place % 64);
      std::vector<float> boosts(static_cast<std::size_t>(n));
      for (std::int64_t place = 0; place < n; place += 7) boosts[place] = 0.25f;
      std::vector<float> kept = boosts;
      for (std::int64_t place = 0; place < n; place += 11) kept[place] = -0.5f;
      scanner.keep(kept);

      std::vector<std::vector<std::int32_t>> histories;
      for (std::int32_t i = 0; i < 12; ++i) histories.push_back({i, 3 * i, 7 * i, i});
      std::vector<PlaceSet> sets(12);
      std::vector<ScanRequest> requests, plain;
      std::vector<std::vector<Scored>> lists(12), everything(12);
      for (std::size_t i = 0; i < 12; ++i) {
        sets[i].reset(n);
        if (i % 2 == 1) sets[i].add(third, (n + 2) / 3);
        for (std::int32_t place = 0; place < static_cast<std::int32_t>(i % 5 * 20); ++place) sets[i].add(place * 2);
        const std::span<const float> lines[] = {{}, kept, boosts}, boost = lines[i % 3];
        requests.push_back({.history = histories[i],
                            .n = i == 7 ? n : static_cast<std::int64_t>(1 + 4 * i),
                            .excluded = i == 0 ? nullptr : &sets[i],
                            .boosts = boost,
                            .list = &lists[i]});
        plain.push_back({.history = histories[i], .n = n, .boosts = boost, .list = &everything[i]});
      }
      std::vector<std::exception_ptr> errors(12);
      scanner.scan(plain, errors);
      const auto check_all = [&] {
        for (std::size_t i = 0; i < 12; ++i) {
          CAPTURE(i);
          CHECK(!errors[i]);
          CHECK(static_cast<std::int64_t>(everything[i].size()) == n);
          std::vector<Scored> expected;
          for (const Scored& scored : everything[i])
            if (!sets[i].contains(scored.place) && static_cast<std::int64_t>(expected.size()) < requests[i].n)
              expected.push_back(scored);
          CHECK(same(lists[i], expected));
          lists[i].clear();
        }
      };
      scanner.scan(requests, errors);
      if (name != std::string("cpu")) CHECK(sets[6].few().size() == 20);  // as a list they stay
      check_all();
      for (const ScanRequest& request : requests) scanner.scan(request);
      check_all();
    }
  }
}
