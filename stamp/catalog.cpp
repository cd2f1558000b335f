#include "stamp/catalog.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

namespace stamp {

namespace {

// The finaliser of SplitMix64: every bit of the id reaches every bit of the hash.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

std::uint64_t hash_of(std::int64_t id) { return mix(static_cast<std::uint64_t>(id)); }
std::uint64_t hash_of(std::string_view id) { return mix(std::hash<std::string_view>{}(id)); }

constexpr std::int32_t kEmpty = -1;

}  // namespace

std::string to_string(const Id& id) {
  if (const auto* number = std::get_if<std::int64_t>(&id)) return std::to_string(*number);
  return std::get<std::string>(id);
}

std::int64_t Catalog::size() const {
  return static_cast<std::int64_t>(kind_ == Kind::integers ? integers_.size() : offsets_.size() - 1);
}

std::string_view Catalog::string(std::int32_t row) const {
  return std::string_view(bytes_).substr(offsets_[row], offsets_[row + 1] - offsets_[row]);
}

template <class T>
bool Catalog::holds(std::int32_t row, const T& id) const {
  if constexpr (std::is_same_v<T, std::int64_t>)
    return integers_[row] == id;
  else
    return string(row) == id;
}

// The slot of `id`, or the empty one where it would stand; `slot` is where its hash says. Slots are a power of two, at
// most half of them taken.
template <class T>
std::size_t Catalog::slot_of(std::size_t slot, const T& id) const {
  while (slots_[slot] != kEmpty && !holds(slots_[slot], id)) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

template <class T>
std::size_t Catalog::slot_of(const T& id) const {
  return slot_of(hash_of(id) & (slots_.size() - 1), id);
}

// Asks for the id of a row.
void Catalog::prefetch(std::int32_t row) const {
  if (kind_ == Kind::integers)
    __builtin_prefetch(&integers_[row]);
  else
    __builtin_prefetch(&offsets_[row]);
}

void Catalog::grow() {
  slots_.assign(slots_.empty() ? 16 : slots_.size() * 2, kEmpty);
  for (std::int32_t row = 0; row < size(); ++row)
    slots_[kind_ == Kind::integers ? slot_of(integers_[row]) : slot_of(string(row))] = row;
}

template <class T>
std::int32_t Catalog::add_new(const T& id) {
  if (2 * (size() + 1) > static_cast<std::int64_t>(slots_.size())) grow();
  return add_at(hash_of(id) & (slots_.size() - 1), id);
}

// There are slots for it; `slot` is where its hash says.
template <class T>
std::int32_t Catalog::add_at(std::size_t slot, const T& id) {
  slot = slot_of(slot, id);
  if (slots_[slot] != kEmpty) return slots_[slot];
  require(size() < std::numeric_limits<std::int32_t>::max(), "Catalog: more than 2³¹-1 different ids");
  slots_[slot] = static_cast<std::int32_t>(size());
  if constexpr (std::is_same_v<T, std::int64_t>) {
    integers_.push_back(id);
  } else {
    bytes_.append(id);
    offsets_.push_back(static_cast<std::int64_t>(bytes_.size()));
  }
  return slots_[slot];
}

template <class T>
void Catalog::require_kind(const T& id) const {
  if constexpr (std::is_same_v<T, std::int64_t>)
    require(kind_ == Kind::integers, "Catalog: integer id ", id, " for a catalog of strings");
  else
    require(kind_ == Kind::strings, "Catalog: string id '", id, "' for a catalog of integers");
}

std::int32_t Catalog::add(std::int64_t id) {
  require_kind(id);
  return add_new(id);
}

std::int32_t Catalog::add(std::string_view id) {
  require_kind(id);
  return add_new(id);
}

std::int32_t Catalog::find(std::int64_t id) const {
  require_kind(id);
  return slots_.empty() ? kUnknown : slots_[slot_of(id)];
}

std::int32_t Catalog::find(std::string_view id) const {
  require_kind(id);
  return slots_.empty() ? kUnknown : slots_[slot_of(id)];
}

std::int32_t Catalog::find(const Id& id) const {
  if (const auto* number = std::get_if<std::int64_t>(&id)) return find(*number);
  return find(std::string_view(std::get<std::string>(id)));
}

Id Catalog::id(std::int32_t row) const {
  require(row >= 0 && row < size(), "Catalog: row ", row, ", expected 0 to ", size() - 1);
  if (kind_ == Kind::integers) return integers_[row];
  return std::string(string(row));
}

std::map<std::string, TensorSource> Catalog::tensors() const {
  const auto view = [](DType dtype, auto& values) {
    return TensorSource({dtype, {static_cast<std::int64_t>(values.size())}}, values.data());
  };
  if (kind_ == Kind::integers) return {{"ids", view(DType::i64, integers_)}};
  return {{"id_bytes", view(DType::u8, bytes_)}, {"id_offsets", view(DType::i64, offsets_)}};
}

Catalog Catalog::from(const Safetensors& file) {
  Catalog catalog(file.contains("ids") ? Kind::integers : Kind::strings);
  // As many slots as it takes. Nearly all of them miss the caches, as do the ids that stand there already, so both are
  // asked for a while before their turn.
  const auto add_all = [&](std::size_t ids, auto id_of) {
    constexpr std::size_t kAhead = 16;
    auto& slots = catalog.slots_;
    slots.assign(std::bit_ceil(std::max<std::size_t>(16, 2 * ids)), kEmpty);
    std::array<std::size_t, 2 * kAhead> coming;  // slots, by the id modulo as many
    for (std::size_t i = 0; i < ids + 2 * kAhead; ++i) {
      if (i >= 2 * kAhead) {
        const auto row = static_cast<std::int32_t>(i - 2 * kAhead);
        if (catalog.add_at(coming[i % coming.size()], id_of(row)) != row)
          fail("catalog: id '", id_of(row), "' stands twice");
      }
      if (i >= kAhead && i < ids + kAhead)
        if (const std::int32_t row = slots[coming[(i - kAhead) % coming.size()]]; row != kEmpty) catalog.prefetch(row);
      if (i < ids) {
        coming[i % coming.size()] = hash_of(id_of(i)) & (slots.size() - 1);
        __builtin_prefetch(&slots[coming[i % coming.size()]], 1);
      }
    }
  };
  if (catalog.kind_ == Kind::integers) {
    const auto ids = file.i64("ids");
    catalog.integers_.reserve(ids.size());
    add_all(ids.size(), [&](std::size_t i) { return ids[i]; });
    return catalog;
  }
  const auto bytes = file.u8("id_bytes");
  const auto offsets = file.i64("id_offsets");
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != static_cast<std::int64_t>(bytes.size()))
    fail("catalog: id_offsets do not span the ", bytes.size(), " bytes of id_bytes");
  for (std::size_t i = 1; i < offsets.size(); ++i)
    if (offsets[i] < offsets[i - 1]) fail("catalog: id_offsets fall at ", i);
  catalog.bytes_.reserve(bytes.size());
  catalog.offsets_.reserve(offsets.size());
  add_all(offsets.size() - 1, [&](std::size_t i) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()) + offsets[i], offsets[i + 1] - offsets[i]);
  });
  return catalog;
}

}  // namespace stamp
