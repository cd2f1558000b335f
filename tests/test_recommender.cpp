// Recommending: brute force, batches, exclusions, allow-lists, many threads.
#include <set>
#include <thread>

#include "stamp/recommender.h"
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

constexpr std::int64_t kProducts = 700;

std::shared_ptr<Model> model_of(Score score, const std::shared_ptr<Device>& device, std::int64_t history = 0) {
  Config config = Config::preset("official");
  config.dim = 33;
  config.item_std = 0.4f;
  config.weight_std = 0.2f;
  config.score = score;
  config.history = history;
  return std::make_shared<Model>(config, kProducts, device);
}

std::vector<Request> requests_of(int count) {
  std::mt19937 random(5);
  std::vector<Request> requests;
  for (int i = 0; i < count; ++i) {
    Request request;
    for (unsigned n = 1 + random() % 7; n > 0; --n)
      request.items.push_back(static_cast<std::int32_t>(random() % kProducts));
    if (i % 3 == 1)
      for (int n = 0; n < 300; ++n) request.exclude.push_back(static_cast<std::int32_t>(random() % kProducts));
    if (i % 5 == 2) {
      request.restricted = true;
      for (int n = 0; n < 40; ++n) request.only.push_back(static_cast<std::int32_t>(random() % kProducts));
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

}  // namespace

TEST_CASE("a list is what the oracle's scores give, filtered and sorted") {
  for (const auto& device : check::devices())
    for (Score score : {Score::dot, Score::cosine}) {
      CAPTURE(device->name());
      const auto model = model_of(score, device);
      const Recommender recommender(model);
      reference::Case c{model->config(), kProducts, {}, {}, {}};
      for (auto& [name, values] : model->download()) c.weights[name].assign(values.begin(), values.end());
      for (const Request& request : requests_of(12)) {
        c.batch.clear();
        c.batch.add_history(request.items);
        const auto z = reference::run(c).scores[0];
        std::vector<std::pair<double, std::int32_t>> expected;
        for (std::int32_t v = 0; v < kProducts; ++v) {
          const bool out = std::count(request.exclude.begin(), request.exclude.end(), v) > 0;
          const bool in = !request.restricted || std::count(request.only.begin(), request.only.end(), v) > 0;
          if (in && !out) expected.push_back({-z[v], v});
        }
        std::sort(expected.begin(), expected.end());
        const Recommendation answer = recommender.recommend(request, 30);
        REQUIRE(answer.items.size() == std::min<std::size_t>(30, expected.size()));
        CHECK(std::set(answer.items.begin(), answer.items.end()).size() == answer.items.size());
        for (std::size_t i = 0; i < answer.items.size(); ++i) {
          CHECK(std::count(request.exclude.begin(), request.exclude.end(), answer.items[i]) == 0);
          if (request.restricted) CHECK(std::count(request.only.begin(), request.only.end(), answer.items[i]) > 0);
          CHECK(answer.scores[i] == doctest::Approx(-expected[i].first).epsilon(1e-4).scale(1e-2));
          CHECK(answer.scores[i] == doctest::Approx(z[answer.items[i]]).epsilon(1e-4).scale(1e-2));
        }
      }
    }
}

TEST_CASE("a batch gives each request what it gets alone, to the bit") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const bool slow = check::slow(*device);
    const Recommender recommender(model_of(Score::cosine, device, 3));
    const auto requests = requests_of(slow ? 530 : 1100);  // more than are answered at once
    const auto together = recommender.recommend(requests, 20);
    for (std::size_t i = 0; i < requests.size(); i += slow ? 53 : 7) {
      const Recommendation alone = recommender.recommend(requests[i], 20);
      if (check::batch_shows(*device)) {  // on a GPU to its last bits alone, so neighbours may change places
        CHECK(check::error(alone.scores, together[i].scores) < 1e-5);
      } else {
        CHECK(alone.items == together[i].items);
        CHECK(alone.scores == together[i].scores);
      }
    }
  }
}

TEST_CASE("edges: unknown events, k beyond the catalog, nothing left, bad input") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Recommender recommender(model_of(Score::dot, device));
    const Recommendation all = recommender.recommend({{3, -1, 4, -1}, {}, {}}, 1'000'000);
    CHECK(all.unknown == 2);
    CHECK(all.items.size() == kProducts);
    CHECK(std::set<std::int32_t>(all.items.begin(), all.items.end()).size() == kProducts);
    CHECK(all.items == recommender.recommend({{3, 4}, {}, {}}, kProducts).items);
    std::vector<std::int32_t> everything(kProducts);
    for (std::int32_t v = 0; v < kProducts; ++v) everything[v] = v;
    CHECK(recommender.recommend({{3}, everything, {}}, 5).items.empty());
    CHECK(recommender.recommend({{3}, {4}, {4, -1}, true}, 5).items.empty());
    CHECK(recommender.recommend({{3}, {}, {}, true}, 5).items.empty());
    CHECK(recommender.recommend({{3}, {-1}, {9, 9, 8}, true}, 5).items.size() == 2);
    CHECK_THROWS_AS(recommender.recommend({{}, {}, {}}, 5), std::invalid_argument);
    CHECK_THROWS_AS(recommender.recommend({{-1}, {}, {}}, 5), std::invalid_argument);
    CHECK_THROWS_AS(recommender.recommend({{3}, {}, {}}, 0), std::invalid_argument);
    const std::vector<Request> mixed{
        {{3}, {}, {}}, {{-1, -1}, {}, {}}, {{4}, {}, {}}, {{}, {}, {5}, true}, {{5}, {}, {}}};
    const auto answers = recommender.recommend(mixed, 5);  // one visitor without a known product spoils no batch
    for (std::size_t i : {0u, 2u, 4u}) CHECK(answers[i].items == recommender.recommend(mixed[i], 5).items);
    CHECK((answers[1].items.empty() && answers[1].unknown == 2));
    CHECK((answers[3].items.empty() && answers[3].unknown == 0));
    CHECK_THROWS_AS(recommender.recommend({{kProducts}, {}, {}}, 5), std::invalid_argument);
    CHECK_THROWS_AS(recommender.recommend({{3}, {-2}, {}}, 5), std::invalid_argument);
  }
}

TEST_CASE("requests from many threads, single and in batches, get what they get alone") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const bool slow = check::slow(*device);
    const Recommender recommender(model_of(Score::dot, device));
    const auto requests = requests_of(slow ? 8 : 64);
    const auto in_batch = recommender.recommend(requests, 20);
    std::vector<Recommendation> alone;
    for (const auto& request : requests) alone.push_back(recommender.recommend(request, 20));
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int t = 0; t < 6; ++t)
      threads.emplace_back([&, t] {
        for (int round = 0; round < (slow ? 1 : 5); ++round) {
          if (t % 2) {
            const auto answers = recommender.recommend(requests, 20);
            for (std::size_t i = 0; i < answers.size(); ++i) wrong += answers[i].items != in_batch[i].items;
          } else {
            for (std::size_t i = 0; i < requests.size(); ++i)
              wrong += recommender.recommend(requests[i], 20).scores != alone[i].scores;
          }
        }
      });
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
  }
}
