#include "clock.h"

#include <chrono>
#include <cstdio>
#include <optional>
#include <stdexcept>

namespace server {

namespace {

using namespace std::chrono;

// Takes digits off the front.
std::optional<int> number(std::string_view& text, int digits) {
  if (static_cast<int>(text.size()) < digits) return std::nullopt;
  int value = 0;
  for (int i = 0; i < digits; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    value = 10 * value + (text[i] - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, char expected) {
  if (text.empty() || (text[0] | 0x20) != (expected | 0x20)) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<std::int64_t> parsed(std::string_view text) {
  const auto y = number(text, 4);
  if (!y || !take(text, '-')) return std::nullopt;
  const auto m = number(text, 2);
  if (!m || !take(text, '-')) return std::nullopt;
  const auto d = number(text, 2);
  if (!d || !take(text, 'T')) return std::nullopt;
  const auto hour = number(text, 2);
  if (!hour || !take(text, ':')) return std::nullopt;
  const auto minute = number(text, 2);
  if (!minute || !take(text, ':')) return std::nullopt;
  const auto second = number(text, 2);
  if (!second) return std::nullopt;
  int ms = 0;
  if (take(text, '.')) {
    int digits = 0;
    for (; !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1), ++digits)
      if (digits < 3) ms = 10 * ms + (text[0] - '0');
    if (digits == 0) return std::nullopt;
    for (; digits < 3; ++digits) ms *= 10;
  }
  int offset = 0;  // minutes
  if (!take(text, 'Z')) {
    const int sign = take(text, '+') ? 1 : take(text, '-') ? -1 : 0;
    const auto hours = number(text, 2);
    if (sign == 0 || !hours || !take(text, ':')) return std::nullopt;
    const auto minutes_ = number(text, 2);
    if (!minutes_ || *hours > 23 || *minutes_ > 59) return std::nullopt;
    offset = sign * (60 * *hours + *minutes_);
  }
  const year_month_day day{year(*y), month(*m), std::chrono::day(*d)};
  if (!text.empty() || !day.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  const auto minutes_of_day = hours(*hour) + minutes(*minute - offset);
  return duration_cast<milliseconds>((sys_days(day) + minutes_of_day).time_since_epoch()).count() + 1000 * *second + ms;
}

}  // namespace

std::int64_t now_ms() { return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count(); }

std::int64_t parse_time(std::string_view text) {
  if (const auto time = parsed(text)) return *time;
  throw std::invalid_argument("\"" + std::string(text) +
                              "\" is no time; RFC 3339 is expected, as \"2026-11-28T09:30:00.250Z\"");
}

std::string format_time(std::int64_t ms) {
  const sys_time<milliseconds> time{milliseconds(ms)};
  const auto date = floor<days>(time);
  const year_month_day day(date);
  const hh_mm_ss clock(time - date);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(day.year()),
                static_cast<unsigned>(day.month()), static_cast<unsigned>(day.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return text;
}

}  // namespace server
