// Item rows of attributes and their gradients, against plain loops in double, with guard bands.
#include "stamp/content_arrays.h"
#include "tests/check.h"
#include "tests/reference.h"

using namespace stamp;

namespace {

// Every product but each seventh has value v % `values` of one attribute, most of them one value of another, too, so
// that a row has pieces.
Content content_of(std::int64_t V, std::int64_t values) {
  TextAttribute brand{.name = "brand", .values = {}, .codes = {}},
      kind = {.name = "kind", .values = {"x"}, .codes = {}};
  for (std::int64_t value = 0; value < values; ++value) brand.values.push_back(std::to_string(value));
  for (std::int64_t v = 0; v < V; ++v) {
    brand.codes.push_back(v % 7 == 6 ? -1 : static_cast<std::int32_t>(v % values));
    kind.codes.push_back(v % 7 == 6 || v % 5 == 2 ? -1 : 0);
  }
  Attributes attributes(V);
  attributes.add(std::move(brand));
  attributes.add(std::move(kind));
  return Content::of(attributes, {"brand", "kind"}, 10);
}

struct Tables {
  Tables(const check::DevicePtr& device, const Content& content, std::int64_t D, float std)
      : arrays(content, device),
        rows(check::random(content.K() * D, 1, 1)),
        own(check::random(content.V() * D, std, 2)),
        attribute_rows(check::on(device, rows)),
        differences(device, own),
        items(device, content.V() * D),
        D(D) {
    for (std::int64_t v = 0; v < content.V(); ++v)
      expected.rows.push_back({content.rows()[v].begin(), content.rows()[v].end()});
    expected.attribute_rows.assign(rows.begin(), rows.end());
    expected.differences.assign(own.begin(), own.end());
  }

  ContentRows problem() {
    ContentRows p = arrays.lists();
    p.D = D;
    p.items = items.data();
    p.attribute_rows = attribute_rows.data();
    p.differences = differences.data();
    p.bound = kBound;
    p.dropout = kDropout;
    p.seed = kSeed;
    return p;
  }

  static constexpr float kBound = 0.75f, kDropout = 0.25f;
  static constexpr std::uint64_t kSeed = 9;

  ContentArrays arrays;
  std::vector<float> rows, own;
  Array<float> attribute_rows;
  check::Guarded<> differences, items;
  std::int64_t D;
  reference::ContentTables expected;
};

struct Shape {
  std::int64_t V, values, D;
};

const Shape kShapes[] = {{1, 1, 7}, {31, 31, 1}, {300, 3, 33}, {611, 2, 100}, {130, 130, 130}, {67, 2, 300}};

Array<TrainingStep> step_of(const check::DevicePtr& device, std::int64_t number) {
  return check::on(device, std::vector<TrainingStep>{{.number = number}});
}

}  // namespace

TEST_CASE("rows are sums of attributes and a difference that is bounded and sometimes dropped") {
  for (const auto& device : check::devices())
    for (const Shape& shape : kShapes)
      for (std::int64_t number : {0, 1, 7}) {  // 0: outside training
        CAPTURE(device->name());
        CAPTURE(shape.V);
        CAPTURE(shape.D);
        CAPTURE(number);
        const Content content = content_of(shape.V, shape.values);
        Tables tables(device, content, shape.D, 1);
        const auto step = step_of(device, number);
        device->content_rows(tables.problem(), number ? step.data() : nullptr);
        auto& expected = tables.expected;
        auto kept = reference::kept_differences(expected, Tables::kDropout, Tables::kSeed, number);
        if (number == 0) std::fill(kept.begin(), kept.end(), 1);
        expected.cut(Tables::kBound);
        // A cut difference is a hundred thousandth below its bound.
        CHECK(check::error(tables.differences.values(), expected.differences) < 2e-5);
        CHECK(check::error(tables.items.values(), expected.items(kept)) < 2e-5);
        if (shape.V > 100)
          CHECK(std::count(kept.begin(), kept.end(), 0) ==
                (number == 0 ? 0 : doctest::Approx(shape.V / 4.7).epsilon(0.3)));

        const auto once = tables.differences.values();
        device->content_rows(tables.problem(), nullptr);
        CHECK(tables.differences.values() == once);  // what was cut is not cut again
        if (number == 0) continue;
        const std::vector<float> sums = Content::sums(content.rows(), tables.rows, shape.D);
        const auto items = tables.items.values();
        for (std::size_t i = 0; i < items.size(); ++i) CHECK(items[i] == sums[i] + once[i]);  // to the bit
      }
}

TEST_CASE("gradients of attributes add up those of products, in one order") {
  std::map<std::int64_t, std::vector<float>> of_cpu;  // by V
  for (const auto& device : check::devices())
    for (const Shape& shape : kShapes) {
      CAPTURE(device->name());
      CAPTURE(shape.V);
      CAPTURE(shape.D);
      const Content content = content_of(shape.V, shape.values);
      Tables tables(device, content, shape.D, 1);
      const auto gradient = check::random(shape.V * shape.D, 1, 3);
      check::Guarded<> d_items(device, gradient), d_rows(device, content.K() * shape.D);
      const auto step = step_of(device, 3);
      device->content_gradients(tables.problem(), step.data(), d_items.data(), d_rows.data());
      const auto kept = reference::kept_differences(tables.expected, Tables::kDropout, Tables::kSeed, 3);
      const auto [rows, differences] = tables.expected.gradients(kept, {gradient.begin(), gradient.end()});
      CHECK(check::error(d_rows.values(), rows) < check::tolerance(*device).gradient);
      CHECK(check::error(d_items.values(), differences) == 0);
      if (device->name() == "cpu") CHECK(of_cpu.try_emplace(shape.V, d_rows.values()).first->second == d_rows.values());
    }
}

TEST_CASE("an attribute row without products has no gradient") {
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Content content = content_of(40, 2).with(Lists{.offsets = {0, 1, 1, 2}, .values = {0, 0}});
    Tables tables(device, content, 5, 0.1f);
    check::Guarded<> d_items(device, check::random(15, 1, 3)), d_rows(device, content.K() * 5);
    const auto step = step_of(device, 1);
    device->content_gradients(tables.problem(), step.data(), d_items.data(), d_rows.data());
    const auto rows = d_rows.values();
    CHECK(std::all_of(rows.begin() + 5, rows.end(), [](float g) { return g == 0; }));
    CHECK(std::any_of(rows.begin(), rows.begin() + 5, [](float g) { return g != 0; }));
  }
}
