#include "predict_api.h"

#include <limits>

#include "error.h"
#include "events.h"
#include "failures.h"
#include "json_writer.h"

namespace server {

namespace {

constexpr std::size_t kZones = 32;  // of one page
constexpr int kHistory = 10000;

std::vector<stamp::Id> read_ids(const Json& value, stamp::Catalog::Kind kind) {
  std::vector<stamp::Id> ids;
  value.each_item(kMaxIds, [&](const Json& id) { ids.push_back(read_product_id(id, kind)); });
  return ids;
}

stamp::Objective read_objective(const Json& value) {
  stamp::Objective objective;
  value.each_key([&](std::string_view name, const Json& weight) {
    objective[std::string(name)] = weight.number(0, std::numeric_limits<double>::max());
    return true;
  });
  if (objective.empty()) value.wrong("names nothing");
  return objective;
}

void read_params(const Json& params, Prediction& asked) {
  params.each_key([&](std::string_view key, const Json& value) {
    if (key == "returnScore")
      asked.with_scores = value.boolean();
    else if (key == "strictFiltering")
      asked.strict = value.boolean();
    else
      return false;
    return true;
  });
}

// What a list of its own may say.
bool read_own(std::string_view key, const Json& value, stamp::Catalog::Kind kind, int max_k, Prediction& asked) {
  if (key == "pageSize" || key == "k")
    asked.k = value.integer(1, max_k);
  else if (key == "history")
    asked.history = value.integer(1, kHistory);
  else if (key == "rules")
    asked.rules = value.raw_array();
  else if (key == "value")
    asked.value = value.number(0, 1);
  else if (key == "tail")
    asked.tail = value.number(0, 1);
  else if (key == "objective")
    asked.objective = read_objective(value);
  else if (key == "exclude")
    asked.exclude = read_ids(value, kind);
  else if (key == "only")
    asked.only = read_ids(value, kind);
  else if (key == "explain")
    asked.explain = value.boolean();
  else if (key == "params")
    read_params(value, asked);
  else
    return false;
  return true;
}

// What all lists of a page share.
bool read_shared(std::string_view key, const Json& value, stamp::Catalog::Kind kind, Prediction& asked) {
  if (key == "userEvent") {
    UserEvent event = read_user_event(value, kind);
    asked.visitor = std::move(event.visitor);
    asked.current = std::move(event.products);
  } else if (key == "events") {
    asked.events = read_ids(value, kind);
  } else if (key == "bought") {
    asked.bought = read_ids(value, kind);
  } else if (key == "validateOnly") {
    asked.validate_only = value.boolean();
  } else if (key == "labels") {
    value.each_key([](std::string_view, const Json& label) { return label.text(), true; });
  } else {
    return false;
  }
  return true;
}

void append_list(std::string& out, const Prediction& asked, const Predicted& answer) {
  JsonObject body(out);
  {
    JsonArray results(body.at("results"));
    for (std::size_t i = 0; i < answer.list.items.size(); ++i) {
      JsonObject result(results.next());
      if (const auto* text = std::get_if<std::string>(&answer.list.items[i])) {
        result.add("id", *text);
      } else {
        std::string& id = result.at("id");
        id += '"';
        append_json(id, std::get<std::int64_t>(answer.list.items[i]));
        id += '"';
      }
      if (asked.with_scores) JsonObject(result.at("metadata")).add("score", answer.list.scores[i]);
    }
  }
  body.add("attributionToken", answer.token);
  if (!answer.list.unknown.empty()) {
    JsonArray missing(body.at("missingIds"));
    for (const stamp::Id& id : answer.list.unknown) missing.add(stamp::to_string(id));
  }
  body.add("path", stamp::to_string(answer.list.path));
  if (answer.list.cluster >= 0) body.add("cluster", answer.list.cluster);
  if (!answer.list.reason.empty()) body.add("reason", answer.list.reason);
  if (!answer.degraded.empty()) {
    JsonArray degraded(body.at("degraded"));
    for (const std::string& part : answer.degraded) degraded.add(part);
  }
  if (!answer.list.explanation.empty()) body.at("explanation") += answer.list.explanation;
  if (!answer.experiment.empty()) {
    JsonObject experiment(body.at("experiment"));
    experiment.add("name", answer.experiment);
    experiment.add("arm", answer.arm);
  }
  if (asked.validate_only) body.add("validateOnly", true);
  body.add("release", answer.release);
}

}  // namespace

bool read_predict_key(std::string_view key, const Json& value, stamp::Catalog::Kind kind, int max_k,
                      Prediction& asked) {
  return read_own(key, value, kind, max_k, asked) || read_shared(key, value, kind, asked);
}

Prediction read_predict(std::string_view body, std::string_view zone, stamp::Catalog::Kind kind, int max_k) {
  Prediction asked;
  asked.zone = zone;
  read_json(body, [&](const Json& document) {
    document.each_key(
        [&](std::string_view key, const Json& value) { return read_predict_key(key, value, kind, max_k, asked); });
  });
  return asked;
}

std::vector<Prediction> read_batch_predict(std::string_view body, stamp::Catalog::Kind kind, int max_k) {
  Prediction shared;
  std::vector<Prediction> asked;
  read_json(body, [&](const Json& document) {
    document.each_key([&](std::string_view key, const Json& value) {
      if (key != "requests") return read_shared(key, value, kind, shared);
      asked.clear();
      value.each_item(kZones, [&](const Json& request) {
        Prediction& own = asked.emplace_back();
        request.each_key([&](std::string_view part, const Json& content) {
          if (part != "zone") return read_own(part, content, kind, max_k, own);
          own.zone = content.text(1, kMaxZoneBytes);
          return true;
        });
      });
      return true;
    });
    if (asked.empty()) document.wrong("\"requests\" names no zone");
  });
  for (Prediction& own : asked) {
    own.visitor = shared.visitor;
    own.events = shared.events;
    own.current = shared.current;
    own.bought = shared.bought;
    own.validate_only = shared.validate_only;
  }
  return asked;
}

std::string predict_body(const Prediction& asked, const Predicted& answer) {
  std::string body;
  body.reserve(128 + 48 * answer.list.items.size() + answer.list.explanation.size());
  append_list(body, asked, answer);
  return body;
}

std::string batch_predict_body(const std::vector<Prediction>& asked, const std::vector<Predicted>& answers) {
  std::string body;
  {
    JsonObject page(body);
    JsonArray responses(page.at("responses"));
    for (std::size_t i = 0; i < asked.size(); ++i) append_answer(responses.next(), asked[i], answers[i]);
  }
  return body;
}

void append_answer(std::string& out, const Prediction& asked, const Predicted& answer) {
  if (!answer.error) return append_list(out, asked, answer);
  const Failure failure = failure_of(answer.error);
  out += error_body(failure.status, failure.message);
}

}  // namespace server
