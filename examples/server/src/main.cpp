// stamp-server: serves a bundle. stamp-server [--config FILE] [--check | --schema | --new-key NAME]
#include <csignal>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <tuple>

#include "admin.h"
#include "config.h"
#include "demo_page.h"
#include "http.h"
#include "inventory.h"
#include "keys.h"
#include "log.h"
#include "predictor.h"
#include "readiness.h"
#include "routes.h"
#include "secret.h"
#include "shadow.h"
#include "stamp/device.h"
#include "visits_embedded.h"
#include "visits_memory.h"
#ifdef STAMP_SERVER_BIGTABLE
#include "bigtable/store.h"
#endif

namespace {

constexpr const char* kUsage =
    R"(stamp-server: answers requests for recommendations from a bundle.

  stamp-server --config FILE            serves until SIGTERM or SIGINT
  stamp-server --config FILE --check    says whether the configuration can be, and ends
  stamp-server --schema                 JSON Schema of the configuration
  stamp-server --new-key NAME           makes a bearer key, and its line for the file of keys

Every key can also be set in the environment: STAMP_SERVER_HTTP_PORT=9000 for http.port.
)";

#ifdef STAMP_SERVER_BIGTABLE
std::unique_ptr<server::Visits> open_bigtable(const server::VisitsOptions& options) {
  return std::make_unique<server::BigtableVisits>(options);
}
void check_bigtable(const server::VisitsOptions& options) { server::BigtableVisits::check(options); }
#else
[[noreturn]] void check_bigtable(const server::VisitsOptions&) {
  throw std::invalid_argument("visits.store: this server was built without Bigtable (STAMP_SERVER_BIGTABLE)");
}
std::unique_ptr<server::Visits> open_bigtable(const server::VisitsOptions& options) { check_bigtable(options); }
#endif

std::unique_ptr<server::Visits> open_visits(const server::VisitsOptions& options) {
  if (options.store == "bigtable") return open_bigtable(options);
  if (options.store == "embedded") return std::make_unique<server::EmbeddedVisits>(options);
  if (options.store == "memory")
    return std::make_unique<server::MemoryVisits>(options.max_events, 1000 * options.max_age_s);
  return nullptr;
}

int serve(const server::Config& config, const sigset_t& ends) {
  server::Metrics metrics;
  server::Keys keys(config.keys.file, metrics);
  server::RecentRequests recent;
  std::optional<server::Inventory> inventory;
  if (!config.inventory.path.empty()) inventory.emplace(config.inventory, metrics);
  server::Inventory* const inventory_or_null = inventory ? &*inventory : nullptr;
  server::Releases releases(config, server::Releases::Role::served, {}, inventory_or_null, recent, metrics);
  server::Readiness readiness(releases);
  std::unique_ptr<server::Visits> visits = open_visits(config.visits);
  const server::Secret secret(config.secret_file);
  const server::Tokens tokens(secret);
  const server::Experiments experiments(config.experiments, {}, inventory_or_null);
  std::optional<server::ExposureLog> exposures;
  if (!config.exposures.directory.empty()) exposures.emplace(config.exposures);
  server::Admission admission(config.admission, stamp::num_threads());
  std::optional<server::Shadow> shadow;
  if (config.shadow.share > 0)
    shadow.emplace(config, stamp::ReleaseOptions{}, inventory_or_null, recent, admission, metrics);
  server::Predictor predictor({config, releases, visits.get(), experiments, exposures ? &*exposures : nullptr, secret,
                               tokens, admission, shadow ? &*shadow : nullptr},
                              metrics);
  server::Routes routes(config, releases, predictor, visits.get(), inventory_or_null, tokens, readiness, keys, metrics);
  server::HttpServer http(config.http, [&](const server::HttpRequest& request, server::HttpReply reply) {
    routes(request, std::move(reply));
  });
  for (const auto& [name, help, figure] :
       {std::tuple{"stamp_http_connections", "Connections that are open.", &server::HttpServer::Figures::open},
        {"stamp_http_accepted", "Connections so far.", &server::HttpServer::Figures::accepted},
        {"stamp_http_refused", "Connections beyond http.max_connections.", &server::HttpServer::Figures::refused},
        {"stamp_http_bad_requests", "What was no HTTP, or too large.", &server::HttpServer::Figures::bad_requests},
        {"stamp_http_timeouts", "Requests and answers that took too long.", &server::HttpServer::Figures::timeouts}})
    metrics.gauge(name, help, [&http, figure] { return static_cast<double>(http.figures().*figure); });
  if (visits)
    metrics.gauges("stamp_visits", "Figures of the store of events.", [&visits] {
      server::Metrics::Samples samples;
      for (const auto& [name, value] : visits->figures()) samples.emplace_back("what=\"" + name + '"', value);
      return samples;
    });
  if (exposures) {
    metrics.gauge("stamp_exposures_written", "Lines of the exposure log so far.",
                  [&] { return static_cast<double>(exposures->written()); });
    metrics.gauge("stamp_exposures_dropped", "Lines that the disk did not take.",
                  [&] { return static_cast<double>(exposures->dropped()); });
  }
  std::optional<server::Admin> admin(std::in_place, config, releases, shadow ? &*shadow : nullptr, readiness, keys,
                                     metrics);
  http.start();
  const auto name_of = [](const server::Releases::Status& status) {
    return status.current ? "release " + status.current->name : "no release yet";
  };
  if (config.demo.enabled)
    server::log("a page to look at: http://" + config.http.address + ':' + std::to_string(http.port()) +
                std::string(server::kDemoPath));
  server::log(name_of(releases.status()) + " at http://" + config.http.address + ':' + std::to_string(http.port()) +
              ", health and metrics at http://" + config.admin.address + ':' + std::to_string(admin->port()));

  int signal;
  sigwait(&ends, &signal);
  readiness.end();
  if (signal == SIGTERM && config.http.grace_ms > 0) {
    server::log("Terminated: serving for " + std::to_string(config.http.grace_ms) + " ms more");
    const timespec grace{config.http.grace_ms / 1000, config.http.grace_ms % 1000 * 1000000l};
    sigtimedwait(&ends, nullptr, &grace);
  }
  server::log("ending as requests are answered");
  http.stop(std::chrono::steady_clock::now() + std::chrono::milliseconds(config.http.request_timeout_ms));
  routes.stop();
  if (inventory) inventory->stop();
  admin.reset();               // it looks at the store
  visits.reset();              // whoever still waits for it is told, and answers
  if (shadow) shadow->stop();  // it holds what is served
  releases.stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string path;
  bool check = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--config" && i + 1 < argc) {
      path = argv[++i];
    } else if (argument == "--check") {
      check = true;
    } else if (argument == "--schema") {
      std::cout << server::config_schema();
      return 0;
    } else if (argument == "--new-key" && i + 1 < argc) {
      try {
        std::cout << server::Keys::new_key(argv[++i]);
        return 0;
      } catch (const std::exception& error) {
        server::log(error.what());
        return 1;
      }
    } else if (argument == "--help") {
      std::cout << kUsage;
      return 0;
    } else {
      std::cerr << "stamp-server: unknown argument " << argument << "\n\n" << kUsage;
      return 2;
    }
  }
  // Threads inherit this: signals come to sigwait alone.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    const server::Config config = path.empty() ? server::default_config() : server::read_config(path);
    if (check) {
      server::Experiments::check(config.experiments);
      if (config.visits.store == "bigtable") check_bigtable(config.visits);
      std::cout << server::config_text(config);
      return 0;
    }
    return serve(config, ends);
  } catch (const std::exception& error) {
    server::log(error.what());
    return 1;
  }
}
