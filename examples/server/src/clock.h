// Time as the world writes it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace server {

std::int64_t now_ms();  // since 1970, UTC

// RFC 3339 with a zone: "2026-11-28T09:30:00.250Z", "…+01:00". Throws std::invalid_argument with what would be right.
std::int64_t parse_time(std::string_view text);
std::string format_time(std::int64_t ms);  // in UTC, with milliseconds

}  // namespace server
