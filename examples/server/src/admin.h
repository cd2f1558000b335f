// Health, metrics and administration, on a port of their own that load never reaches.
#pragma once

#include "config.h"
#include "http.h"
#include "keys.h"
#include "metrics.h"
#include "readiness.h"
#include "releases.h"
#include "shadow.h"

namespace server {

//  GET /healthz        the process lives
//  GET /readyz    requests are welcome: a release is loaded and warm; else 503 with the reason
//  GET /metrics   for Prometheus
//  GET /release   what is served, what was before, whether it is pinned, what was refused since; the candidate
//  GET /config    what is in force
//
// With a key that may administer (where there is no file of keys, from this machine alone), each answers as /release
// does, 409 where it cannot be:
//  POST /release:reload    looks for another release now, and waits for what comes of it
//  POST /release:rollback  back to the release before, and pinned to it
//  POST /release:pin       to the one that is served, until it is unpinned or the process ends
//  POST /release:unpin     what the pointer says is served again
class Admin {
 public:
  // shadow: null where there is none.
  Admin(const Config& config, Releases& releases, const Shadow* shadow, const Readiness& readiness, Keys& keys,
        const Metrics& metrics);

  int port() const { return http_.port(); }

 private:
  HttpResponse get(const HttpRequest& request) const;
  void post(const HttpRequest& request, HttpReply reply);
  std::string release_body() const;

  const Config& config_;
  Releases& releases_;
  const Shadow* shadow_;
  const Readiness& readiness_;
  Keys& keys_;
  const Metrics& metrics_;
  const bool is_local_;
  HttpServer http_;
};

}  // namespace server
