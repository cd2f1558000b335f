// POST /demo/products: what the page at /demo has to know of the shop. For that page alone, and no part of the
// interface.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config.h"
#include "json_reader.h"
#include "stamp/recommender.h"

namespace server {

inline constexpr std::string_view kDemoProductsPath = "/demo/products";

struct DemoQuestion {
  // Part of an id or of a text attribute, of ASCII in either case; empty: all products, the most clicked first.
  std::string search = {};
  std::int64_t offset = 0, limit = 24;
  std::optional<std::vector<stamp::Id>> ids = {};  // in place of a search: those of these that there are
};

// Throws Error 400 with the path of the key.
DemoQuestion read_demo_products(std::string_view body, stamp::Catalog::Kind kind);

// Looks at the whole catalog: some 15 ms for a million products.
std::string demo_products_body(const DemoQuestion& asked, const stamp::Release& release, const std::string& name,
                               const Config& config);

}  // namespace server
