// The server's secret, and what only its holder can compute: signatures of tokens, names of visitors in logs.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace server {

class Secret {
 public:
  using Signature = std::array<unsigned char, 16>;

  // The contents of a file, of 32 bytes at least, shared by all replicas; of an empty path a random one, good for this
  // process. Throws std::runtime_error for a file that cannot be read, or is too short.
  explicit Secret(const std::string& path);

  // The first 16 bytes of HMAC-SHA256. `use` keeps signatures for one use from being good for another.
  Signature sign(std::string_view use, std::string_view text) const;
  std::string hex(std::string_view use, std::string_view text) const;  // the same, for people

 private:
  std::string key_;
};

}  // namespace server
