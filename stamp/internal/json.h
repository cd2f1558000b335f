// JSON values, for the sources of the library. Their text is read and written by nlohmann's library, whose header takes
// longer to compile than most of these sources: json.cpp alone includes it.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace stamp {

// A text that is not JSON, or a value that is not what was asked for.
struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  // in the order in which keys came

  Json() = default;  // null
  Json(bool value) : value_(value) {}
  Json(double value) : value_(value) {}
  template <std::signed_integral T>
  Json(T value) : value_(std::int64_t{value}) {}
  template <std::unsigned_integral T>
  Json(T value) : value_(std::uint64_t{value}) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}
  template <class T>
  Json(const std::vector<T>& values) : value_(Array(values.begin(), values.end())) {}
  Json(std::initializer_list<std::pair<const char*, Json>> members);
  static Json array() { return Array(); }
  static Json object() { return Object(); }

  // Throws JsonError, also for a key that stands twice in an object and for values that nest deeper than `depth`.
  static Json parse(std::string_view text, int depth = 100);
  std::string dump(int indent = -1) const;  // on one line where no indent is given

  bool is_boolean() const { return holds<bool>(); }
  bool is_string() const { return holds<std::string>(); }
  bool is_array() const { return holds<Array>(); }
  bool is_object() const { return holds<Object>(); }
  bool is_unsigned() const { return holds<std::uint64_t>(); }  // which text without a sign is
  bool is_integer() const { return is_unsigned() || holds<std::int64_t>(); }
  bool is_number() const { return is_integer() || holds<double>(); }
  friend bool operator==(const Json& a, const Json& b);  // numbers by value, keys in any order

  // Throw JsonError where the value is of another kind, or is asked for as an integer that it is not: of a fraction, or
  // beyond the bounds of the type.
  template <class T>
  T get() const;
  const std::string& text() const;
  const Array& elements() const;
  const Object& members() const;

  std::size_t size() const;  // of an array or an object
  const Json& operator[](std::size_t i) const { return elements().at(i); }
  void push_back(Json value);

  const Json* find(std::string_view key) const;  // null where it is missing, or this is no object
  const Json& at(std::string_view key) const;    // throws JsonError where it is missing
  Json value(std::string_view key, Json otherwise) const;
  Json& operator[](std::string_view key);  // makes the member, and of null an object
  void erase(std::string_view key);

 private:
  template <class T>
  bool holds() const {
    return std::holds_alternative<T>(value_);
  }
  template <class T>
  const T& as(const char* expected) const;
  bool boolean() const;
  std::int64_t integer() const;
  std::uint64_t natural() const;
  double number() const;
  template <std::integral T>
  static T within(std::integral auto value) {
    if (!std::in_range<T>(value)) refuse_number(std::to_string(value));
    return static_cast<T>(value);
  }
  [[noreturn]] static void refuse_number(const std::string& value);

  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> value_;
};

template <class T>
T Json::get() const {
  if constexpr (std::same_as<T, bool>)
    return boolean();
  else if constexpr (std::unsigned_integral<T>)
    return within<T>(natural());
  else if constexpr (std::integral<T>)
    return within<T>(integer());
  else if constexpr (std::floating_point<T>)
    return static_cast<T>(number());
  else
    return text();
}

}  // namespace stamp
