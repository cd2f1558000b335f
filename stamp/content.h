// What products are by their attributes: rows of a table that is trained (docs/model.md, "Content rows").
//
//   c_v = Σ attribute_rows[a]    over the rows a of product v, ascending: one for each attribute that it has
//
// Each value of a text has a row, and each bin of a number, whose edges are quantiles of the catalog. What is missing,
// or no product of the catalog had, has none and adds nothing.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "stamp/attributes.h"
#include "stamp/lists.h"

namespace stamp {

class STAMP_API Content {
 public:
  // An attribute: of a text its values, of a number the edges of its bins, never both.
  struct STAMP_API Column {
    std::string name;
    std::int64_t first = 0;           // its first row; the others follow
    std::vector<std::string> values;  // those that a product of the catalog has
    std::vector<float> edges;         // rising; a bin begins at its edge, but the first takes what is below, too

    bool is_number() const { return !edges.empty(); }
    std::int64_t size() const { return static_cast<std::int64_t>(values.size() + edges.size()); }
  };

  // The columns of the attributes `names`, ordered by name, and the rows of all products. A number gets `bins` bins,
  // fewer where quantiles are equal; an attribute that no product has gets no column. Throws std::invalid_argument for
  // an unknown attribute, one that is named twice, and where no product has any of them.
  static Content of(const Attributes& attributes, std::vector<std::string> names, std::int64_t bins);

  const std::vector<Column>& columns() const { return columns_; }
  std::int64_t K() const { return columns_.empty() ? 0 : columns_.back().first + columns_.back().size(); }
  std::int64_t V() const { return rows_.size(); }
  const Lists& rows() const { return rows_; }          // of each product, ascending
  const Lists& products() const { return products_; }  // of each row, ascending

  // The rows of other products, by these columns. Of an attribute that is not there they have none. Throws
  // std::invalid_argument where one is a text that was a number here, or the reverse.
  Lists encode(const Attributes& attributes) const;
  // The same columns with other products. Throws std::invalid_argument for rows outside 0 … K()-1 or not ascending.
  Content with(Lists rows) const;
  // Of each row here the one of `other` that says the same of products, -1 for none: of a value that value, of a bin
  // the one that its edge lies in.
  std::vector<std::int32_t> rows_in(const Content& other) const;

  // [V,D] c_v of products with these rows, from attribute_rows [K,D]: in single precision, the bits that devices get.
  static std::vector<float> sums(const Lists& rows, std::span<const float> attribute_rows, std::int64_t D);

  // Of the columns and the products' rows: other data, another number.
  std::uint64_t fingerprint() const;

  // As tensors `content.<name>.value_bytes` and `.value_offsets` of a text, `content.<name>.edges` F32 of a number, and
  // `content_rows.offsets` and `.values` of the products; under `prefix`. They view this object's memory.
  void save(std::map<std::string, TensorSource>& tensors, const std::string& prefix) const;
  // Throws std::runtime_error where they are not those of V products.
  static Content from(const Safetensors& file, const std::string& prefix, std::int64_t V);

 private:
  Content() = default;
  void add(Column column);
  void set_rows(Lists rows);

  std::vector<Column> columns_;
  std::vector<PackedTexts> packed_;  // values of columns_, so that save has memory to view
  Lists rows_, products_;
};

}  // namespace stamp
