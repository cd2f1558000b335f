#include "stamp/content.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace stamp {

namespace {

constexpr std::string_view kPrefix = "content.", kValues = ".value", kEdges = ".edges";
constexpr const char* kRows = "content_rows";

std::vector<std::string> used_values(const TextAttribute& text) {
  std::vector<bool> used(text.values.size());
  for (std::int32_t code : text.codes)
    if (code != TextAttribute::kMissing) used[code] = true;
  std::vector<std::string> values;
  for (std::size_t i = 0; i < used.size(); ++i)
    if (used[i]) values.push_back(text.values[i]);
  return values;
}

// Where quantiles 0, 1/bins, … of the values that are there lie, each once.
std::vector<float> quantiles(std::vector<float> values, std::int64_t bins) {
  std::erase_if(values, [](float value) { return std::isnan(value); });
  std::sort(values.begin(), values.end());
  std::vector<float> edges;
  const auto size = static_cast<std::int64_t>(values.size());
  for (std::int64_t i = 0; i < bins && size > 0; ++i)
    if (const float edge = values[i * size / bins]; edges.empty() || edge > edges.back()) edges.push_back(edge);
  return edges;
}

std::int64_t bin_of(const std::vector<float>& edges, float value) {
  const auto above = std::upper_bound(edges.begin(), edges.end(), value);
  return std::max<std::int64_t>(0, above - edges.begin() - 1);
}

using Places = std::map<std::string_view, std::int32_t>;

Places places_of(const std::vector<std::string>& values) {
  Places places;
  for (std::size_t i = 0; i < values.size(); ++i) places.emplace(values[i], static_cast<std::int32_t>(i));
  return places;
}

// [V] the row of each product in a column, -1 for none.
std::vector<std::int32_t> rows_of(const Content::Column& column, const TextAttribute& text) {
  const Places places = places_of(column.values);
  std::vector<std::int32_t> row_of_value;
  for (const std::string& value : text.values) {
    const auto found = places.find(value);
    row_of_value.push_back(found == places.end() ? -1 : static_cast<std::int32_t>(column.first) + found->second);
  }
  std::vector<std::int32_t> rows;
  for (std::int32_t code : text.codes) rows.push_back(code == TextAttribute::kMissing ? -1 : row_of_value[code]);
  return rows;
}

std::vector<std::int32_t> rows_of(const Content::Column& column, const NumberAttribute& number) {
  std::vector<std::int32_t> rows;
  for (float value : number.values)
    rows.push_back(std::isnan(value) ? -1 : static_cast<std::int32_t>(column.first + bin_of(column.edges, value)));
  return rows;
}

}  // namespace

Content Content::of(const Attributes& attributes, std::vector<std::string> names, std::int64_t bins) {
  require(bins >= 1, "Content: ", bins, " bins, expected 1 or more");
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) require(false, "Content: attribute '", *twice, "' is named twice");
  Content content;
  for (const std::string& name : names) {
    const std::int32_t text = attributes.find_text(name), number = attributes.find_number(name);
    require(text >= 0 || number >= 0, "Content: no attribute '", name, "', expected some of ", attributes.names());
    Column column{.name = name, .values = {}, .edges = {}};
    if (text >= 0)
      column.values = used_values(attributes.texts()[text]);
    else
      column.edges = quantiles(attributes.numbers()[number].values, bins);
    if (column.size() > 0) content.add(std::move(column));
  }
  require(content.K() > 0, "Content: none of ", attributes.V(), " products has an attribute to train, of ",
          attributes.names());
  content.set_rows(content.encode(attributes));
  return content;
}

void Content::add(Column column) {
  column.first = K();
  require(column.first + column.size() <= std::numeric_limits<std::int32_t>::max(),
          "Content: ", column.first + column.size(), " values of attributes, expected fewer than 2^31");
  packed_.emplace_back(column.values);
  columns_.push_back(std::move(column));
}

void Content::set_rows(Lists rows) {
  for (std::int64_t v = 0; v < rows.size(); ++v) {
    std::int32_t before = -1;
    for (std::int32_t row : rows[v]) {
      require(row > before && row < K(), "Content: the rows of product ", v, " hold ", row, " after ", before,
              ", expected them to ascend from 0 to ", K() - 1);
      before = row;
    }
  }
  products_ = inverted(rows, K());
  rows_ = std::move(rows);
}

Lists Content::encode(const Attributes& attributes) const {
  std::vector<std::vector<std::int32_t>> by_column;
  for (const Column& column : columns_) {
    const std::int32_t text = attributes.find_text(column.name), number = attributes.find_number(column.name);
    require(column.is_number() ? text < 0 : number < 0, "Content: attribute '", column.name, "' is a ",
            text < 0 ? "number" : "text", ", expected a ", column.is_number() ? "number" : "text",
            " as in training; name it among the ", column.is_number() ? "numbers" : "categories");
    if (text >= 0) by_column.push_back(rows_of(column, attributes.texts()[text]));
    if (number >= 0) by_column.push_back(rows_of(column, attributes.numbers()[number]));
  }
  Lists rows;
  for (std::int64_t v = 0; v < attributes.V(); ++v) {
    for (const auto& column : by_column)
      if (column[v] >= 0) rows.values.push_back(column[v]);
    rows.end_list();
  }
  return rows;
}

Content Content::with(Lists rows) const {
  Content content = *this;
  content.set_rows(std::move(rows));
  return content;
}

std::vector<std::int32_t> Content::rows_in(const Content& other) const {
  std::vector<std::int32_t> rows;
  for (const Column& column : columns_) {
    const auto found = std::find_if(other.columns_.begin(), other.columns_.end(), [&](const Column& candidate) {
      return candidate.name == column.name && candidate.is_number() == column.is_number();
    });
    if (found == other.columns_.end()) {
      rows.insert(rows.end(), static_cast<std::size_t>(column.size()), -1);
      continue;
    }
    const auto first = static_cast<std::int32_t>(found->first);
    for (float edge : column.edges) rows.push_back(first + static_cast<std::int32_t>(bin_of(found->edges, edge)));
    const Places places = places_of(found->values);
    for (const std::string& value : column.values) {
      const auto place = places.find(value);
      rows.push_back(place == places.end() ? -1 : first + place->second);
    }
  }
  return rows;
}

std::vector<float> Content::sums(const Lists& rows, std::span<const float> attribute_rows, std::int64_t D) {
  std::vector<float> sums(static_cast<std::size_t>(rows.size() * D), 0.0f);
  for (std::int64_t v = 0; v < rows.size(); ++v)
    for (std::int32_t row : rows[v])
      for (std::int64_t d = 0; d < D; ++d) sums[v * D + d] += attribute_rows[row * D + d];
  return sums;
}

std::uint64_t Content::fingerprint() const {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV
  const auto add = [&](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3; };
  const auto add_text = [&](const std::string& text) {
    add(text.size());
    for (char c : text) add(static_cast<std::uint8_t>(c));
  };
  for (const Column& column : columns_) {
    add_text(column.name);
    for (const std::string& value : column.values) add_text(value);
    for (float edge : column.edges) add(std::bit_cast<std::uint32_t>(edge));
  }
  for (std::int64_t offset : rows_.offsets) add(static_cast<std::uint64_t>(offset));
  for (std::int32_t row : rows_.values) add(static_cast<std::uint64_t>(row));
  return hash;
}

void Content::save(std::map<std::string, TensorSource>& tensors, const std::string& prefix) const {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const std::string name = concat(prefix, kPrefix, columns_[i].name);
    if (columns_[i].is_number())
      tensors.insert_or_assign(concat(name, kEdges),
                               TensorSource({DType::f32, {columns_[i].size()}}, columns_[i].edges.data()));
    else
      packed_[i].save(tensors, concat(name, kValues));
  }
  rows_.save(tensors, prefix + kRows);
}

Content Content::from(const Safetensors& file, const std::string& prefix, std::int64_t V) {
  std::map<std::string, Column> columns;  // by name
  const std::string begin = concat(prefix, kPrefix), bytes = concat(kValues, "_bytes");
  for (const auto& [key, tensor] : file.tensors()) {
    if (!key.starts_with(begin)) continue;
    const auto name_before = [&](std::string_view end) {
      return key.ends_with(end) ? key.substr(begin.size(), key.size() - begin.size() - end.size()) : "";
    };
    if (const std::string name = name_before(kEdges); !name.empty()) {
      const auto edges = file.f32(key, tensor.shape);
      columns[name] = {.name = name, .values = {}, .edges = {edges.begin(), edges.end()}};
    } else if (const std::string text = name_before(bytes); !text.empty()) {
      columns[text] = {.name = text, .values = read_texts(file, concat(begin, text, kValues)), .edges = {}};
    }
  }
  Content content;
  try {
    for (auto& [name, column] : columns) content.add(std::move(column));
    content.set_rows(Lists::from(file, prefix + kRows, V, content.K()));
  } catch (const std::invalid_argument& error) {
    fail(file.name(), ": ", error.what());
  }
  return content;
}

}  // namespace stamp
