#include "json_reader.h"

#include "json_writer.h"

namespace server {

namespace {

constexpr std::size_t kDepth = 32;

std::string name_of(simdjson::dom::element value) {
  switch (value.type()) {
    case simdjson::dom::element_type::ARRAY:
      return "is an array";
    case simdjson::dom::element_type::OBJECT:
      return "is an object";
    case simdjson::dom::element_type::NULL_VALUE:
      return "is null";
    default:
      break;
  }
  std::string text = simdjson::minify(value);
  if (text.size() > 64) text = text.substr(0, 60) + "…";
  switch (value.type()) {
    case simdjson::dom::element_type::STRING:
      return text + " is a string";
    case simdjson::dom::element_type::BOOL:
      return text + " is a boolean";
    default:
      return text + " is a number";
  }
}

}  // namespace

std::string JsonPath::text() const {
  if (!parent_) return "";
  const std::string before = parent_->text();
  if (is_index_) return before + '[' + std::to_string(index_) + ']';
  return before.empty() ? std::string(key_) : before + '.' + std::string(key_);
}

void Json::wrong(const std::string& what) const {
  const std::string way = path_.text();
  throw Error(400, (way.empty() ? "body" : way) + ": " + what);
}

void Json::expected(const std::string& what) const { wrong(name_of(value_) + "; " + what + " is expected"); }

std::string_view Json::text() const {
  std::string_view text;
  if (value_.get(text)) expected("a string");
  return text;
}

std::string_view Json::text(std::size_t least, std::size_t most) const {
  const std::string_view value = text();
  if (value.size() < least || value.size() > most)
    wrong("of " + std::to_string(value.size()) + " bytes; " + std::to_string(least) + " to " + std::to_string(most) +
          " are expected");
  if (value.find('\0') != value.npos) wrong("has a zero byte, which cannot be stored");
  return value;
}

std::int64_t Json::integer(std::int64_t least, std::int64_t most) const {
  std::int64_t value;
  if (value_.get(value) || value < least || value > most)
    expected("an integer from " + std::to_string(least) + " to " + std::to_string(most));
  return value;
}

double Json::number(double least, double most) const {
  double value;
  if (value_.get(value) || !(value >= least && value <= most)) {
    std::string right = "a number from ";
    append_json(right, least);
    append_json(right += " to ", most);
    expected(right);
  }
  return value;
}

bool Json::boolean() const {
  bool value;
  if (value_.get(value)) expected("true or false");
  return value;
}

std::string Json::raw_array() const {
  if (!is_array()) expected("an array");
  return simdjson::minify(value_);
}

void parse_json(std::string_view text, simdjson::dom::element& document) {
  if (text.empty()) throw Error(400, "body: is empty; a JSON object is expected");
  thread_local simdjson::dom::parser parser;
  // Room for the largest document so far is kept; a document of another depth than the parser's is not read at all.
  if (parser.capacity() < text.size() || parser.max_depth() != kDepth)
    if (parser.allocate(std::max<std::size_t>(text.size(), 64 * 1024), kDepth)) throw std::bad_alloc();
  const simdjson::error_code error = parser.parse(text.data(), text.size()).get(document);
  if (error == simdjson::DEPTH_ERROR) throw Error(400, "body: is nested more than " + std::to_string(kDepth) + " deep");
  if (error) throw Error(400, std::string("body: is no JSON: ") + simdjson::error_message(error));
}

}  // namespace server
