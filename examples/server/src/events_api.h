// POST /v1/userEvents:write, :import and :purge: what they read and answer, in the vocabulary of Google's Retail API.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "events.h"

namespace server {

// All of these throw Error 400 with the path of the key.
UserEvent read_write(std::string_view body, stamp::Catalog::Kind kind);
std::vector<UserEvent> read_import(std::string_view body, stamp::Catalog::Kind kind);

// filter: `visitorId = "x"`, `eventTime < "2026-11-28T00:00:00Z"`; force must be true.
struct Purge {
  std::optional<std::string> visitor;
  std::optional<std::int64_t> before;  // ms
};
Purge read_purge(std::string_view body);

std::string written_body(const UserEvent& event, std::int64_t time);
std::string imported_body(std::size_t events);
std::string purged_body();

}  // namespace server
