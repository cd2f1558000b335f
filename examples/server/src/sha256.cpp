#include "sha256.h"

#include <openssl/evp.h>

#include <stdexcept>

namespace server {

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (context_ && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1) return;
  EVP_MD_CTX_free(context_);
  throw std::runtime_error("OpenSSL has no SHA-256");
}

Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::add(std::string_view piece) { EVP_DigestUpdate(context_, piece.data(), piece.size()); }

Sha256::Bytes Sha256::finish() {
  Bytes bytes;
  EVP_DigestFinal_ex(context_, bytes.data(), nullptr);
  return bytes;
}

Sha256::Bytes sha256(std::string_view text) {
  Sha256 hash;
  hash.add(text);
  return hash.finish();
}

std::string hexadecimal(std::span<const unsigned char> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace server
