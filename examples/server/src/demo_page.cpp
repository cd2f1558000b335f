#include "demo_page.h"

#include <openssl/evp.h>

#include <array>
#include <string>

#include "sha256.h"

namespace server {

extern const char* const kDemoPage;  // demo.html, by CMake

namespace {

// A source of the policy: what stands in the page's element, by its hash.
std::string source_of(std::string_view page, const std::string& element) {
  const std::string begins = '<' + element + '>', ends = "</" + element + '>';
  const std::size_t begin = page.find(begins) + begins.size();
  const Sha256::Bytes hash = sha256(page.substr(begin, page.find(ends, begin) - begin));
  std::array<unsigned char, 4 * ((sizeof hash + 2) / 3) + 1> base64;
  const int n = EVP_EncodeBlock(base64.data(), hash.data(), static_cast<int>(hash.size()));
  return "'sha256-" + std::string(reinterpret_cast<const char*>(base64.data()), n) + '\'';
}

std::string policy_of(std::string_view page) {
  return "default-src 'none'; script-src " + source_of(page, "script") + "; style-src " + source_of(page, "style") +
         "; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
         "require-trusted-types-for 'script'; trusted-types 'none'";
}

}  // namespace

HttpResponse demo_page() {
  static const std::string policy = policy_of(kDemoPage);
  return {.body = kDemoPage,
          .content_type = "text/html; charset=utf-8",
          .headers = {{"Content-Security-Policy", policy},
                      {"X-Content-Type-Options", "nosniff"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cache-Control", "no-cache"}}};
}

}  // namespace server
