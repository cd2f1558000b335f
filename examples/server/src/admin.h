// Health and metrics, on a port of their own that load never reaches.
#pragma once

#include <atomic>

#include "config.h"
#include "http.h"
#include "metrics.h"
#include "releases.h"

namespace server {

//  GET /healthz        the process lives
//  GET /readyz         requests are welcome; 503 from drain() on
//  GET /metrics        for Prometheus
//  GET /release        what is served
//  GET /config         what is in force
class Admin {
 public:
  Admin(const Config& config, const Releases& releases, const Metrics& metrics);

  int port() const { return http_.port(); }
  void drain() { draining_ = true; }

 private:
  HttpResponse answer(const HttpRequest& request) const;

  const Config& config_;
  const Releases& releases_;
  const Metrics& metrics_;
  std::atomic<bool> draining_{false};
  HttpServer http_;
};

}  // namespace server
