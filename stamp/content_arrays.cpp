#include "stamp/content_arrays.h"

#include <limits>

namespace stamp {

namespace {

template <class T>
Array<T> uploaded(const std::shared_ptr<Device>& device, std::span<const T> values) {
  Array<T> array(device, 0);
  array.upload(values);
  return array;
}

}  // namespace

ContentArrays::ContentArrays(const Content& content, const std::shared_ptr<Device>& device)
    : row_offsets_(uploaded<std::int64_t>(device, content.rows().offsets)),
      product_offsets_(uploaded<std::int64_t>(device, content.products().offsets)),
      rows_(uploaded<std::int32_t>(device, content.rows().values)),
      products_(uploaded<std::int32_t>(device, content.products().values)) {
  constexpr std::int64_t kPiece = ContentRows::kPiece;
  std::vector<std::int32_t> piece_rows, first_pieces{0}, long_row_ids;
  for (std::int64_t row = 0; row < content.K(); ++row) {
    const auto products = static_cast<std::int64_t>(content.products()[row].size());
    const std::int64_t pieces = std::max<std::int64_t>(1, (products + kPiece - 1) / kPiece);
    piece_rows.insert(piece_rows.end(), static_cast<std::size_t>(pieces), static_cast<std::int32_t>(row));
    first_pieces.push_back(static_cast<std::int32_t>(piece_rows.size()));
    if (pieces > 1) long_row_ids.push_back(static_cast<std::int32_t>(row));
  }
  piece_rows_ = uploaded<std::int32_t>(device, piece_rows);
  first_pieces_ = uploaded<std::int32_t>(device, first_pieces);
  long_row_ids_ = uploaded<std::int32_t>(device, long_row_ids);
}

ContentRows ContentArrays::lists() const {
  return {.V = row_offsets_.size() - 1,
          .K = product_offsets_.size() - 1,
          .D = 0,
          .row_offsets = row_offsets_.data(),
          .rows = rows_.data(),
          .product_offsets = product_offsets_.data(),
          .products = products_.data(),
          .pieces = piece_rows_.size(),
          .piece_rows = piece_rows_.data(),
          .first_pieces = first_pieces_.data(),
          .long_rows = long_row_ids_.size(),
          .long_row_ids = long_row_ids_.data(),
          .items = nullptr,
          .attribute_rows = nullptr,
          .differences = nullptr,
          .bound = 0,
          .dropout = 0,
          .seed = 0};
}

}  // namespace stamp
