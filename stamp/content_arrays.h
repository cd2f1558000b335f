// Content in a device's memory, as its kernels take it.
#pragma once

#include "stamp/content.h"
#include "stamp/tensor.h"

namespace stamp {

class STAMP_API ContentArrays {
 public:
  ContentArrays(const Content& content, const std::shared_ptr<Device>& device);

  // The sizes and lists; tables and options are the caller's to add.
  ContentRows lists() const;

 private:
  Array<std::int64_t> row_offsets_, product_offsets_;
  Array<std::int32_t> rows_, products_, piece_rows_, first_pieces_, long_row_ids_;
};

}  // namespace stamp
