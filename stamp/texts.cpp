#include "stamp/texts.h"

namespace stamp {

PackedTexts::PackedTexts(const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    bytes += text;
    offsets.push_back(static_cast<std::int64_t>(bytes.size()));
  }
}

void PackedTexts::save(std::map<std::string, TensorSource>& tensors, const std::string& name) const {
  const auto size = [](const auto& values) { return static_cast<std::int64_t>(values.size()); };
  tensors.insert_or_assign(name + "_bytes", TensorSource({DType::u8, {size(bytes)}}, bytes.data()));
  tensors.insert_or_assign(name + "_offsets", TensorSource({DType::i64, {size(offsets)}}, offsets.data()));
}

std::vector<std::string> read_texts(const Safetensors& file, const std::string& name) {
  const auto bytes = file.u8(name + "_bytes");
  const auto offsets = file.i64(name + "_offsets");
  std::vector<std::string> texts;
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i - 1] < 0 || offsets[i] < offsets[i - 1] || offsets[i] > static_cast<std::int64_t>(bytes.size()))
      fail(file.name(), ": ", name, "_offsets do not lie within the ", bytes.size(), " bytes of texts");
    texts.emplace_back(reinterpret_cast<const char*>(bytes.data()) + offsets[i - 1],
                       static_cast<std::size_t>(offsets[i] - offsets[i - 1]));
  }
  return texts;
}

}  // namespace stamp
