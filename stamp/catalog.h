// The products: ids as the shop writes them, and the rows of the item table that they own.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "stamp/safetensors.h"

namespace stamp {

// A product or session id: 64-bit integer or UTF-8 string.
using Id = std::variant<std::int64_t, std::string>;
STAMP_API std::string to_string(const Id& id);

// Distinct ids numbered 0, 1, … in the order in which they were first added. All integers or all strings, as the
// constructor says.
class STAMP_API Catalog {
 public:
  static constexpr std::int32_t kUnknown = -1;
  enum class Kind { integers, strings };

  explicit Catalog(Kind kind = Kind::integers) : kind_(kind) {}

  Kind kind() const { return kind_; }
  std::int64_t size() const;

  // Row of an id, added when new. Throws std::invalid_argument on the wrong kind, or beyond 2³¹-1 products.
  std::int32_t add(std::int64_t id);
  std::int32_t add(std::string_view id);

  // Row of an id or kUnknown. Throws std::invalid_argument on the wrong kind.
  std::int32_t find(std::int64_t id) const;
  std::int32_t find(std::string_view id) const;
  std::int32_t find(const Id& id) const;

  Id id(std::int32_t row) const;
  std::span<const std::int64_t> integers() const { return integers_; }  // in row order; empty for strings
  std::string_view string(std::int32_t row) const;
  std::string_view string_bytes() const { return bytes_; }
  std::span<const std::int64_t> string_offsets() const { return offsets_; }  // [V+1]

  // As tensors: `ids` I64 [V], or `id_bytes` U8 and `id_offsets` I64 [V+1].
  std::map<std::string, TensorSource> tensors() const;
  static Catalog from(const Safetensors& file);

 private:
  template <class T>
  bool holds(std::int32_t row, const T& id) const;
  template <class T>
  std::size_t slot_of(std::size_t slot, const T& id) const;
  template <class T>
  std::size_t slot_of(const T& id) const;
  void prefetch(std::int32_t row) const;
  template <class T>
  std::int32_t add_new(const T& id);
  template <class T>
  std::int32_t add_at(std::size_t slot, const T& id);
  template <class T>
  void require_kind(const T& id) const;
  void grow();

  Kind kind_;
  std::vector<std::int64_t> integers_;
  std::string bytes_;
  std::vector<std::int64_t> offsets_{0};
  std::vector<std::int32_t> slots_;  // rows, by open addressing; strings live once, in bytes_
};

}  // namespace stamp
