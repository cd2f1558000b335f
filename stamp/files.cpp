#include "stamp/files.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <random>

namespace stamp {

namespace fs = std::filesystem;

namespace {

// Beside `path`, so that a rename stays within one file system; unique among processes and threads.
fs::path temporary_beside(const fs::path& path) {
  static std::atomic<unsigned> count{0};
  fs::path name = path.filename();
  if (name.empty()) name = path.parent_path().filename();
  const fs::path folder = path.filename().empty() ? path.parent_path().parent_path() : path.parent_path();
  static const unsigned process = std::random_device()();  // containers share volumes, and process numbers
  return folder / concat(".", name.string(), ".", process, ".", getpid(), ".", count++, ".tmp");
}

void sync(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail("cannot open ", path.string(), ": ", std::strerror(errno));
  const int failed = fsync(file);
  const int reason = errno;
  close(file);
  if (failed && reason != EINVAL) fail("cannot flush ", path.string(), " to disk: ", std::strerror(reason));
}

fs::path folder_of(const fs::path& path) { return path.parent_path().empty() ? "." : path.parent_path(); }

// Removes what is left when something throws.
struct Remover {
  fs::path path;
  ~Remover() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

}  // namespace

void write_file(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  const Remover temporary{temporary_beside(path)};
  {
    std::ofstream out(temporary.path, std::ios::binary);
    if (!out) fail("cannot write ", path.string(), ": ", std::strerror(errno));
    write(out);
    out.close();
    if (!out)
      fail("cannot write ", path.string(), ": ", std::strerror(errno), " (an older file, if any, is untouched)");
  }
  sync(temporary.path);
  std::error_code error;
  fs::rename(temporary.path, path, error);
  if (error) fail("cannot write ", path.string(), ": ", error.message());
  sync(folder_of(path));
}

void write_directory(const fs::path& path, const std::string& mark, const std::function<void(const fs::path&)>& fill) {
  const fs::path target = path.filename().empty() ? path.parent_path() : path;
  if (fs::exists(target) && !fs::is_directory(target))
    fail("cannot write directory ", target.string(), ": a file stands there");
  if (fs::exists(target) && !fs::is_empty(target) && !fs::exists(target / mark))
    fail("cannot write directory ", target.string(), ": it holds other files and no ", mark,
         "; name an empty directory, or one that is not there yet");
  std::error_code error;
  fs::create_directories(folder_of(target), error);
  if (error) fail("cannot write ", target.string(), ": ", error.message());
  const Remover temporary{temporary_beside(target)};
  fs::create_directory(temporary.path, error);
  if (error) fail("cannot write ", target.string(), ": ", error.message());
  fill(temporary.path);
  sync(temporary.path);
  // An exchange leaves no moment without a directory at `path`; what stood there goes with the temporary. File systems
  // that cannot exchange (NFS, FUSE) get two renames.
  if (fs::exists(target)) {
    if (renameat2(AT_FDCWD, temporary.path.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) != 0) {
      if (errno != EINVAL && errno != ENOSYS) fail("cannot replace ", target.string(), ": ", std::strerror(errno));
      const Remover old{temporary_beside(target)};
      fs::rename(target, old.path, error);
      if (error) fail("cannot replace ", target.string(), ": ", error.message());
      fs::rename(temporary.path, target, error);
      if (error) {
        fs::rename(old.path, target);
        fail("cannot write ", target.string(), ": ", error.message());
      }
    }
  } else {
    fs::rename(temporary.path, target, error);
    if (error) fail("cannot write ", target.string(), ": ", error.message());
  }
  sync(folder_of(target));
}

namespace {

// What messages call a file.
std::string called(const fs::path& path, const std::string& name) { return name.empty() ? path.string() : name; }

std::ifstream open_to_read(const fs::path& path, const std::string& name) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) fail("cannot read ", called(path, name), ": it is a directory");
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("cannot read ", called(path, name), ": ", std::strerror(errno));
  return in;
}

}  // namespace

std::string read_file(const fs::path& path, const std::string& name) {
  std::ifstream in = open_to_read(path, name);
  std::ostringstream text;
  text << in.rdbuf();
  if (text.bad()) fail("cannot read ", called(path, name), ": ", std::strerror(errno));
  return text.str();
}

namespace {

constexpr std::uint64_t kFnvStart = 0xcbf29ce484222325, kFnvPrime = 0x100000001b3;

std::uint64_t fnv(std::uint64_t hash, const void* bytes, std::size_t size) {
  const auto* first = static_cast<const unsigned char*>(bytes);
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ first[i]) * kFnvPrime;
  return hash;
}

std::string hexadecimal(std::uint64_t hash) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

}  // namespace

std::string checksum(const void* bytes, std::size_t size) { return hexadecimal(fnv(kFnvStart, bytes, size)); }

std::string file_checksum(const fs::path& path, const std::string& name) {
  std::ifstream in = open_to_read(path, name);
  std::string block(1 << 20, '\0');
  std::uint64_t hash = kFnvStart;
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0)
    hash = fnv(hash, block.data(), static_cast<std::size_t>(in.gcount()));
  if (in.bad()) fail("cannot read ", called(path, name), ": ", std::strerror(errno));
  return hexadecimal(hash);
}

}  // namespace stamp
