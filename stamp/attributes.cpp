#include "stamp/attributes.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace stamp {

namespace {

template <class Column>
std::int32_t find_name(const std::vector<Column>& columns, const std::string& name) {
  for (std::size_t i = 0; i < columns.size(); ++i)
    if (columns[i].name == name) return static_cast<std::int32_t>(i);
  return -1;
}

constexpr std::string_view kPrefix = "attribute.", kCodes = ".codes", kNumbers = ".numbers";

}  // namespace

std::int32_t TextAttribute::find(const std::string& value) const {
  const auto found = std::find(values.begin(), values.end(), value);
  return found == values.end() ? kMissing : static_cast<std::int32_t>(found - values.begin());
}

void Attributes::add(TextAttribute attribute) {
  const std::string& name = attribute.name;
  require(!name.empty(), "Attributes: an attribute has no name");
  require(find_text(name) < 0 && find_number(name) < 0, "Attributes: '", name, "' stands twice");
  require(static_cast<std::int64_t>(attribute.codes.size()) == V_, "Attributes: '", name, "' has ",
          attribute.codes.size(), " values, expected one for each of ", V_, " products");
  const auto size = static_cast<std::int64_t>(attribute.values.size());
  for (std::int32_t code : attribute.codes)
    require(code >= TextAttribute::kMissing && code < size, "Attributes: '", name, "' holds code ", code, " of ", size,
            " values");
  const std::set<std::string_view> distinct(attribute.values.begin(), attribute.values.end());
  require(distinct.size() == attribute.values.size(), "Attributes: '", name, "' lists a value twice");
  packed_.emplace_back(attribute.values);
  texts_.push_back(std::move(attribute));
}

void Attributes::add(NumberAttribute attribute) {
  const std::string& name = attribute.name;
  require(!name.empty(), "Attributes: an attribute has no name");
  require(find_text(name) < 0 && find_number(name) < 0, "Attributes: '", name, "' stands twice");
  require(static_cast<std::int64_t>(attribute.values.size()) == V_, "Attributes: '", name, "' has ",
          attribute.values.size(), " values, expected one for each of ", V_, " products");
  numbers_.push_back(std::move(attribute));
}

std::int32_t Attributes::find_text(const std::string& name) const { return find_name(texts_, name); }
std::int32_t Attributes::find_number(const std::string& name) const { return find_name(numbers_, name); }

std::string Attributes::names() const {
  std::set<std::string> sorted;
  for (const auto& text : texts_) sorted.insert(text.name);
  for (const auto& number : numbers_) sorted.insert(number.name);
  std::string names;
  for (const std::string& name : sorted) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "none" : names;
}

std::map<std::string, TensorSource> Attributes::tensors() const {
  std::map<std::string, TensorSource> tensors;
  const auto add = [&](const std::string& name, DType dtype, const auto& values) {
    tensors.insert_or_assign(name, TensorSource({dtype, {static_cast<std::int64_t>(values.size())}}, values.data()));
  };
  for (std::size_t i = 0; i < texts_.size(); ++i) {
    const std::string prefix = concat(kPrefix, texts_[i].name);
    add(concat(prefix, kCodes), DType::i32, texts_[i].codes);
    packed_[i].save(tensors, prefix + ".value");
  }
  for (const auto& number : numbers_) add(concat(kPrefix, number.name, kNumbers), DType::f32, number.values);
  return tensors;
}

Attributes Attributes::from(const Safetensors& file, std::int64_t V) {
  Attributes attributes(V);
  for (const auto& [key, tensor] : file.tensors()) {
    if (!key.starts_with(kPrefix)) continue;
    if (key.ends_with(kNumbers)) {
      const std::string name = key.substr(kPrefix.size(), key.size() - kPrefix.size() - kNumbers.size());
      const auto values = file.f32(key, {V});
      attributes.add(NumberAttribute{.name = name, .values = {values.begin(), values.end()}});
    } else if (key.ends_with(kCodes)) {
      const std::string prefix = key.substr(0, key.size() - kCodes.size());
      const auto codes = file.i32(key, {V});
      attributes.add(TextAttribute{.name = prefix.substr(kPrefix.size()),
                                   .values = read_texts(file, prefix + ".value"),
                                   .codes = {codes.begin(), codes.end()}});
    }
  }
  return attributes;
}

}  // namespace stamp
