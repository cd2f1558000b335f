#include "json_writer.h"

#include <simdjson.h>

#include <algorithm>

namespace server {

void append_json(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  std::size_t plain = 0;  // where what needs no escape begins
  for (std::size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = text[i];
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text.substr(plain, i - plain));
    plain = i + 1;
    if (c >= 0x20) {
      out += '\\';
      out += static_cast<char>(c);
    } else {
      out += "\\u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    }
  }
  out.append(text.substr(plain));
  out += '"';
}

std::string valid_utf8(std::string_view text) {
  if (simdjson::validate_utf8(text.data(), text.size())) return std::string(text);
  std::string valid;
  while (!text.empty()) {
    std::size_t n = 1;  // of a whole character
    while (n <= 4 && !simdjson::validate_utf8(text.data(), std::min(n, text.size()))) ++n;
    valid += n <= 4 ? text.substr(0, n) : "\uFFFD";
    text.remove_prefix(n <= 4 ? n : 1);
  }
  return valid;
}

}  // namespace server
