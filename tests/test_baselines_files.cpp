// Files of baselines: what is read back, what moves to another catalog, and what is refused.
#include <map>
#include <numeric>

#include "stamp/files.h"
#include "tests/baselines.h"

using namespace stamp;
using namespace baselines;

TEST_CASE("files give baselines back, and other catalogs take them") {
  const check::Folder folder;
  const Sessions sessions = random_sessions(300, kProducts, 12);
  Rows rows(kProducts);  // of its products in a catalog of 10 more
  std::iota(rows.begin(), rows.end(), 10);
  std::reverse(rows.begin(), rows.end());
  for (const auto& baseline : all_baselines(sessions, kProducts)) {
    CAPTURE(baseline->kind());
    save_baseline(folder.path() / "baseline", *baseline);
    const auto again = load_baseline(folder.path() / "baseline");
    CHECK(again->kind() == baseline->kind());
    CHECK(again->options() == baseline->options());
    CHECK(again->V() == kProducts);
    const auto moved = baseline->in_catalog(rows, kProducts + 10);
    CHECK(moved->V() == kProducts + 10);
    for (const Rows& history : histories(20, kProducts, 13)) {
      CHECK(scored(*again, history) == scored(*baseline, history));
      CHECK(ranked(*again, history) == ranked(*baseline, history));
      Rows there;
      for (std::int32_t row : history) there.push_back(rows[row]);
      Table expected;
      for (const auto& [row, score] : scored(*baseline, history)) expected[rows[row]] = score;
      CHECK(scored(*moved, there) == expected);
    }
    if (baseline->kind() != "session_popularity")  // nobody clicked the others
      CHECK(scored(*moved, {0}).empty() == moved->needs_history());
    CHECK_THROWS_AS(baseline->in_catalog(Rows(kProducts, 1), kProducts), std::invalid_argument);
    CHECK_THROWS_AS(baseline->in_catalog(rows, kProducts), std::invalid_argument);
  }
}

TEST_CASE("files that are damaged are refused, with what is wrong") {
  const check::Folder folder;
  const auto path = folder.path() / "baseline";
  using Tensors = std::map<std::string, TensorSource>;
  const auto refused = [&](const Tensors& tensors, Metadata metadata, const char* why) {
    metadata.try_emplace("products", "3");
    write_safetensors(path, tensors, metadata);
    CHECK_THROWS_WITH_AS(load_baseline(path), doctest::Contains(why), std::runtime_error);
  };
  const std::vector<std::int64_t> offsets{0, 1, 2, 3}, falling{0, 2, 1, 3}, few{0, 3};
  const std::vector<std::int32_t> values{0, 1, 2}, outside{0, 1, 3}, twice{1, 1, 2};
  const std::vector<float> weights{3, 2, 1}, rising{1, 2, 3}, nan{1, NAN, 1}, negative{1, 1, -1},
      infinite{INFINITY, 1, 1};
  const auto tensor = [](DType type, const auto& data) {
    return TensorSource({type, {static_cast<std::int64_t>(data.size())}}, data.data());
  };
  const auto rules = [&](const auto& o, const auto& v, const auto& w) {
    return Tensors{{"rules.offsets", tensor(DType::i64, o)},
                   {"rules.values", tensor(DType::i32, v)},
                   {"weights", tensor(DType::f32, w)}};
  };
  const Metadata item_knn{{"kind", "item_knn"}, {"options", "{}"}};
  refused({}, {}, "has no 'kind' in its metadata");
  refused({}, {{"kind", "oracle"}, {"options", "{}"}}, "holds a 'oracle', which this library does not know");
  refused({}, {{"kind", "item_knn"}, {"options", "{}"}, {"products", "many"}}, "has 'many' products");
  refused({}, item_knn, "rules.offsets");
  refused(rules(falling, values, weights), item_knn, "rules.offsets do not rise from 0");
  refused(rules(few, values, weights), item_knn, "rules has 1 lists, expected 3");
  refused(rules(offsets, outside, weights), item_knn, "rules.values hold 3, expected 0 to 2");
  refused(rules(std::vector<std::int64_t>{0, 3, 3, 3}, values, rising), item_knn, "weights of product 0 do not fall");
  refused(rules(std::vector<std::int64_t>{0, 3, 3, 3}, twice, weights), item_knn, "product 0 has two rules of 1");
  refused(rules(offsets, values, nan), item_knn, "weights of product 1 hold nan");
  refused(rules(offsets, values, negative), item_knn, "weights of product 2 hold -1, expected 0 or more");
  refused(rules(offsets, values, infinite), item_knn, "weights of product 0 hold inf");
  refused(rules(offsets, values, weights), {{"kind", "item_knn"}, {"options", R"({"alpha": 2})"}}, "alpha is 2");
  refused(rules(offsets, values, weights), {{"kind", "item_knn"}, {"options", "["}}, "not JSON");
  const Metadata popularity{{"kind", "popularity"}, {"options", "{}"}};
  const auto listed = [&](const auto& v, const auto& w) {
    return Tensors{{"rows", tensor(DType::i32, v)}, {"weights", tensor(DType::f32, w)}};
  };
  refused(listed(twice, weights), popularity, "row 1 stands twice");
  refused(listed(outside, weights), popularity, "rows hold 3");
  refused(listed(values, rising), popularity, "weights do not fall");
  refused({{"clicks", tensor(DType::f32, nan)}}, {{"kind", "session_popularity"}, {"options", "{}"}}, "clicks hold");
  const auto knn = [&](const auto& o, const auto& v) {
    return Tensors{{"products.offsets", tensor(DType::i64, few)},
                   {"products.values", tensor(DType::i32, values)},
                   {"sessions.offsets", tensor(DType::i64, o)},
                   {"sessions.values", tensor(DType::i32, v)}};
  };
  const Metadata session_knn{{"kind", "session_knn"}, {"options", "{}"}};
  refused(knn(offsets, outside), session_knn, "sessions.values hold 1, expected 0 to 0");
  refused(knn(std::vector<std::int64_t>{0, 2, 2, 2}, Rows{0, 0}), session_knn, "sessions of product 0 do not fall");
  const Rows first{0, 0, 0}, second{1, 1, 0};
  const std::vector<std::int64_t> with_empty{0, 3, 3};
  const Metadata weighted{{"kind", "session_knn"}, {"options", R"({"idf": "add"})"}};
  refused(knn(offsets, Rows{0, 0, 0}), weighted, "factors");
  for (const auto& factors : {negative, infinite, nan}) {
    Tensors tensors = knn(offsets, first);
    tensors.insert_or_assign("factors", tensor(DType::f32, factors));
    refused(tensors, weighted, "factors hold");
  }
  Tensors hollow = knn(offsets, second);  // session 1 would be one of no products: 0/0
  hollow.insert_or_assign("products.offsets", tensor(DType::i64, with_empty));
  refused(hollow, session_knn, "session 1 has no products");
}
