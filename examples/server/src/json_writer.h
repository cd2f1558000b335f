// JSON out, by appending to a string: an answer is written once, in order.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace server {

// Escapes what JSON must have escaped. The text is UTF-8.
void append_json(std::string& out, std::string_view text);

// With U+FFFD in the place of each byte that is none of UTF-8: for texts that callers sent, and texts cut short.
std::string valid_utf8(std::string_view text);

template <std::integral T>
requires(!std::same_as<T, bool>) void append_json(std::string& out, T value) {
  char digits[24];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

// The shortest digits that read back as the same float; null where JSON has none, as for NaN.
template <std::floating_point T>
void append_json(std::string& out, T value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char digits[32];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

template <std::same_as<bool> T>  // and nothing that converts to it
void append_json(std::string& out, T value) {
  out += value ? "true" : "false";
}

// An object or array that is being written: commas are its own.
class JsonObject {
 public:
  explicit JsonObject(std::string& out) : out_(out) { out_ += '{'; }
  ~JsonObject() { out_ += '}'; }
  JsonObject(const JsonObject&) = delete;

  // Where the value of `key` is to be appended. Keys need no escapes.
  std::string& at(std::string_view key) {
    if (!first_) out_ += ',';
    first_ = false;
    out_ += '"';
    out_ += key;
    out_ += "\":";
    return out_;
  }
  template <class T>
  void add(std::string_view key, const T& value) {
    append_json(at(key), value);
  }

 private:
  std::string& out_;
  bool first_ = true;
};

class JsonArray {
 public:
  explicit JsonArray(std::string& out) : out_(out) { out_ += '['; }
  ~JsonArray() { out_ += ']'; }
  JsonArray(const JsonArray&) = delete;

  std::string& next() {
    if (!first_) out_ += ',';
    first_ = false;
    return out_;
  }
  template <class T>
  void add(const T& value) {
    append_json(next(), value);
  }

 private:
  std::string& out_;
  bool first_ = true;
};

}  // namespace server
