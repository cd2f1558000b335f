// Reads and writes safetensors files (https://github.com/huggingface/safetensors, "Format"):
// u64 little-endian header length N, N bytes of JSON, then the tensors, row-major, without holes. Ours begin at
// multiples of 64 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "stamp/error.h"
#include "stamp/files.h"

namespace stamp {

enum class DType { f32, i32, i64, u8 };

struct STAMP_API TensorType {
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;

  std::int64_t elements() const;
  std::size_t bytes() const;
};

// A tensor whose bytes belong to somebody else.
struct STAMP_API TensorView : TensorType {
  const std::byte* data = nullptr;
};

// A tensor to write. read(first, block) fills the block with the bytes from `first` on; blocks are asked for in order
// and are small, so that what a device holds is never copied whole.
struct STAMP_API TensorSource : TensorType {
  std::function<void(std::size_t first, std::span<std::byte> block)> read;

  TensorSource(TensorType type, std::function<void(std::size_t, std::span<std::byte>)> read)
      : TensorType(std::move(type)), read(std::move(read)) {}
  // Values in host memory, which belong to somebody else.
  TensorSource(TensorType type, const void* values);
};

using Metadata = std::map<std::string, std::string>;

// A file, mapped (files.h) and verified: every malformed header is a std::runtime_error that names the file and the
// tensor.
class STAMP_API Safetensors {
 public:
  // `name` is what messages call the file, where that is not its path.
  explicit Safetensors(const std::filesystem::path& path, const std::string& name = {});
  explicit Safetensors(std::shared_ptr<const MappedFile> file);
  Safetensors(Safetensors&&) = default;
  Safetensors& operator=(Safetensors&&) = default;

  const std::string& name() const { return file_->name(); }
  const Metadata& metadata() const { return metadata_; }
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  bool contains(const std::string& name) const { return tensors_.count(name) != 0; }

  // The values of tensor `name`; throws std::runtime_error when it is absent, or of another type or shape.
  std::span<const float> f32(const std::string& name, std::vector<std::int64_t> shape) const;
  std::span<const std::int32_t> i32(const std::string& name, std::vector<std::int64_t> shape) const;
  std::span<const std::int64_t> i64(const std::string& name) const;
  std::span<const std::uint8_t> u8(const std::string& name) const;

  // The same, to be kept without this object: the pages of the file, which stay mapped as long. To be asked for
  // once by whoever writes there, as all that are given out are the same memory.
  std::shared_ptr<float> mapped_f32(const std::string& name, std::vector<std::int64_t> shape) const;
  std::shared_ptr<std::byte> mapped_u8(const std::string& name, std::vector<std::int64_t> shape) const;

 private:
  const TensorView& typed(const std::string& name, DType dtype) const;
  std::shared_ptr<std::byte> mapped(const std::byte* data) const;
  const TensorView& shaped(const std::string& name, DType dtype, const std::vector<std::int64_t>& shape) const;

  std::shared_ptr<const MappedFile> file_;
  std::string path_;  // for messages
  Metadata metadata_;
  std::map<std::string, TensorView> tensors_;
};

// Written aside and renamed (files.h). Tensors are laid out by falling alignment, then name.
STAMP_API void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorSource>& tensors,
                                 const Metadata& metadata = {});

}  // namespace stamp
