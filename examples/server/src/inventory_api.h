// POST /v1/products:setInventory: what it reads and answers. Google's Retail API sets one product a call
// (https://cloud.google.com/retail/docs/reference/rest/v2/projects.locations.catalogs.branches.products/setInventory);
// here a call sets many, in the same words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "inventory.h"

namespace server {

struct SetInventory {
  std::vector<InventoryChange> changes;
  std::optional<std::int64_t> time = {};  // ms
};

// Throws Error 400 with the path of the key.
SetInventory read_set_inventory(std::string_view body, stamp::Catalog::Kind kind);

// `unknown`: of the products, those that the release does not have; they are set for one that has.
std::string set_inventory_body(std::size_t products, std::size_t outdated, std::size_t unknown);

}  // namespace server
