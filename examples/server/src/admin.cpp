#include "admin.h"

#include <boost/asio/ip/address.hpp>
#include <memory>

#include "clock.h"
#include "error.h"
#include "failures.h"
#include "json_writer.h"

namespace server {

namespace {

constexpr std::string_view kAction = "/release:";

bool is_loopback(const std::string& address) {
  boost::system::error_code error;
  const auto parsed = boost::asio::ip::make_address(address, error);
  return !error && parsed.is_loopback();
}

HttpResponse refusal(int status, const std::string& message) {
  return {.status = status, .body = error_body(status, message), .headers = error_headers(status)};
}

HttpResponse refusal(const std::exception_ptr& error) {
  const Failure failure = failure_of(error);
  return refusal(failure.status, failure.message);
}

void add_refused(JsonObject& out, const Releases::Status& status) {
  if (status.refused.empty()) return;
  JsonArray refused(out.at("refused"));
  for (const Releases::Refused& release : status.refused) {
    JsonObject one(refused.next());
    one.add("release", release.release);
    one.add("why", release.why);
    one.add("at", format_time(release.at));
  }
}

void add_current(JsonObject& out, const Releases::Status& status) {
  if (status.current) {
    out.add("release", status.current->name);
    if (!status.current->digest.empty()) out.add("digest", status.current->digest);
    out.add("since", format_time(status.since));
    out.add("products", status.current->recommender.release()->catalog().size());
    JsonArray zones(out.at("zones"));
    for (const std::string& zone : status.current->zones) zones.add(zone);
  } else {
    out.add("none", status.why_none);
  }
}

void add_candidate(JsonObject& out, const Shadow::Status& status) {
  JsonObject candidate(out.at("candidate"));
  add_current(candidate, status.candidate);
  add_refused(candidate, status.candidate);
  const Shadow::Figures& figures = status.figures;
  if (!figures.beside.empty()) {
    candidate.add("beside", figures.beside);
    candidate.add("answered", figures.answered);
    candidate.add("failed", figures.failed);
    if (!figures.why_failed.empty()) candidate.add("whyFailed", figures.why_failed);
    const auto add_mean = [&](const char* key, double sum, std::uint64_t n) {
      if (n > 0) candidate.add(key, sum / static_cast<double>(n));
    };
    add_mean("overlap", figures.overlap, figures.compared);
    add_mean("sameFirst", static_cast<double>(figures.same_first), figures.compared);
    add_mean("empty", static_cast<double>(figures.empty_candidate), figures.answered);
    add_mean("emptyServed", static_cast<double>(figures.empty_served), figures.answered);
    add_mean("listSeconds", figures.candidate_s, figures.answered);
    add_mean("listSecondsServed", figures.served_s, figures.answered);
  }
}

HttpResponse ready(const Releases::Status& status) {
  std::string body;
  {
    JsonObject out(body);
    out.add("ready", true);
    out.add("release", status.current->name);
    out.add("pinned", status.pinned);
    add_refused(out, status);
  }
  return {.body = std::move(body)};
}

}  // namespace

Admin::Admin(const Config& config, Releases& releases, const Shadow* shadow, const Readiness& readiness, Keys& keys,
             const Metrics& metrics)
    : config_(config),
      releases_(releases),
      shadow_(shadow),
      readiness_(readiness),
      keys_(keys),
      metrics_(metrics),
      is_local_(is_loopback(config.admin.address)),
      http_(HttpOptions{.address = config.admin.address, .port = config.admin.port},
            [this](const HttpRequest& request, HttpReply reply) {
              if (request.method == "POST" && request.path.starts_with(kAction)) return post(request, std::move(reply));
              try {
                reply(get(request));
              } catch (...) {
                reply(refusal(std::current_exception()));
              }
            }) {
  http_.start();
}

std::string Admin::release_body() const {
  const Releases::Status status = releases_.status();
  std::string body;
  {
    JsonObject out(body);
    add_current(out, status);
    if (status.previous) out.add("previous", status.previous->name);
    out.add("pinned", status.pinned);
    add_refused(out, status);
    if (shadow_) add_candidate(out, shadow_->status());
  }
  return body;
}

HttpResponse Admin::get(const HttpRequest& request) const {
  const bool is_action = request.path.starts_with(kAction);
  if (is_action || (request.method != "GET" && request.method != "HEAD")) {
    HttpResponse response = refusal(405, is_action ? "POST is expected" : "GET is expected");
    response.headers.emplace_back("Allow", is_action ? "POST" : "GET, HEAD");
    return response;
  }
  if (request.path == "/healthz") return {.body = "{\"live\":true}"};
  if (request.path == "/readyz") {
    try {
      readiness_.check();
      return ready(releases_.status());
    } catch (...) {
      return refusal(std::current_exception());
    }
  }
  if (request.path == "/metrics") return {.body = metrics_.text(), .content_type = "text/plain; version=0.0.4"};
  if (request.path == "/config") return {.body = config_text(config_)};
  if (request.path == "/release") return {.body = release_body()};
  return refusal(404, "there is nothing at " + std::string(request.path.substr(0, 256)) +
                          "; there are /healthz, /readyz, /metrics, /release, /config");
}

void Admin::post(const HttpRequest& request, HttpReply reply) {
  const auto done = [this, reply = std::make_shared<HttpReply>(std::move(reply))](std::exception_ptr error) {
    (*reply)(error ? refusal(error) : HttpResponse{.body = release_body()});
  };
  try {
    const std::string_view action = request.path.substr(kAction.size());
    if (action != "reload" && action != "rollback" && action != "pin" && action != "unpin")
      throw Error(404, "there is nothing at " + std::string(request.path.substr(0, 256)) +
                           "; there are /release:reload, /release:rollback, /release:pin, /release:unpin");
    if (keys_.any())
      keys_.check(request.authorization, Keys::admin);
    else if (!is_local_)
      throw Error(403, "administration wants a key (keys.file), admin.address being no loopback address");
    if (action == "reload") return releases_.reload(done);
    if (action == "rollback") releases_.rollback();
    if (action == "pin") releases_.pin();
    if (action == "unpin") releases_.unpin();
    done(nullptr);
  } catch (...) {
    done(std::current_exception());
  }
}

}  // namespace server
