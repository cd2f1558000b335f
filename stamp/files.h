// Files that are whole or absent: written aside, flushed to disk, renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <string>

#include "stamp/error.h"

namespace stamp {

// Calls write(stream) on a temporary file beside `path`, then renames it to `path`. When anything fails (a full
// disk, a throwing writer) the temporary is removed, an older file at `path` survives and std::runtime_error says why.
STAMP_API void write_file(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);

// The same for a directory, parents made where missing: fill(temporary_directory), then an atomic exchange with `path`.
// Replaces only an empty directory or one that holds a file `mark`, so that nobody's other files are lost.
STAMP_API void write_directory(const std::filesystem::path& path, const std::string& mark,
                               const std::function<void(const std::filesystem::path&)>& fill);

// `name` is what messages call a file that cannot be read: its path, unless given.
STAMP_API std::string read_file(const std::filesystem::path& path, const std::string& name = "");

// 64-bit FNV-1a, as 16 hexadecimal digits: finds damage, is no defence against forgery.
STAMP_API std::string checksum(const void* bytes, std::size_t size);
STAMP_API std::string file_checksum(const std::filesystem::path& path, const std::string& name = "");

}  // namespace stamp
