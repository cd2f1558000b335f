#include "events.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>

#include "clock.h"
#include "error.h"

namespace server {

namespace {

constexpr std::size_t kProducts = 100;            // of one event
constexpr std::int64_t kYear2000 = 946684800000;  // ms; an earlier time is in other units

// Of a Retail UserEvent, and of no use here.
constexpr std::array<std::string_view, 16> kPassedOver{
    "name",           "attributes", "cartId",    "purchaseTransaction",
    "searchQuery",    "filter",     "orderBy",   "offset",
    "pageCategories", "userInfo",   "uri",       "referrerUri",
    "pageViewId",     "entity",     "sessionId", "completionDetail"};

bool is_one_of(std::string_view key, const auto& keys) { return std::ranges::find(keys, key) != keys.end(); }

stamp::Id read_product(const Json& product, stamp::Catalog::Kind kind) {
  std::optional<stamp::Id> id;
  product.each_key([&](std::string_view key, const Json& value) {
    if (key != "id") return is_one_of(key, std::array<std::string_view, 4>{"name", "title", "categories", "priceInfo"});
    id = read_product_id(value, kind);
    return true;
  });
  if (!id) product.wrong("has no \"id\"");
  return *id;
}

}  // namespace

std::int64_t read_time(const Json& value) {
  std::int64_t time;
  if (value.is_integer()) {
    time = value.integer(INT64_MIN, INT64_MAX);
  } else {
    try {
      time = parse_time(value.text());
    } catch (const std::invalid_argument& error) {
      value.wrong(error.what());
    }
  }
  if (time < kYear2000)
    value.wrong(value.is_integer()
                    ? std::to_string(time) + " is before the year 2000; milliseconds since 1970 are expected"
                    : format_time(time) + " is before the year 2000");
  return time;
}

stamp::Id read_product_id(const Json& value, stamp::Catalog::Kind kind) {
  if (kind == stamp::Catalog::Kind::strings) return std::string(value.text(1, 1024));
  if (!value.is_text()) return value.integer(INT64_MIN, INT64_MAX);
  const std::string_view text = value.text();
  std::int64_t number;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    value.wrong("\"" + std::string(text.substr(0, 64)) + "\" is no integer, as this catalog's ids are");
  return number;
}

UserEvent read_user_event(const Json& event, stamp::Catalog::Kind kind) {
  UserEvent read;
  event.each_key([&](std::string_view key, const Json& value) {
    if (key == "eventType") {
      read.type = value.text(1, 64);
    } else if (key == "visitorId") {
      read.visitor = value.text(1, kMaxVisitorBytes);
    } else if (key == "eventTime") {
      read.time = read_time(value);
    } else if (key == "attributionToken") {
      read.token = value.text(0, 1024);
    } else if (key == "productDetails") {
      read.products.clear();
      value.each_item(kProducts, [&](const Json& detail) {
        bool has_product = false;
        detail.each_key([&](std::string_view part, const Json& product) {
          if (part != "product") return part == "quantity";
          read.products.push_back(read_product(product, kind));
          return has_product = true;
        });
        if (!has_product) detail.wrong("has no \"product\"");
      });
    } else if (key == "experimentIds") {
      value.each_item(100, [](const Json& id) { id.text(); });
    } else {
      return is_one_of(key, kPassedOver);
    }
    return true;
  });
  return read;
}

std::vector<Event> stored(const UserEvent& event, std::int64_t now, std::int64_t skew_ms) {
  if (event.visitor.empty()) throw Error(400, "visitorId: is missing");
  if (event.type.empty()) throw Error(400, "eventType: is missing");
  const std::int64_t time = event.time.value_or(now);
  if (time > now + skew_ms)
    throw Error(400, "eventTime: " + format_time(time) + " is in the future; it is " + format_time(now));
  std::vector<Event> events;
  for (const stamp::Id& product : event.products) events.push_back({time, event.type, stamp::to_string(product)});
  if (events.empty()) events.push_back({time, event.type, ""});
  return events;
}

}  // namespace server
