// Bodies of requests, the first byte picks which: they are read, or refused with an answer that is JSON. What is
// written of what was read is JSON, too.
#include <simdjson.h>

#include <cmath>
#include <stdexcept>

#include "clock.h"
#include "demo_products.h"
#include "error.h"
#include "events_api.h"
#include "failures.h"
#include "fuzz.h"
#include "inference_api.h"
#include "inventory_api.h"
#include "predict_api.h"

namespace {

void check_json(const std::string& text) {
  static simdjson::dom::parser parser;
  FUZZ_CHECK(parser.parse(text).error() == simdjson::SUCCESS);
}

// A list that says back what was asked, so that writers see a stranger's text.
server::Predicted answer_of(const server::Prediction& asked) {
  server::Predicted answer;
  answer.list.items = asked.exclude;
  answer.list.scores.assign(asked.exclude.size(), 0.5f);
  if (asked.events) answer.list.unknown = *asked.events;
  answer.list.reason = asked.zone;
  if (answer.list.items.empty()) answer.error = std::make_exception_ptr(server::Error(404, "zone: " + asked.zone));
  return answer;
}

void check_asked(const server::Prediction& asked) {
  FUZZ_CHECK(asked.k >= 0 && asked.k <= 100 && asked.history >= 0 && asked.visitor.size() <= 128);
  FUZZ_CHECK(asked.visitor.find('\0') == std::string::npos && asked.exclude.size() <= 10000);
}

void check_stored(const server::UserEvent& event) {
  std::vector<server::Event> events;
  try {
    events = server::stored(event, 1764322200250, 300000);
  } catch (const server::Error&) {
    return;
  }
  FUZZ_CHECK(!events.empty() && events[0].time >= 946684800000 && events[0].time <= 1764322200250 + 300000);
  FUZZ_CHECK(!event.visitor.empty() && !event.type.empty() && event.type.size() <= 64);
  check_json(server::written_body(event, events[0].time));
}

// Two products, one of them with attributes.
stamp::Bundle bundle_of_two(stamp::Catalog::Kind kind) {
  stamp::Bundle bundle{
      .catalog = stamp::Catalog(kind), .counts = {1, 2}, .attributes = stamp::Attributes(2), .clusters = {}};
  for (const std::int64_t id : {1, 2})
    kind == stamp::Catalog::Kind::integers ? bundle.catalog.add(id) : bundle.catalog.add("sku-" + std::to_string(id));
  bundle.attributes.add(stamp::TextAttribute{.name = "a \"name\"", .values = {"Shirts"}, .codes = {0, -1}});
  bundle.attributes.add(stamp::NumberAttribute{.name = "price", .values = {9.5f, NAN}});
  return bundle;
}

const stamp::Release& shop(stamp::Catalog::Kind kind) {
  static const stamp::Release integers(bundle_of_two(stamp::Catalog::Kind::integers)),
      strings(bundle_of_two(stamp::Catalog::Kind::strings));
  return kind == stamp::Catalog::Kind::integers ? integers : strings;
}

void read(int which, stamp::Catalog::Kind kind, std::string_view body) {
  switch (which) {
    case 0: {
      const auto asked = server::read_predict(body, "home", kind, 100);
      check_asked(asked);
      auto answer = answer_of(asked);
      if (!answer.error) check_json(server::predict_body(asked, answer));
      return;
    }
    case 1: {
      const auto asked = server::read_batch_predict(body, kind, 100);
      FUZZ_CHECK(!asked.empty() && asked.size() <= 32);
      std::vector<server::Predicted> answers;
      for (const auto& one : asked) check_asked(one), answers.push_back(answer_of(one));
      return check_json(server::batch_predict_body(asked, answers));
    }
    case 2:
      return check_stored(server::read_write(body, kind));
    case 3: {
      const auto events = server::read_import(body, kind);
      FUZZ_CHECK(!events.empty() && events.size() <= 10000);
      for (const auto& event : events) check_stored(event);
      return;
    }
    case 4: {
      const server::Purge purge = server::read_purge(body);
      FUZZ_CHECK(purge.visitor.has_value() != purge.before.has_value());
      if (purge.visitor) FUZZ_CHECK(!purge.visitor->empty() && purge.visitor->size() <= 128);
      return;
    }
    case 5: {
      const auto inference = server::read_inference(body, "home", kind, 100);
      check_asked(inference.asked);
      FUZZ_CHECK(inference.asked.events && inference.outputs.size() <= 3);
      server::Predicted answer = answer_of(inference.asked);
      answer.error = nullptr;
      return check_json(server::inference_body(inference, "home", answer));
    }
    case 6: {
      const auto asked = server::read_instances(body, kind, 100);
      FUZZ_CHECK(!asked.empty() && asked.size() <= 100);
      std::vector<server::Predicted> answers;
      for (const auto& one : asked) check_asked(one), answers.push_back(answer_of(one));
      return check_json(server::predictions_body(asked, answers));
    }
    case 7: {
      const server::SetInventory set = server::read_set_inventory(body, kind);
      FUZZ_CHECK(!set.changes.empty() && set.changes.size() <= 100000 && (!set.time || *set.time >= 946684800000));
      for (const server::InventoryChange& change : set.changes) {
        FUZZ_CHECK(change.available || change.price);
        if (change.price) FUZZ_CHECK(*change.price >= 0 && std::isfinite(*change.price));
      }
      return;
    }
    default: {
      const server::DemoQuestion asked = server::read_demo_products(body, kind);
      FUZZ_CHECK(asked.limit >= 1 && asked.limit <= 100 && asked.offset >= 0 && asked.search.size() <= 256);
      return check_json(server::demo_products_body(asked, shop(kind), "bundle", {}));
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const int which = data[0] % 9;
  const auto kind = data[0] & 128 ? stamp::Catalog::Kind::integers : stamp::Catalog::Kind::strings;
  try {
    read(which, kind, text_of(data + 1, size - 1));
  } catch (const server::Error& error) {
    FUZZ_CHECK(error.status() == 400);
    check_json(server::error_body(error.status(), error.what()));
    check_json(server::inference_error_body(error.what()));
  }
  return 0;
}
