// Attributes as rows of a table: columns, what products have of them, other products, the way through a file.
#include <cmath>

#include "stamp/content.h"
#include "tests/check.h"

using namespace stamp;

namespace {

using Rows = std::vector<std::vector<std::int32_t>>;

Rows listed(const Lists& lists) {
  Rows rows;
  for (std::int64_t key = 0; key < lists.size(); ++key) rows.push_back({lists[key].begin(), lists[key].end()});
  return rows;
}

// Rows by name: brand a, brand ß | colour red, blue | price from 1, from 2 (of 2 bins).
Attributes shop() {
  Attributes attributes(5);
  attributes.add(NumberAttribute{.name = "price", .values = {1, 2, NAN, 3, NAN}});
  attributes.add(TextAttribute{.name = "colour", .values = {"red", "blue"}, .codes = {1, -1, 0, 0, -1}});
  attributes.add(TextAttribute{.name = "brand", .values = {"a", "nobody's", "ß"}, .codes = {2, 0, 0, -1, -1}});
  attributes.add(NumberAttribute{.name = "unused", .values = std::vector<float>(5, NAN)});
  return attributes;
}

const std::vector<std::string> kNames{"price", "unused", "brand", "colour"};

}  // namespace

TEST_CASE("products have a row for each attribute, and rows their products") {
  const Content content = Content::of(shop(), kNames, 2);
  REQUIRE(content.columns().size() == 3);
  CHECK(content.columns()[0].values == std::vector<std::string>{"a", "ß"});
  CHECK(content.columns()[1].values == std::vector<std::string>{"red", "blue"});
  CHECK(content.columns()[2].edges == std::vector<float>{1, 2});
  CHECK(content.columns()[2].first == 4);
  CHECK(content.K() == 6);
  CHECK(content.V() == 5);
  CHECK(listed(content.rows()) == Rows{{1, 3, 4}, {0, 5}, {0, 2}, {2, 5}, {}});
  CHECK(listed(content.products()) == Rows{{1, 2}, {0}, {2, 3}, {0}, {0}, {1, 3}});

  const std::vector<float> table{1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60};
  CHECK(Content::sums(content.rows(), table, 2) == std::vector<float>{11, 110, 7, 70, 4, 40, 9, 90, 0, 0});
}

TEST_CASE("bins of a number hold about as many products each, and equal numbers share one") {
  Attributes attributes(100);
  NumberAttribute price{.name = "price", .values = {}}, same = {.name = "same", .values = std::vector<float>(100, 7)};
  for (int v = 0; v < 100; ++v) price.values.push_back(static_cast<float>((v * 37) % 100));
  attributes.add(std::move(price));
  attributes.add(std::move(same));
  const Content content = Content::of(attributes, {"price", "same"}, 10);
  CHECK(content.columns()[0].edges == std::vector<float>{0, 10, 20, 30, 40, 50, 60, 70, 80, 90});
  CHECK(content.columns()[1].edges == std::vector<float>{7});
  for (std::int64_t row = 0; row < 10; ++row) CHECK(content.products()[row].size() == 10);
  CHECK(content.products()[10].size() == 100);
  CHECK(Content::of(attributes, {"price"}, 200).K() == 100);
}

TEST_CASE("other products are of the same columns; what these have not adds nothing") {
  const Content content = Content::of(shop(), kNames, 2);
  Attributes others(4);
  others.add(TextAttribute{.name = "brand", .values = {"ß", "new", "nobody's"}, .codes = {0, 1, 2, -1}});
  others.add(NumberAttribute{.name = "price", .values = {-5, 1000, 1.9f, NAN}});
  others.add(TextAttribute{.name = "material", .values = {"wood"}, .codes = {0, 0, 0, 0}});
  const Lists rows = content.encode(others);
  CHECK(listed(rows) == Rows{{1, 4}, {5}, {4}, {}});

  const Content added = content.with(rows);
  CHECK(added.K() == content.K());
  CHECK(added.V() == 4);
  CHECK(listed(added.products()) == Rows{{}, {0}, {}, {}, {0, 2}, {1}});
  CHECK_THROWS_WITH_AS(content.with(Lists{.offsets = {0, 2}, .values = {3, 3}}),
                       "Content: the rows of product 0 hold 3 after 3, expected them to ascend from 0 to 5",
                       std::invalid_argument);
  CHECK_THROWS_AS(content.with(Lists{.offsets = {0, 1}, .values = {6}}), std::invalid_argument);

  Attributes swapped(1);
  swapped.add(TextAttribute{.name = "price", .values = {"1"}, .codes = {0}});
  CHECK_THROWS_WITH_AS(content.encode(swapped), "Content: attribute 'price' is a text, expected a number as in training; name it among the numbers",
                       std::invalid_argument);
}

TEST_CASE("rows of one content are found in another by what they mean") {
  Attributes today(3);
  today.add(TextAttribute{.name = "brand", .values = {"ß", "new", "a"}, .codes = {0, 1, 2}});
  today.add(NumberAttribute{.name = "price", .values = {0, 2.5f, 9}});
  today.add(NumberAttribute{.name = "colour", .values = {1, 1, 1}});
  const Content now = Content::of(today, {"brand", "colour", "price"}, 3);  // ß, new, a | 1 | 0, 2.5, 9
  CHECK(now.rows_in(Content::of(shop(), kNames, 2)) == std::vector<std::int32_t>{1, -1, 0, -1, 4, 5, 5});
}

TEST_CASE("content comes back from a file") {
  const check::Folder folder;
  const Content written = Content::of(shop(), kNames, 2);
  std::map<std::string, TensorSource> tensors;
  written.save(tensors, "a/");
  write_safetensors(folder / "c.safetensors", tensors);
  const Safetensors file(folder / "c.safetensors");
  const Content read = Content::from(file, "a/", 5);
  REQUIRE(read.columns().size() == written.columns().size());
  for (std::size_t i = 0; i < read.columns().size(); ++i) {
    CHECK(read.columns()[i].name == written.columns()[i].name);
    CHECK(read.columns()[i].first == written.columns()[i].first);
    CHECK(read.columns()[i].values == written.columns()[i].values);
    CHECK(read.columns()[i].edges == written.columns()[i].edges);
  }
  CHECK(listed(read.rows()) == listed(written.rows()));
  CHECK(listed(read.products()) == listed(written.products()));
  CHECK_THROWS_AS(Content::from(file, "a/", 4), std::runtime_error);
  CHECK_THROWS_AS(Content::from(file, "b/", 5), std::runtime_error);
}

TEST_CASE("attributes that cannot be content are refused by name") {
  CHECK_THROWS_WITH_AS(Content::of(shop(), {"size"}, 10),
                       "Content: no attribute 'size', expected some of brand, colour, price, unused",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(Content::of(shop(), {"brand", "price", "brand"}, 10),
                       "Content: attribute 'brand' is named twice", std::invalid_argument);
  CHECK_THROWS_WITH_AS(Content::of(shop(), {"unused"}, 10),
                       "Content: none of 5 products has an attribute to train, of brand, colour, price, unused",
                       std::invalid_argument);
  CHECK_THROWS_AS(Content::of(shop(), {}, 10), std::invalid_argument);
  CHECK_THROWS_AS(Content::of(shop(), kNames, 0), std::invalid_argument);
}
