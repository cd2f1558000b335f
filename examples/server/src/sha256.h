// SHA-256, of one text or of many pieces.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace server {

class Sha256 {
 public:
  using Bytes = std::array<unsigned char, 32>;

  Sha256();  // throws std::runtime_error where OpenSSL has none
  ~Sha256();

  void add(std::string_view piece);
  Bytes finish();  // once, at the end

 private:
  evp_md_ctx_st* context_;
};

Sha256::Bytes sha256(std::string_view text);
std::string hexadecimal(std::span<const unsigned char> bytes);  // in small digits

}  // namespace server
