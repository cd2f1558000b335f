#include "inventory_api.h"

#include <algorithm>
#include <array>
#include <limits>

#include "events.h"
#include "json_writer.h"

namespace server {

namespace {

constexpr std::size_t kProducts = 100000;  // of one call

// Of a Retail Product and its priceInfo, and of no use here.
constexpr std::array<std::string_view, 4> kOfProduct{"name", "title", "availableQuantity", "fulfillmentInfo"};
constexpr std::array<std::string_view, 5> kOfPrice{"currencyCode", "originalPrice", "cost", "priceEffectiveTime",
                                                   "priceExpireTime"};

bool is_one_of(std::string_view key, const auto& keys) { return std::ranges::find(keys, key) != keys.end(); }

bool read_availability(const Json& value) {
  const std::string_view text = value.text();
  if (text == "OUT_OF_STOCK") return false;
  if (text == "IN_STOCK" || text == "PREORDER" || text == "BACKORDER") return true;
  value.wrong("\"" + std::string(text.substr(0, 64)) +
              "\" is none; IN_STOCK, OUT_OF_STOCK, PREORDER or BACKORDER is expected");
}

InventoryChange read_change(const Json& product, stamp::Catalog::Kind kind) {
  std::optional<stamp::Id> id;
  InventoryChange change;
  product.each_key([&](std::string_view key, const Json& value) {
    if (key == "id") {
      id = read_product_id(value, kind);
    } else if (key == "availability") {
      change.available = read_availability(value);
    } else if (key == "priceInfo") {
      value.each_key([&](std::string_view part, const Json& price) {
        if (part != "price") return is_one_of(part, kOfPrice);
        change.price = static_cast<float>(price.number(0, std::numeric_limits<float>::max()));
        return true;
      });
      if (!change.price) value.wrong("has no \"price\"");
    } else {
      return is_one_of(key, kOfProduct);
    }
    return true;
  });
  if (!id) product.wrong("has no \"id\"");
  if (!change.available && !change.price) product.wrong("has neither \"availability\" nor \"priceInfo\"");
  change.product = std::move(*id);
  return change;
}

}  // namespace

SetInventory read_set_inventory(std::string_view body, stamp::Catalog::Kind kind) {
  SetInventory set;
  read_json(body, [&](const Json& document) {
    document.each_key([&](std::string_view key, const Json& value) {
      if (key == "products") {
        set.changes.clear();
        value.each_item(kProducts, [&](const Json& product) { set.changes.push_back(read_change(product, kind)); });
      } else if (key == "setTime") {
        set.time = read_time(value);
      } else {
        return false;
      }
      return true;
    });
    if (set.changes.empty()) document.wrong("products has no product");
  });
  return set;
}

std::string set_inventory_body(std::size_t products, std::size_t outdated, std::size_t unknown) {
  std::string body;
  {
    JsonObject out(body);
    out.add("products", products);
    out.add("outdated", outdated);
    out.add("unknown", unknown);
  }
  return body;
}

}  // namespace server
