#include "stamp/internal/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "stamp/error.h"

namespace stamp {

namespace {

using Text = nlohmann::ordered_json;

// Makes a value of what the parser finds.
class Builder {
 public:
  explicit Builder(int depth) : depth_(depth) {}
  Json take() { return std::move(root_); }

  bool null() { return put(Json()); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(std::int64_t value) { return put(value); }
  bool number_unsigned(std::uint64_t value) { return put(value); }
  bool number_float(double value, const std::string&) { return put(value); }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(Text::binary_t&) { return false; }  // which no text has
  bool start_object(std::size_t) { return open(); }
  bool start_array(std::size_t) { return open(); }
  bool key(std::string& name) {
    open_.back().key = std::move(name);
    return true;
  }
  bool end_array() {
    Json value(std::move(open_.back().elements));
    open_.pop_back();
    return put(std::move(value));
  }
  bool end_object() {
    std::vector<std::string_view> keys;
    for (const auto& [key, value] : open_.back().members) keys.push_back(key);
    std::sort(keys.begin(), keys.end());
    if (const auto twice = std::adjacent_find(keys.begin(), keys.end()); twice != keys.end())
      throw JsonError(concat("key '", *twice, "' stands twice"));
    Json value(std::move(open_.back().members));
    open_.pop_back();
    return put(std::move(value));
  }
  bool parse_error(std::size_t, const std::string&, const Text::exception& error) { throw JsonError(error.what()); }

 private:
  struct Open {  // an array, or an object, which has a key before each value
    Json::Array elements;
    Json::Object members;
    std::optional<std::string> key;
  };

  bool open() {
    if (static_cast<int>(open_.size()) == depth_) throw JsonError(concat("it nests deeper than ", depth_, " levels"));
    open_.emplace_back();
    return true;
  }
  bool put(Json value) {
    if (open_.empty())
      root_ = std::move(value);
    else if (auto& key = open_.back().key)
      open_.back().members.emplace_back(*std::exchange(key, std::nullopt), std::move(value));
    else
      open_.back().elements.push_back(std::move(value));
    return true;
  }

  const int depth_;
  Json root_;
  std::vector<Open> open_;  // the innermost last
};

auto find_in(auto& members, std::string_view key) {
  return std::find_if(members.begin(), members.end(), [&](const auto& member) { return member.first == key; });
}

}  // namespace

Json::Json(std::initializer_list<std::pair<const char*, Json>> members)
    : value_(Object(members.begin(), members.end())) {}

Json Json::parse(std::string_view text, int depth) {
  Builder builder(depth);
  Text::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

std::string Json::dump(int indent) const {
  const auto as_text = [](const auto& self, const Json& json) -> Text {
    return std::visit(
        [&]<class T>(const T& value) {
          if constexpr (std::same_as<T, std::monostate>) {
            return Text();
          } else if constexpr (std::same_as<T, Array>) {
            Text list = Text::array();
            for (const Json& element : value) list.push_back(self(self, element));
            return list;
          } else if constexpr (std::same_as<T, Object>) {
            Text object = Text::object();
            for (const auto& [key, member] : value) object[key] = self(self, member);
            return object;
          } else {
            return Text(value);
          }
        },
        json.value_);
  };
  try {
    return as_text(as_text, *this).dump(indent);
  } catch (const Text::exception& error) {  // a string that is not UTF-8
    throw JsonError(error.what());
  }
}

template <class T>
const T& Json::as(const char* expected) const {
  if (const T* value = std::get_if<T>(&value_)) return *value;
  constexpr const char* kNames[] = {"null",     "a boolean", "a number", "a number",
                                    "a number", "a string",  "a list",   "an object"};
  throw JsonError(concat("a value is ", kNames[value_.index()], ", expected ", expected));
}

bool Json::boolean() const { return as<bool>("a boolean"); }
const std::string& Json::text() const { return as<std::string>("a string"); }
const Json::Array& Json::elements() const { return as<Array>("a list"); }
const Json::Object& Json::members() const { return as<Object>("an object"); }

void Json::refuse_number(const std::string& value) {
  throw JsonError(concat("a number is ", value, ", expected a whole one that fits"));
}

std::int64_t Json::integer() const {
  if (const auto* value = std::get_if<std::uint64_t>(&value_)) return within<std::int64_t>(*value);
  if (const auto* value = std::get_if<double>(&value_)) {
    if (!(*value >= -0x1p63 && *value < 0x1p63 && *value == std::trunc(*value))) refuse_number(dump());
    return static_cast<std::int64_t>(*value);
  }
  return as<std::int64_t>("a number");
}

std::uint64_t Json::natural() const {
  if (const auto* value = std::get_if<std::uint64_t>(&value_)) return *value;
  if (const auto* value = std::get_if<double>(&value_)) {
    if (!(*value >= 0 && *value < 0x1p64 && *value == std::trunc(*value))) refuse_number(dump());
    return static_cast<std::uint64_t>(*value);
  }
  return within<std::uint64_t>(integer());
}

double Json::number() const {
  if (const auto* value = std::get_if<std::uint64_t>(&value_)) return static_cast<double>(*value);
  if (const auto* value = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*value);
  return as<double>("a number");
}

bool operator==(const Json& a, const Json& b) {
  if (a.is_object() && b.is_object())
    return a.size() == b.size() && std::ranges::all_of(a.members(), [&](const auto& member) {
             const Json* same = b.find(member.first);
             return same && *same == member.second;
           });
  if (a.value_.index() == b.value_.index()) return a.value_ == b.value_;
  if (!a.is_number() || !b.is_number()) return false;
  if (!a.is_integer() || !b.is_integer()) return a.number() == b.number();
  const Json& with_sign = a.is_unsigned() ? b : a;
  return with_sign.integer() >= 0 && a.natural() == b.natural();
}

std::size_t Json::size() const { return is_object() ? members().size() : elements().size(); }

void Json::push_back(Json value) {
  elements();
  std::get<Array>(value_).push_back(std::move(value));
}

const Json* Json::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  const auto found = find_in(members(), key);
  return found == members().end() ? nullptr : &found->second;
}

const Json& Json::at(std::string_view key) const {
  members();
  if (const Json* found = find(key)) return *found;
  throw JsonError(concat("key '", key, "' is missing"));
}

Json Json::value(std::string_view key, Json otherwise) const {
  const Json* found = find(key);
  return found ? *found : std::move(otherwise);
}

Json& Json::operator[](std::string_view key) {
  if (holds<std::monostate>()) value_ = Object();
  members();
  auto& members = std::get<Object>(value_);
  const auto found = find_in(members, key);
  return found == members.end() ? members.emplace_back(key, Json()).second : found->second;
}

void Json::erase(std::string_view key) {
  members();
  std::erase_if(std::get<Object>(value_), [&](const auto& member) { return member.first == key; });
}

}  // namespace stamp
