// Whether requests are welcome.
#pragma once

#include <atomic>

#include "error.h"
#include "releases.h"

namespace server {

// Thread-safe.
class Readiness {
 public:
  explicit Readiness(const Releases& releases) : releases_(releases) {}

  void end() { ending_ = true; }  // not any more
  // Throws Error 503 with the reason where they are not.
  void check() const {
    if (ending_) throw Error(503, "the server is ending");
    releases_.current();
  }

 private:
  const Releases& releases_;
  std::atomic<bool> ending_{false};
};

}  // namespace server
