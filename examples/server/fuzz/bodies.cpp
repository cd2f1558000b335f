// Bodies of requests, the first byte picks which: they are read, or refused with an answer that is JSON. What is
// written of what was read is JSON, too.
#include <simdjson.h>

#include <stdexcept>

#include "clock.h"
#include "error.h"
#include "events_api.h"
#include "failures.h"
#include "fuzz.h"
#include "inference_api.h"
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
    default: {
      const auto asked = server::read_instances(body, kind, 100);
      FUZZ_CHECK(!asked.empty() && asked.size() <= 100);
      std::vector<server::Predicted> answers;
      for (const auto& one : asked) check_asked(one), answers.push_back(answer_of(one));
      return check_json(server::predictions_body(asked, answers));
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const int which = data[0] % 7;
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
