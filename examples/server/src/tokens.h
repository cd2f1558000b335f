// Attribution tokens: which answer an event follows. Signed, so that nobody can make one up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "secret.h"

namespace server {

struct Attribution {
  std::string release, zone, arm, request;
  std::int64_t time = 0;  // ms
};

// base64url of version, time, lengths and texts, and a signature over these.
class Tokens {
 public:
  explicit Tokens(const Secret& secret) : secret_(secret) {}

  std::string token(const Attribution& attribution) const;
  // Nothing for what was not signed with this secret.
  std::optional<Attribution> read(std::string_view token) const;

 private:
  const Secret& secret_;
};

}  // namespace server
