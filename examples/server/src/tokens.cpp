#include "tokens.h"

#include <openssl/crypto.h>

#include <cstring>

namespace server {

namespace {

constexpr std::string_view kUse = "token";
constexpr char kVersion = 1;
constexpr std::size_t kMost = 1024;  // bytes of a token
constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";  // RFC 4648 §5

std::string base64url(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() * 4 + 2) / 3);
  std::uint32_t bits = 0;
  int n = 0;
  for (const unsigned char byte : bytes) {
    bits = bits << 8 | byte;
    for (n += 8; n >= 6; n -= 6) text += kDigits[bits >> (n - 6) & 63];
  }
  if (n > 0) text += kDigits[bits << (6 - n) & 63];
  return text;
}

std::optional<std::string> from_base64url(std::string_view text) {
  std::string bytes;
  std::uint32_t bits = 0;
  int n = 0;
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    if (digit == kDigits.npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if ((n += 6) >= 8) bytes += static_cast<char>(bits >> (n -= 8) & 255);
  }
  return bytes;
}

}  // namespace

std::string Tokens::token(const Attribution& attribution) const {
  std::string bytes(1, kVersion);
  bytes.append(reinterpret_cast<const char*>(&attribution.time), sizeof attribution.time);
  for (const std::string* text : {&attribution.release, &attribution.zone, &attribution.arm, &attribution.request}) {
    const std::string_view part = std::string_view(*text).substr(0, 128);
    bytes += static_cast<char>(part.size());
    bytes += part;
  }
  const auto signed_by = secret_.sign(kUse, bytes);
  bytes.append(reinterpret_cast<const char*>(signed_by.data()), signed_by.size());
  return base64url(bytes);
}

std::optional<Attribution> Tokens::read(std::string_view token) const {
  if (token.size() > kMost) return std::nullopt;
  const std::optional<std::string> bytes = from_base64url(token);
  if (!bytes || bytes->size() < 1 + sizeof(std::int64_t) + 4 + 16 || bytes->front() != kVersion) return std::nullopt;
  std::string_view text(*bytes);
  const std::string_view signed_by = text.substr(text.size() - 16);
  text.remove_suffix(16);
  const auto right = secret_.sign(kUse, text);
  if (CRYPTO_memcmp(right.data(), signed_by.data(), right.size()) != 0) return std::nullopt;
  Attribution read;
  std::memcpy(&read.time, text.data() + 1, sizeof read.time);
  text.remove_prefix(1 + sizeof read.time);
  for (std::string* part : {&read.release, &read.zone, &read.arm, &read.request}) {
    const std::size_t size = static_cast<unsigned char>(text[0]);
    *part = text.substr(1, size);
    text.remove_prefix(1 + size);
  }
  return read;
}

}  // namespace server
