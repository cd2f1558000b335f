#include "secret.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <stdexcept>

#include "sha256.h"
#include "stamp/files.h"

namespace server {

Secret::Secret(const std::string& path) {
  constexpr std::size_t kLeast = 32;
  if (path.empty()) {
    key_.resize(kLeast);
    if (RAND_bytes(reinterpret_cast<unsigned char*>(key_.data()), kLeast) != 1)
      throw std::runtime_error("no random bytes can be had for a secret");
    return;
  }
  key_ = stamp::read_file(path);
  if (key_.size() < kLeast)
    throw std::runtime_error(path + ": a secret of " + std::to_string(key_.size()) +
                             " bytes; 32 at least are expected, as `openssl rand -hex 32` makes them");
}

Secret::Signature Secret::sign(std::string_view use, std::string_view text) const {
  std::string message(use);
  message += '\0';
  message += text;
  std::array<unsigned char, EVP_MAX_MD_SIZE> whole;
  unsigned size = 0;
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), reinterpret_cast<const unsigned char*>(message.data()),
       message.size(), whole.data(), &size);
  Signature part;
  std::copy_n(whole.data(), part.size(), part.data());
  return part;
}

std::string Secret::hex(std::string_view use, std::string_view text) const { return hexadecimal(sign(use, text)); }

}  // namespace server
