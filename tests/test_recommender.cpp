// Recommending in the shop's own ids, and replacing releases under load.
#include <atomic>
#include <thread>

#include "stamp/recommender.h"
#include "tests/check.h"
#include "tests/shop.h"

using namespace stamp;

namespace {

std::vector<std::string> texts(const std::vector<Id>& ids) {
  std::vector<std::string> result;
  for (const Id& id : ids) result.push_back(to_string(id));
  return result;
}

}  // namespace

TEST_CASE("ids go in and come out; the answer is the release's") {
  const check::Folder folder;
  save_bundle(folder / "bundle", shop::bundle(1));
  const Recommender recommender(folder / "bundle", {.device = "cpu"});
  const auto release = recommender.release();
  const Request request{.events = {"sku-3", "gone", "sku-7"},
                        .exclude = {"sku-10", "nothing"},
                        .k = 5,
                        .rules = R"([{"rule": "exclude_seen"}])"};
  const Recommendation answer = recommender.recommend(request);
  const std::vector<std::int32_t> events{3, -1, 7}, exclude{10};
  const auto rules = release->rules(request.rules);
  const Listing listing = release->list({.events = events, .exclude = exclude, .k = 5, .rules = rules.get()});
  CHECK(answer.path == Path::anchor);
  CHECK(answer.cluster == 1);
  CHECK(texts(answer.unknown) == std::vector<std::string>{"gone"});
  CHECK(answer.scores == listing.scores);
  REQUIRE(answer.items.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) CHECK(answer.items[i] == release->catalog().id(listing.items[i]));

  const Request only{.events = {"sku-7"}, .only = std::vector<Id>{"sku-4", "sku-1", "sku-2"}, .explain = true};
  CHECK(recommender.recommend(only).items.size() == 2);  // sku-2 is of another cluster
  CHECK(recommender.recommend(only).explanation.find("\"only\"") != std::string::npos);
  CHECK(recommender.recommend({.events = {"sku-7"}, .only = std::vector<Id>{}}).items.empty());
  CHECK(texts(recommender.recommend({.events = {}, .k = 2}).items) == std::vector<std::string>{"sku-59", "sku-58"});
  CHECK(recommender.recommend({.events = {"sku-7"}, .zone = "red"}).items.size() == 4);

  const std::vector<Request> many{request, only, {.events = {}}, request};
  const auto answers = recommender.recommend(many);
  for (std::size_t i = 0; i < many.size(); ++i) CHECK(answers[i].get().items == recommender.recommend(many[i]).items);

  CHECK_THROWS_WITH_AS(recommender.recommend({.events = {"sku-7"}, .rules = R"([{"rule": "limit"}])"}),
                       doctest::Contains("rules[0]"), std::invalid_argument);
  const char* integer = "[1] is the integer 7, expected a string, as this catalog's ids are";
  const std::vector<Id> mixed{"sku-7", std::int64_t{7}};
  const std::pair<const char*, Request> wrong[]{{"events", {.events = mixed}},
                                                {"bought", {.events = {}, .bought = mixed}},
                                                {"exclude", {.events = {}, .exclude = mixed}},
                                                {"only", {.events = {}, .only = mixed}}};
  for (const auto& [argument, ids] : wrong)
    CHECK_THROWS_WITH_AS(recommender.recommend(ids), concat("recommend: ", argument, integer).c_str(),
                         std::invalid_argument);
  CHECK_THROWS_AS(recommender.recommend({.events = {"sku-7"}, .zone = "home"}), std::invalid_argument);
  CHECK_THROWS_AS(recommender.recommend({.events = {"sku-7"}, .k = -5}), std::invalid_argument);
  CHECK_THROWS_AS(Recommender(folder / "nothing"), std::runtime_error);
}

TEST_CASE("numbers are set by id and name, until another bundle comes") {
  const check::Folder folder;
  save_bundle(folder / "bundle", shop::bundle(1));
  Recommender recommender(folder / "bundle", {.device = "cpu"});
  const Request request{.events = {"sku-7"}, .k = 40, .rules = R"([{"rule": "only_available", "attribute": "stock"}])"};
  const auto all = texts(recommender.recommend(request).items);
  REQUIRE(all.size() == 20);
  const std::vector<ProductNumber> sold_out{{"sku-10", "stock", 0}, {"nothing", "stock", 0}, {"sku-2", "stock", 0}};
  CHECK(recommender.set_numbers(sold_out) == 1);
  auto left = all;
  std::erase(left, "sku-10");
  CHECK(texts(recommender.recommend(request).items) == left);

  const std::vector<ProductNumber> unknown{{"sku-13", "stock", 0}, {"sku-13", "colour", 0}};
  CHECK_THROWS_WITH_AS(recommender.set_numbers(unknown),
                       "set_numbers: attribute is 'colour', expected a number of the products, which have stock",
                       std::invalid_argument);
  const std::vector<ProductNumber> mixed{{"sku-13", "stock", 0}, {std::int64_t{13}, "stock", 0}};
  CHECK_THROWS_WITH_AS(recommender.set_numbers(mixed),
                       "set_numbers: numbers[1] is the integer 13, expected a string, as this catalog's ids are",
                       std::invalid_argument);
  CHECK(texts(recommender.recommend(request).items) == left);
  recommender.reload();
  CHECK(texts(recommender.recommend(request).items) == all);
}

TEST_CASE("a bundle that cannot be loaded leaves the release at hand") {
  const check::Folder folder;
  save_bundle(folder / "bundle", shop::bundle(1));
  Recommender recommender(folder / "bundle", {.device = "cpu"});
  const auto before = recommender.recommend({.events = {"sku-7"}}).scores;
  CHECK_THROWS_AS(recommender.reload(folder / "nothing"), std::runtime_error);
  std::filesystem::remove(folder / "bundle/clusters/1.safetensors");
  CHECK_THROWS_WITH_AS(recommender.reload(), doctest::Contains("1.safetensors"), std::runtime_error);
  CHECK(recommender.recommend({.events = {"sku-7"}}).scores == before);
  CHECK(recommender.path() == folder / "bundle");
  save_bundle(folder / "other", shop::bundle(2));
  recommender.reload(folder / "other");
  CHECK(recommender.path() == folder / "other");
  CHECK(recommender.recommend({.events = {"sku-7"}}).scores != before);
}

TEST_CASE("eight threads ask while releases change: no answer fails, none is torn") {
  const check::Folder folder;
  std::vector<Request> requests;
  for (int i = 0; i < 12; ++i)
    requests.push_back({.events = {"sku-" + std::to_string(5 * i), "sku-" + std::to_string(4 * i + 1)},
                        .k = 6,
                        .rules = i % 2 ? R"([{"rule": "limit", "attribute": "colour", "max": 3}])" : ""});
  std::vector<std::vector<std::vector<float>>> whole(2);  // of each version, the scores of each request
  for (std::uint64_t version : {0, 1}) {
    save_bundle(folder / std::to_string(version), shop::bundle(version));
    const Recommender recommender(folder / std::to_string(version), {.device = "cpu"});
    for (const Request& request : requests) whole[version].push_back(recommender.recommend(request).scores);
  }
  REQUIRE(whole[0][0] != whole[1][0]);
  for (const ReleaseOptions& options :
       {ReleaseOptions{.device = "cpu"}, ReleaseOptions{.device = "cpu", .lazy = true, .memory = 2000}}) {
    Recommender recommender(folder / "0", options);
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0}, answered[2] = {0, 0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        const auto judge = [&](std::size_t i, const std::vector<float>& scores) {
          const int version = scores == whole[0][i] ? 0 : scores == whole[1][i] ? 1 : -1;
          version < 0 ? ++wrong : ++answered[version];
        };
        try {
          for (std::size_t i = static_cast<std::size_t>(t); !done; ++i) {
            if (t == 0) {
              const auto answers = recommender.recommend(requests);
              for (std::size_t r = 0; r < requests.size(); ++r) judge(r, answers[r].get().scores);
            } else {
              judge(i % requests.size(), recommender.recommend(requests[i % requests.size()]).scores);
            }
          }
        } catch (const std::exception& error) {
          MESSAGE(error.what());
          ++wrong;
        }
      });
    for (int round = 1; round <= 12 || answered[0] < 50 || answered[1] < 50; ++round)
      recommender.reload(folder / std::to_string(round % 2));
    done = true;
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
  }
}
