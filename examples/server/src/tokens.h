// Attribution tokens: which answer an event follows. Signed, so that nobody can make one up.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace server {

struct Attribution {
  std::string release, zone, arm, request;
  std::int64_t time = 0;  // ms
};

// base64url of version, time, lengths and texts, and 16 bytes of HMAC-SHA256 over these.
class Tokens {
 public:
  explicit Tokens(std::string key);  // empty: a random one, good for this process

  std::string token(const Attribution& attribution) const;
  // Nothing for what was not signed with this key.
  std::optional<Attribution> read(std::string_view token) const;

 private:
  std::array<unsigned char, 16> signature(std::string_view text) const;

  std::string key_;
};

}  // namespace server
