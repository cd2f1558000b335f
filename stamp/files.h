// Files that are whole or absent: written aside, flushed to disk, renamed. Read as pages that processes share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <span>
#include <string>

#include "stamp/error.h"

namespace stamp {

// Calls write(stream) on a temporary file beside `path`, then renames it to `path`; folders are made where missing.
// When anything fails (a full disk, a throwing writer) the temporary is removed, an older file at `path` survives and
// std::runtime_error says why. A symbolic link stays, and what it leads to is written, with the mode of what stood
// there; devices and pipes are refused.
STAMP_API void write_file(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);

// Of a directory, the first thing in it that a writer of such directories did not put there, as messages call it; empty
// where all of it is the writer's.
using Foreign = std::function<std::string(const std::filesystem::path&)>;

// The same for a directory: fill(temporary_directory), then an atomic exchange with `path`. What is exchanged is
// deleted, so only an empty directory is replaced, or one where nothing is foreign, and never the working directory.
STAMP_API void write_directory(const std::filesystem::path& path, const Foreign& foreign,
                               const std::function<void(const std::filesystem::path&)>& fill);

// Throw what these would throw before they have written anything: for calls that work long for what they write.
STAMP_API void check_file(const std::filesystem::path& path);
STAMP_API void check_directory(const std::filesystem::path& path, const Foreign& foreign);

// `name` is what messages call a file that cannot be read: its path, unless given.
STAMP_API std::string read_file(const std::filesystem::path& path, const std::string& name = "");

// The bytes of a file, mapped: processes that map it share its pages, and it may be replaced or deleted meanwhile.
// Whoever writes to the bytes gets pages of its own, the file stays as it is. A file that is written to or cut short in
// place while it is mapped changes or takes away the bytes: don't. std::runtime_error where it is no regular file or
// cannot be read.
class STAMP_API MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path, const std::string& name = "");
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  std::span<std::byte> bytes_;
};

// Finds damage, is no defence against forgery: "fnv64x8:" and 16 hexadecimal digits, as docs/data.md describes. Where
// `like` is the older form, 16 digits alone, it is in that one: 64-bit FNV-1a.
STAMP_API std::string checksum(std::span<const std::byte> bytes, const std::string& like = "");

}  // namespace stamp
