#include "routes.h"

#include <algorithm>
#include <charconv>
#include <random>

#include "clock.h"
#include "demo_page.h"
#include "demo_products.h"
#include "error.h"
#include "events_api.h"
#include "failures.h"
#include "import.h"
#include "inference_api.h"
#include "inventory_api.h"
#include "json_writer.h"
#include "openapi.h"
#include "predict_api.h"

namespace server {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kImports = 8, kLooks = 8;  // that wait
constexpr std::string_view kZones = "/v1/servingConfigs/", kPredict = ":predict";
constexpr std::string_view kEvents = "/v1/userEvents:", kProducts = "/v1/products:";
constexpr std::string_view kInference = "/v2", kModels = "/v2/models/", kInfer = "/infer", kReady = "/ready";

std::string new_request_id() {
  thread_local std::mt19937_64 random(std::random_device{}());
  char text[16];
  const auto [end, error] = std::to_chars(text, text + sizeof text, random(), 16);
  return std::string(text, end);
}

// Of a caller's own, what can stand in a log line and a header.
std::string request_id_of(std::string_view given) {
  if (given.empty() || given.size() > 128) return new_request_id();
  for (const char c : given)
    if (c <= ' ' || c > '~' || c == '"' || c == '\\') return new_request_id();
  return std::string(given);
}

Error nothing_at(std::string_view path) {
  return Error(404, "there is nothing at " + std::string(path.substr(0, 256)) + "; /openapi.json says what there is");
}

std::string from_percent(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, code, 16).ptr == text.data() + i + 3) {
      plain += static_cast<char>(code);
      i += 2;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

void check_post(const HttpRequest& request) {
  if (request.method != "POST")
    throw Error(405, std::string(request.method) + ": POST is expected at " + std::string(request.path));
}

void check_json_post(const HttpRequest& request) {
  check_post(request);
  const std::string_view type = request.content_type.substr(0, request.content_type.find(';'));
  if (type != "application/json")
    throw Error(415, "content-type: \"" + std::string(type.substr(0, 64)) + "\"; application/json is expected");
}

}  // namespace

struct Routes::Call {
  Call(Routes& r, HttpReply to, const HttpRequest& request)
      : routes(r),
        reply(std::move(to)),
        request_id(request_id_of(request.request_id)),
        arrived(request.arrived),
        is_inference(request.path == kInference || request.path.starts_with("/v2/")) {}

  Routes& routes;
  HttpReply reply;
  std::string request_id;
  Clock::time_point arrived;
  bool is_inference;  // by the Open Inference Protocol, which has errors of its own form
  std::string_view allow = "POST";

  void check_get(const HttpRequest& request) {
    allow = "GET, HEAD";
    if (request.method != "GET" && request.method != "HEAD")
      throw Error(405, std::string(request.method) + ": GET is expected at " + std::string(request.path));
  }
  void answer(std::string body, int status = 200) {
    HttpResponse response{.status = status, .body = std::move(body), .headers = error_headers(status)};
    if (status == 405) response.headers.emplace_back("Allow", allow);
    answer(std::move(response));
  }
  void answer(HttpResponse response) {
    response.headers.emplace_back("X-Request-Id", request_id);
    routes.count(response.status);
    reply(std::move(response));
  }
  void fail(const std::exception_ptr& error) {
    const Failure failure = failure_of(error);
    answer(is_inference ? inference_error_body(failure.message) : error_body(failure.status, failure.message),
           failure.status);
  }
};

Routes::Routes(const Config& config, const Releases& releases, Predictor& predictor, Visits* visits,
               Inventory* inventory, const Tokens& tokens, const Readiness& readiness, Keys& keys, Metrics& metrics)
    : config_(config),
      releases_(releases),
      predictor_(predictor),
      visits_(visits),
      inventory_(inventory),
      tokens_(tokens),
      readiness_(readiness),
      keys_(keys),
      metrics_(metrics),
      openapi_(openapi_json(config)),
      time_(metrics.histogram("stamp_predict_seconds", "Predictions, from the last byte in to the answer.")),
      events_(metrics.counter("stamp_events_total", "Events that were stored.")),
      attributed_(metrics.counter("stamp_attributed_events_total", "User events that named the answer they follow.")),
      imports_(kImports) {
  if (config.demo.enabled) looks_.emplace(kLooks);
  for (const int status : {200, 400, 401, 403, 404, 405, 415, 429, 500, 501, 503})
    responses_[status] = &metrics.counter("stamp_responses_total", "Answers by status of HTTP.",
                                          "status=\"" + std::to_string(status) + '"');
}

void Routes::stop() {
  imports_.stop();
  if (looks_) looks_->stop();
}

void Routes::count(int status) { responses_.at(status)->add(); }

void Routes::operator()(const HttpRequest& request, HttpReply reply) {
  const auto call = std::make_shared<Call>(*this, std::move(reply), request);
  try {
    if (keys_.any() && (request.path.starts_with(kEvents) || request.path.starts_with(kProducts)))
      keys_.check(request.authorization, Keys::write);
    if (request.path.starts_with(kZones) && request.path.ends_with(kPredict)) {
      check_json_post(request);
      predict(call, request,
              from_percent(request.path.substr(kZones.size(), request.path.size() - kZones.size() - kPredict.size())));
    } else if (request.path == "/v1/servingConfigs:batchPredict") {
      check_json_post(request);
      batch_predict(call, request);
    } else if (request.path == "/v1/userEvents:write") {
      check_json_post(request);
      write_event(call, request);
    } else if (request.path == "/v1/userEvents:import") {
      check_json_post(request);
      import_events(call, request);
    } else if (request.path == "/v1/userEvents:purge") {
      check_json_post(request);
      purge_events(call, request);
    } else if (request.path == "/v1/products:setInventory") {
      check_json_post(request);
      set_inventory(call, request);
    } else if (request.path.starts_with(kModels) && request.path.ends_with(kInfer)) {
      check_post(request);  // its clients name no content type
      infer(call, request,
            from_percent(request.path.substr(kModels.size(), request.path.size() - kModels.size() - kInfer.size())));
    } else if (call->is_inference) {
      get_inference(call, request);
    } else if (request.path == "/openapi.json") {
      call->check_get(request);
      call->answer(openapi_);
    } else if (request.path == config_.vertex.predict_route) {
      check_json_post(request);
      predict_instances(call, request);
    } else if (request.path == config_.vertex.health_route) {
      call->check_get(request);
      ready(call);
    } else if (config_.demo.enabled && request.path == kDemoPath) {
      call->check_get(request);
      call->answer(demo_page());
    } else if (config_.demo.enabled && request.path == kDemoProductsPath) {
      check_json_post(request);
      show_products(call, request);
    } else {
      throw nothing_at(request.path);
    }
  } catch (...) {
    call->fail(std::current_exception());
  }
}

void Routes::predict(const std::shared_ptr<Call>& call, const HttpRequest& request, std::string zone) {
  std::vector<Prediction> asked{read_predict(request.body, zone, releases_.current()->kind, config_.predict.max_k)};
  predictor_.predict(std::move(asked), request.arrived, call->request_id,
                     [this, call](const std::vector<Prediction>& questions, std::vector<Predicted> answers) {
                       time_.observe(Clock::now() - call->arrived);
                       if (answers[0].error) return call->fail(answers[0].error);
                       call->answer(predict_body(questions[0], answers[0]));
                     });
}

void Routes::batch_predict(const std::shared_ptr<Call>& call, const HttpRequest& request) {
  predictor_.predict(read_batch_predict(request.body, releases_.current()->kind, config_.predict.max_k),
                     request.arrived, call->request_id,
                     [this, call](const std::vector<Prediction>& questions, std::vector<Predicted> answers) {
                       time_.observe(Clock::now() - call->arrived);
                       call->answer(batch_predict_body(questions, answers));
                     });
}

void Routes::ready(const std::shared_ptr<Call>& call) {
  readiness_.check();
  call->answer("{\"ready\":true}");
}

void Routes::get_inference(const std::shared_ptr<Call>& call, const HttpRequest& request) {
  constexpr std::string_view kLive = "/v2/health/live", kAllReady = "/v2/health/ready";
  std::string_view path = request.path;
  if (path != kInference && path != kLive && path != kAllReady && !path.starts_with(kModels)) throw nothing_at(path);
  call->check_get(request);
  if (path == kInference) return call->answer(inference_server_body());
  if (path == kLive) return call->answer("{\"live\":true}");
  if (path == kAllReady) return ready(call);
  path.remove_prefix(kModels.size());
  const bool is_ready = path.ends_with(kReady);
  if (is_ready) path.remove_suffix(kReady.size());
  const std::string model = from_percent(path);
  const std::shared_ptr<Serving> serving = releases_.current();
  if (model != kDefaultZone && !serving->has_zone(model))
    throw Error(404, "there is no zone \"" + model + "\", which would be a model");
  if (!is_ready) return call->answer(inference_model_body(model, serving->name));
  std::string body;
  {
    JsonObject ready(body);
    ready.add("name", model);
    ready.add("ready", true);
  }
  call->answer(std::move(body));
}

void Routes::infer(const std::shared_ptr<Call>& call, const HttpRequest& request, std::string zone) {
  auto inference =
      std::make_shared<Inference>(read_inference(request.body, zone, releases_.current()->kind, config_.predict.max_k));
  predictor_.predict({inference->asked}, request.arrived, call->request_id,
                     [this, call, inference, zone](const std::vector<Prediction>&, std::vector<Predicted> answers) {
                       time_.observe(Clock::now() - call->arrived);
                       if (answers[0].error) return call->fail(answers[0].error);
                       call->answer(inference_body(*inference, zone, answers[0]));
                     });
}

// Each instance has a visitor of its own; the answer waits for all of them.
void Routes::predict_instances(const std::shared_ptr<Call>& call, const HttpRequest& request) {
  struct Instances {
    std::vector<Prediction> asked;
    std::vector<Predicted> answers;
    std::atomic<std::size_t> left;
  };
  const auto all = std::make_shared<Instances>();
  all->asked = read_instances(request.body, releases_.current()->kind, config_.predict.max_k);
  all->answers.resize(all->asked.size());
  all->left = all->asked.size();
  const auto finish = [this, call, all] {
    if (all->left.fetch_sub(1) > 1) return;
    time_.observe(Clock::now() - call->arrived);
    for (const Predicted& answer : all->answers)
      if (!answer.error) return call->answer(predictions_body(all->asked, all->answers));
    call->fail(all->answers[0].error);  // none of them has a list
  };
  for (std::size_t i = 0; i < all->asked.size(); ++i) {
    try {
      predictor_.predict({all->asked[i]}, request.arrived, call->request_id,
                         [all, i, finish](const std::vector<Prediction>&, std::vector<Predicted> answers) {
                           all->answers[i] = std::move(answers[0]);
                           finish();
                         });
    } catch (...) {
      all->answers[i].error = std::current_exception();
      finish();
    }
  }
}

Visits& Routes::store() const {
  if (!visits_) throw Error(501, "this server stores no events (visits.store is \"none\")");
  return *visits_;
}

// Where the secret is this process's own, answers of an earlier one are not known, and no reason to lose an event.
void Routes::check_token(const UserEvent& event) const {
  if (event.token.empty()) return;
  if (tokens_.read(event.token))
    attributed_.add();
  else if (!config_.secret_file.empty())
    throw Error(400, "attributionToken: is none that was given with an answer");
}

void Routes::write_event(const std::shared_ptr<Call>& call, const HttpRequest& request) {
  UserEvent event = read_write(request.body, releases_.current()->kind);
  check_token(event);
  std::vector<Event> events = stored(event, now_ms(), 1000ll * config_.visits.clock_skew_s);
  const std::int64_t time = events.front().time;
  const std::size_t n = events.size();
  const auto deadline = request.arrived + std::chrono::milliseconds(config_.predict.deadline_ms);
  store().append(event.visitor, std::move(events), deadline, [this, call, event, time, n](std::exception_ptr error) {
    if (error) return call->fail(error);
    events_.add(n);
    call->answer(written_body(event, time));
  });
}

void Routes::import_events(const std::shared_ptr<Call>& call, const HttpRequest& request) {
  const std::vector<UserEvent> events = read_import(request.body, releases_.current()->kind);
  std::map<std::string, std::vector<Event>> by_visitor;
  const std::int64_t now = now_ms();
  std::size_t n = 0;
  for (std::size_t i = 0; i < events.size(); ++i) {
    try {
      check_token(events[i]);
      for (Event& event : stored(events[i], now, 1000ll * config_.visits.clock_skew_s)) {
        by_visitor[events[i].visitor].push_back(std::move(event));
        ++n;
      }
    } catch (const Error& error) {
      throw Error(error.status(),
                  "inputConfig.userEventInlineSource.userEvents[" + std::to_string(i) + "]." + error.what());
    }
  }
  std::vector<std::pair<std::string, std::vector<Event>>> visitors(by_visitor.begin(), by_visitor.end());
  const auto deadline = request.arrived + std::chrono::milliseconds(config_.http.request_timeout_ms);
  const bool is_taken = imports_.add(
      [this, call, &visits = store(), visitors = std::move(visitors), deadline, n, m = events.size()]() mutable {
        try {
          server::import_events(visits, std::move(visitors), deadline);
          events_.add(n);
          call->answer(imported_body(m));
        } catch (...) {
          call->fail(std::current_exception());
        }
      });
  if (!is_taken) throw Error(503, "other imports are under way; come again later");
}

void Routes::purge_events(const std::shared_ptr<Call>& call, const HttpRequest& request) {
  const Purge purge = read_purge(request.body);
  const auto deadline = request.arrived + std::chrono::milliseconds(config_.http.request_timeout_ms);
  const auto done = [call](std::exception_ptr error) {
    if (error) return call->fail(error);
    call->answer(purged_body());
  };
  if (purge.visitor)
    store().erase(*purge.visitor, deadline, done);
  else
    store().erase_before(*purge.before, deadline, done);
}

void Routes::set_inventory(const std::shared_ptr<Call>& call, const HttpRequest& request) {
  if (!inventory_) throw Error(501, "this server sets no inventory (inventory.path is empty)");
  const std::shared_ptr<Serving> serving = releases_.current();
  SetInventory set = read_set_inventory(request.body, serving->kind);
  inventory_->check(set.changes, *serving);
  const std::int64_t now = now_ms();
  if (set.time.value_or(now) > now + 1000ll * config_.visits.clock_skew_s)
    throw Error(400, "setTime: " + format_time(*set.time) + " is in the future; it is " + format_time(now));
  const stamp::Catalog& catalog = serving->recommender.release()->catalog();
  const auto unknown = static_cast<std::size_t>(std::ranges::count_if(set.changes, [&](const InventoryChange& change) {
    return catalog.find(change.product) == stamp::Catalog::kUnknown;
  }));
  const std::size_t n = set.changes.size();
  inventory_->set(std::move(set.changes), set.time, *serving,
                  [call, n, unknown](std::size_t outdated, std::exception_ptr error) {
                    if (error) return call->fail(error);
                    call->answer(set_inventory_body(n, outdated, unknown));
                  });
}

void Routes::show_products(const std::shared_ptr<Call>& call, const HttpRequest& request) {
  std::shared_ptr<Serving> serving = releases_.current();
  DemoQuestion asked = read_demo_products(request.body, serving->kind);
  const bool is_taken = looks_->add([this, call, serving = std::move(serving), asked = std::move(asked)] {
    try {
      call->answer(demo_products_body(asked, *serving->recommender.release(), serving->name, config_));
    } catch (...) {
      call->fail(std::current_exception());
    }
  });
  if (!is_taken) throw Error(503, "others are looking at the products; come again later");
}

}  // namespace server
