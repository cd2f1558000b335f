#include "stamp/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <ostream>

#include "stamp/internal/json.h"

namespace stamp {

namespace {

constexpr std::uint64_t kHeaderLimit = 100'000'000;  // of the format

struct Type {
  const char* name;
  DType dtype;
  std::size_t size;
};
constexpr Type kTypes[] = {
    {"F32", DType::f32, 4}, {"I32", DType::i32, 4}, {"I64", DType::i64, 8}, {"U8", DType::u8, 1}};

const Type& type_of(DType dtype) {
  return *std::find_if(std::begin(kTypes), std::end(kTypes), [&](const Type& type) { return type.dtype == dtype; });
}

std::string text_of(const std::vector<std::int64_t>& shape) { return Json(shape).dump(); }

Json parse_header(const std::string& path, std::string_view text) {
  try {
    Json header = Json::parse(text);
    if (!header.is_object()) fail(path, ": the header is not a JSON object");
    return header;
  } catch (const JsonError& error) {
    fail(path, ": the header is not JSON: ", error.what());
  }
}

std::uint64_t natural(const std::string& path, const std::string& name, const Json& value) {
  if (!value.is_unsigned()) fail(path, ": tensor '", name, "' has ", value.dump(), " where a size belongs");
  return value.get<std::uint64_t>();
}

}  // namespace

std::int64_t TensorType::elements() const {
  std::int64_t n = 1;
  for (auto extent : shape) n *= extent;
  return n;
}

std::size_t TensorType::bytes() const { return static_cast<std::size_t>(elements()) * type_of(dtype).size; }

TensorSource::TensorSource(TensorType type, const void* values)
    : TensorSource(std::move(type), [values](std::size_t first, std::span<std::byte> block) {
        std::memcpy(block.data(), static_cast<const std::byte*>(values) + first, block.size());
      }) {}

Safetensors::Safetensors(const std::filesystem::path& path, const std::string& name)
    : Safetensors(std::make_shared<const MappedFile>(path, name)) {}

Safetensors::Safetensors(std::shared_ptr<const MappedFile> file) : file_(std::move(file)), path_(file_->name()) {
  const std::span<const std::byte> bytes = file_->bytes();
  const std::uint64_t size = bytes.size();
  if (size < 8) fail(path_, ": ", size, " bytes are too few for a safetensors file");

  std::uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i) header_size = header_size << 8 | static_cast<std::uint64_t>(bytes[i]);
  if (header_size > std::min(kHeaderLimit, size - 8))
    fail(path_, ": the header claims ", header_size, " bytes, the file has ", size, " and the format allows ",
         kHeaderLimit);
  const char* first = reinterpret_cast<const char*>(bytes.data()) + 8;
  if (header_size == 0 || *first != '{') fail(path_, ": the header does not begin with '{'");
  const Json header = parse_header(path_, {first, header_size});
  const std::byte* data = bytes.data() + 8 + header_size;
  const std::uint64_t data_size = size - 8 - header_size;

  std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
  for (const auto& [name, entry] : header.members()) {
    if (!entry.is_object()) fail(path_, ": tensor '", name, "' is not described by an object");
    if (name == "__metadata__") {
      for (const auto& [key, value] : entry.members()) {
        if (!value.is_string()) fail(path_, ": metadata '", key, "' is not a string");
        metadata_[key] = value.text();
      }
      continue;
    }
    for (const char* key : {"dtype", "shape", "data_offsets"})
      if (!entry.find(key)) fail(path_, ": tensor '", name, "' has no ", key);
    const auto type =
        std::find_if(std::begin(kTypes), std::end(kTypes), [&](const Type& t) { return entry.at("dtype") == t.name; });
    if (type == std::end(kTypes))
      fail(path_, ": tensor '", name, "' has dtype ", entry.at("dtype").dump(), ", expected F32, I32, I64 or U8");
    const Json &shape = entry.at("shape"), &offsets = entry.at("data_offsets");
    if (!shape.is_array() || !offsets.is_array() || offsets.size() != 2)
      fail(path_, ": tensor '", name, "' needs a list as its shape and two data_offsets");

    TensorView tensor{{type->dtype, {}}, nullptr};
    std::uint64_t expected = type->size;
    for (const Json& extent : shape.elements()) {
      const std::uint64_t n = natural(path_, name, extent);
      if (n > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) ||
          __builtin_mul_overflow(expected, n, &expected))
        fail(path_, ": tensor '", name, "' has shape ", shape.dump(), ", more than any file holds");
      tensor.shape.push_back(static_cast<std::int64_t>(n));
    }
    const std::uint64_t begin = natural(path_, name, offsets[0]), end = natural(path_, name, offsets[1]);
    if (begin > end || end > data_size)
      fail(path_, ": tensor '", name, "' lies at ", offsets.dump(), ", the file has ", data_size, " bytes of data");
    if (end - begin != expected)
      fail(path_, ": tensor '", name, "' of shape ", shape.dump(), " needs ", expected, " bytes, it has ", end - begin);
    tensor.data = data + begin;
    tensors_[name] = std::move(tensor);
    places.emplace_back(begin, end);
  }

  std::sort(places.begin(), places.end());
  std::uint64_t reached = 0;
  for (const auto& [begin, end] : places) {
    if (begin != reached)
      fail(path_, ": tensors ", begin < reached ? "overlap" : "leave a hole", " at byte ", begin, " of the data");
    reached = end;
  }
  if (reached != data_size) fail(path_, ": ", data_size - reached, " bytes follow the last tensor");
}

const TensorView& Safetensors::typed(const std::string& name, DType dtype) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail(path_, ": tensor '", name, "' is missing");
  if (found->second.dtype != dtype)
    fail(path_, ": tensor '", name, "' is ", type_of(found->second.dtype).name, ", expected ", type_of(dtype).name);
  if (reinterpret_cast<std::uintptr_t>(found->second.data) % type_of(dtype).size != 0)
    fail(path_, ": tensor '", name, "' is not aligned to its type");
  return found->second;
}

const TensorView& Safetensors::shaped(const std::string& name, DType dtype,
                                      const std::vector<std::int64_t>& shape) const {
  const TensorView& tensor = typed(name, dtype);
  if (tensor.shape != shape)
    fail(path_, ": tensor '", name, "' has shape ", text_of(tensor.shape), ", expected ", text_of(shape));
  return tensor;
}

std::span<const float> Safetensors::f32(const std::string& name, std::vector<std::int64_t> shape) const {
  const TensorView& tensor = shaped(name, DType::f32, shape);
  return {reinterpret_cast<const float*>(tensor.data), static_cast<std::size_t>(tensor.elements())};
}

std::span<const std::int32_t> Safetensors::i32(const std::string& name, std::vector<std::int64_t> shape) const {
  const TensorView& tensor = shaped(name, DType::i32, shape);
  return {reinterpret_cast<const std::int32_t*>(tensor.data), static_cast<std::size_t>(tensor.elements())};
}

std::span<const std::int64_t> Safetensors::i64(const std::string& name) const {
  const TensorView& tensor = typed(name, DType::i64);
  return {reinterpret_cast<const std::int64_t*>(tensor.data), static_cast<std::size_t>(tensor.elements())};
}

std::span<const std::uint8_t> Safetensors::u8(const std::string& name) const {
  const TensorView& tensor = typed(name, DType::u8);
  return {reinterpret_cast<const std::uint8_t*>(tensor.data), static_cast<std::size_t>(tensor.elements())};
}

std::shared_ptr<std::byte> Safetensors::mapped(const std::byte* data) const {
  return {file_, file_->bytes().data() + (data - file_->bytes().data())};
}

std::shared_ptr<float> Safetensors::mapped_f32(const std::string& name, std::vector<std::int64_t> shape) const {
  const auto memory = mapped(shaped(name, DType::f32, shape).data);
  return {memory, reinterpret_cast<float*>(memory.get())};
}

std::shared_ptr<std::byte> Safetensors::mapped_u8(const std::string& name, std::vector<std::int64_t> shape) const {
  return mapped(shaped(name, DType::u8, shape).data);
}

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorSource>& tensors,
                       const Metadata& metadata) {
  std::vector<const std::pair<const std::string, TensorSource>*> order;
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return type_of(a->second.dtype).size > type_of(b->second.dtype).size;
  });

  Json header = Json::object();
  for (const auto& [key, value] : metadata) header["__metadata__"][key] = value;
  std::size_t offset = 0;
  for (const auto* entry : order) {
    const auto& [name, tensor] = *entry;
    header[name] = Json{{"dtype", type_of(tensor.dtype).name},
                        {"shape", tensor.shape},
                        {"data_offsets", std::vector{offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  std::string text = header.dump();
  text.resize((8 + text.size() + 63) / 64 * 64 - 8, ' ');  // so that tensors are aligned where they are mapped

  write_file(path, [&](std::ostream& out) {
    char length[8];
    for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
    out.write(length, sizeof length);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    std::vector<std::byte> block(1 << 20);
    for (const auto* entry : order) {
      const std::size_t bytes = entry->second.bytes();
      for (std::size_t first = 0; first < bytes && out; first += block.size()) {
        const auto part = std::span(block).first(std::min(block.size(), bytes - first));
        entry->second.read(first, part);
        out.write(reinterpret_cast<const char*>(part.data()), static_cast<std::streamsize>(part.size()));
      }
    }
  });
}

}  // namespace stamp
