// User events in the vocabulary of Google's Retail API
// (https://cloud.google.com/retail/docs/reference/rest/v2/projects.locations.catalogs.userEvents).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "json_reader.h"
#include "stamp/catalog.h"
#include "visits.h"

namespace server {

struct UserEvent {
  std::string type, visitor;
  std::optional<std::int64_t> time = {};  // ms
  std::vector<stamp::Id> products;
  std::string token;  // of the answer that led to it
};

constexpr std::size_t kMaxVisitorBytes = 128;

// ms since 1970, written as such or as RFC 3339; not before the year 2000.
std::int64_t read_time(const Json& value);

// A product's id, as the catalog's ids are: a string of digits is an integer where these are.
stamp::Id read_product_id(const Json& value, stamp::Catalog::Kind kind);

// Keys of the Retail API that a recommender has no use for are passed over; others are errors.
UserEvent read_user_event(const Json& event, stamp::Catalog::Kind kind);

// As it is stored, one Event a product, in order; an event without a time happens now. Throws Error 400 for an event
// that lacks a visitor or a type, or lies more than `skew_ms` in the future.
std::vector<Event> stored(const UserEvent& event, std::int64_t now, std::int64_t skew_ms);

}  // namespace server
