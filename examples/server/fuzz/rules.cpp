// Rules as a request brings them: the library reads them, or says what is wrong in a way that can be answered.
#include <simdjson.h>

#include <stdexcept>

#include "error.h"
#include "fuzz.h"
#include "stamp/rules.h"

namespace {

struct Shop {
  stamp::Catalog catalog{stamp::Catalog::Kind::strings};
  stamp::Attributes attributes{3};

  Shop() {
    for (const char* id : {"a", "b", "c"}) catalog.add(id);
    attributes.add(stamp::TextAttribute{"brand", {"x", "y"}, {0, 1, stamp::TextAttribute::kMissing}});
    attributes.add(stamp::NumberAttribute{"price", {1, 2, 3}});
    attributes.add(stamp::NumberAttribute{"available", {1, 0, 1}});
  }
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Shop shop;
  try {
    const auto rules = stamp::Rules::parse(std::string(text_of(data, size)), shop.catalog, shop.attributes);
    for (const stamp::Rule& rule : rules.list()) FUZZ_CHECK(rule.path.starts_with("rules["));
  } catch (const std::invalid_argument& error) {
    static simdjson::dom::parser parser;
    const std::string body = server::error_body(400, error.what());
    FUZZ_CHECK(parser.parse(body).error() == simdjson::SUCCESS);
  }
  return 0;
}
