#include "events_api.h"

#include <stdexcept>

#include "clock.h"
#include "error.h"
#include "json_writer.h"

namespace server {

namespace {

constexpr std::size_t kEvents = 10000;  // of one import

// `key <operation> "value"`, with spaces anywhere between; nothing where the text is otherwise.
std::optional<std::string> quoted_after(std::string_view filter, std::string_view key, char operation) {
  const auto skip = [&] {
    while (!filter.empty() && filter[0] == ' ') filter.remove_prefix(1);
  };
  skip();
  if (!filter.starts_with(key)) return std::nullopt;
  filter.remove_prefix(key.size());
  skip();
  if (filter.empty() || filter[0] != operation) return std::nullopt;
  filter.remove_prefix(1);
  skip();
  while (!filter.empty() && filter.back() == ' ') filter.remove_suffix(1);
  if (filter.size() < 3 || filter.front() != '"' || filter.back() != '"') return std::nullopt;
  filter = filter.substr(1, filter.size() - 2);
  if (filter.find('"') != filter.npos) return std::nullopt;
  return std::string(filter);
}

}  // namespace

UserEvent read_write(std::string_view body, stamp::Catalog::Kind kind) {
  UserEvent event;
  read_json(body, [&](const Json& document) { event = read_user_event(document, kind); });
  return event;
}

std::vector<UserEvent> read_import(std::string_view body, stamp::Catalog::Kind kind) {
  std::vector<UserEvent> events;
  read_json(body, [&](const Json& document) {
    document.each_key([&](std::string_view key, const Json& config) {
      if (key != "inputConfig") return false;
      config.each_key([&](std::string_view source, const Json& inlined) {
        if (source != "userEventInlineSource") return false;
        inlined.each_key([&](std::string_view list, const Json& all) {
          if (list != "userEvents") return false;
          events.clear();
          all.each_item(kEvents, [&](const Json& event) { events.push_back(read_user_event(event, kind)); });
          return true;
        });
        return true;
      });
      return true;
    });
    if (events.empty()) document.wrong("inputConfig.userEventInlineSource.userEvents has no event");
  });
  return events;
}

Purge read_purge(std::string_view body) {
  Purge purge;
  read_json(body, [&](const Json& document) {
    bool force = false;
    document.each_key([&](std::string_view key, const Json& value) {
      if (key == "force") {
        force = value.boolean();
      } else if (key == "filter") {
        const std::string_view filter = value.text(1, 1024);
        purge.visitor = quoted_after(filter, "visitorId", '=');
        if (purge.visitor && purge.visitor->size() > kMaxVisitorBytes)
          value.wrong("names a visitor of " + std::to_string(purge.visitor->size()) + " bytes; 1 to " +
                      std::to_string(kMaxVisitorBytes) + " are expected");
        if (const auto time = quoted_after(filter, "eventTime", '<')) {
          try {
            purge.before = parse_time(*time);
          } catch (const std::invalid_argument& error) {
            value.wrong(error.what());
          }
        }
        if (!purge.visitor && !purge.before)
          value.wrong("`visitorId = \"…\"` or `eventTime < \"2026-11-28T00:00:00Z\"` is expected");
      } else {
        return false;
      }
      return true;
    });
    if (!purge.visitor && !purge.before) document.wrong("\"filter\" is missing");
    if (!force) document.wrong("\"force\": true is expected, since nothing is only tried");
  });
  return purge;
}

std::string written_body(const UserEvent& event, std::int64_t time) {
  std::string body;
  {
    JsonObject out(body);
    out.add("eventType", event.type);
    out.add("visitorId", event.visitor);
    out.add("eventTime", format_time(time));
  }
  return body;
}

std::string imported_body(std::size_t events) {
  std::string body;
  {
    JsonObject operation(body);
    operation.add("done", true);
    JsonObject metadata(operation.at("metadata"));
    metadata.add("successCount", std::to_string(events));
    metadata.add("failureCount", std::string("0"));
  }
  return body;
}

std::string purged_body() { return "{\"done\":true}"; }

}  // namespace server
