// Attributes of products: columns, parts of them, and the way through a file.
#include <cmath>

#include "stamp/attributes.h"
#include "tests/check.h"

using namespace stamp;

namespace {

Attributes shop() {
  Attributes attributes(4);
  attributes.add(TextAttribute{.name = "brand", .values = {"a", "", "ß"}, .codes = {2, -1, 0, 1}});
  attributes.add(NumberAttribute{.name = "price", .values = {1.5f, NAN, -2, 0}});
  attributes.add(TextAttribute{.name = "unused", .values = {}, .codes = {-1, -1, -1, -1}});
  return attributes;
}

}  // namespace

TEST_CASE("attributes come back from a file") {
  const check::Folder folder;
  const Attributes written = shop();
  write_safetensors(folder / "a.safetensors", written.tensors());
  const Attributes read = Attributes::from(Safetensors(folder / "a.safetensors"), 4);
  CHECK(read.names() == "brand, price, unused");
  REQUIRE(read.find_text("brand") >= 0);
  const TextAttribute& brand = read.texts()[read.find_text("brand")];
  CHECK(brand.values == written.texts()[0].values);
  CHECK(brand.codes == written.texts()[0].codes);
  CHECK(brand.find("ß") == 2);
  CHECK(brand.find("b") == TextAttribute::kMissing);
  const NumberAttribute& price = read.numbers()[read.find_number("price")];
  CHECK(price.values[0] == 1.5f);
  CHECK(std::isnan(price.values[1]));
  CHECK(read.find_text("price") == -1);
  CHECK_THROWS_AS(Attributes::from(Safetensors(folder / "a.safetensors"), 5), std::runtime_error);
}

TEST_CASE("attributes that cannot be are refused by name") {
  Attributes attributes = shop();
  const auto text = [](std::vector<std::string> values, std::vector<std::int32_t> codes) {
    return TextAttribute{.name = "x", .values = std::move(values), .codes = std::move(codes)};
  };
  CHECK_THROWS_WITH_AS(attributes.add(text({"a"}, {0, 0, 0, 1})), "Attributes: 'x' holds code 1 of 1 values",
                       std::invalid_argument);
  CHECK_THROWS_AS(attributes.add(text({"a", "a"}, {0, 0, 0, 1})), std::invalid_argument);
  CHECK_THROWS_AS(attributes.add(text({"a"}, {0})), std::invalid_argument);
  CHECK_THROWS_AS(attributes.add(NumberAttribute{.name = "brand", .values = {0, 0, 0, 0}}), std::invalid_argument);
  CHECK_THROWS_AS(attributes.add(NumberAttribute{.name = "", .values = {0, 0, 0, 0}}), std::invalid_argument);
}
