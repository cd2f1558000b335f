// JSON in: values that know their way in the document, so that what is wrong with one says where.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "error.h"

namespace server {

// The way to a value: keys and indices, kept on the stack of whoever reads, and text only where something is wrong.
class JsonPath {
 public:
  JsonPath() = default;
  JsonPath(const JsonPath& parent, std::string_view key) : parent_(&parent), key_(key) {}
  JsonPath(const JsonPath& parent, std::size_t index) : parent_(&parent), index_(index), is_index_(true) {}

  std::string text() const;  // "requests[2].userEvent"; empty for the document

 private:
  const JsonPath* parent_ = nullptr;
  std::string_view key_;
  std::size_t index_ = 0;
  bool is_index_ = false;
};

// A value and its way. Every call that cannot be answered throws Error 400, as "k: \"ten\" is a string; an integer from
// 1 to 100 is expected".
class Json {
 public:
  Json(simdjson::dom::element value, const JsonPath& path) : value_(value), path_(path) {}

  std::string_view text() const;
  std::string_view text(std::size_t least, std::size_t most) const;  // bytes
  std::int64_t integer(std::int64_t least, std::int64_t most) const;
  double number(double least, double most) const;
  bool boolean() const;
  std::string raw_array() const;  // as JSON, without spaces
  bool is_array() const { return value_.is_array(); }
  bool is_text() const { return value_.is_string(); }
  bool is_integer() const { return value_.is_int64(); }

  // use(key, value) for each; false where the key is none that is known.
  template <class Use>
  void each_key(Use&& use) const {
    simdjson::dom::object object;
    if (value_.get(object)) expected("an object");
    for (const auto& field : object) {
      const JsonPath path(path_, field.key);
      if (!use(field.key, Json(field.value, path))) throw Error(400, path.text() + ": there is no such key");
    }
  }
  template <class Use>
  void each_item(std::size_t most, Use&& use) const {
    simdjson::dom::array array;
    if (value_.get(array)) expected("an array");
    std::size_t i = 0;
    for (simdjson::dom::element item : array) {
      if (i == most) wrong("more than " + std::to_string(most) + " values");
      const JsonPath path(path_, i++);
      use(Json(item, path));
    }
  }

  [[noreturn]] void wrong(const std::string& what) const;  // "<path>: <what>"

 private:
  [[noreturn]] void expected(const std::string& what) const;

  simdjson::dom::element value_;
  const JsonPath& path_;
};

// read(Json) of a document. Of a thread's own parser: what it reads must not be kept. Throws Error 400 for what is no
// JSON, no UTF-8, or nested more than 32 deep.
template <class Read>
void read_json(std::string_view text, Read&& read) {
  void parse_json(std::string_view text, simdjson::dom::element & document);
  simdjson::dom::element document;
  parse_json(text, document);
  const JsonPath root;
  read(Json(document, root));
}

}  // namespace server
