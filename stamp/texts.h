// Texts as files hold them: their bytes laid end to end, and where each begins.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "stamp/safetensors.h"

namespace stamp {

struct STAMP_API PackedTexts {
  std::string bytes;
  std::vector<std::int64_t> offsets{0};  // [N+1]

  PackedTexts() = default;
  explicit PackedTexts(const std::vector<std::string>& texts);

  // As tensors `<name>_bytes` U8 and `<name>_offsets` I64 [N+1], which view this.
  void save(std::map<std::string, TensorSource>& tensors, const std::string& name) const;
};

// The texts of these two tensors; throws std::runtime_error where the offsets do not lie within the bytes.
STAMP_API std::vector<std::string> read_texts(const Safetensors& file, const std::string& name);

}  // namespace stamp
