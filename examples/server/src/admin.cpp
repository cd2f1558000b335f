#include "admin.h"

#include "clock.h"
#include "error.h"
#include "json_writer.h"

namespace server {

Admin::Admin(const Config& config, const Releases& releases, const Metrics& metrics)
    : config_(config),
      releases_(releases),
      metrics_(metrics),
      http_(HttpOptions{.address = config.admin.address, .port = config.admin.port},
            [this](const HttpRequest& request, HttpReply reply) { reply(answer(request)); }) {
  http_.start();
}

HttpResponse Admin::answer(const HttpRequest& request) const {
  const auto error = [](int status, const std::string& message) {
    return HttpResponse{.status = status, .body = error_body(status, message)};
  };
  if (request.method != "GET" && request.method != "HEAD") return error(405, "GET is expected");
  if (request.path == "/healthz") return {.body = "{\"live\":true}"};
  if (request.path == "/readyz") return draining_ ? error(503, "the server is ending") : HttpResponse{.body = "{\"ready\":true}"};
  if (request.path == "/metrics") return {.body = metrics_.text(), .content_type = "text/plain; version=0.0.4"};
  if (request.path == "/config") return {.body = config_text(config_)};
  if (request.path == "/release") {
    const auto serving = releases_.current();
    std::string body;
    {
      JsonObject release(body);
      release.add("release", serving->name);
      release.add("since", format_time(serving->since));
      release.add("products", serving->recommender.release()->catalog().size());
      JsonArray zones(release.at("zones"));
      for (const std::string& zone : serving->zones) zones.add(zone);
    }
    return {.body = std::move(body)};
  }
  return error(404, "there is nothing at " + std::string(request.path.substr(0, 256)) +
                        "; there are /healthz, /readyz, /metrics, /release, /config");
}

}  // namespace server
