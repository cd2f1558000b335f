#include "stamp/files.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <random>
#include <utility>

namespace stamp {

namespace fs = std::filesystem;

namespace {

fs::path folder_of(const fs::path& path) { return path.parent_path().empty() ? "." : path.parent_path(); }

// Beside `path`, so that a rename stays within one file system; unique among processes and threads.
fs::path temporary_beside(const fs::path& path) {
  static std::atomic<unsigned> count{0};
  static const unsigned process = std::random_device()();  // containers share volumes, and process numbers
  return folder_of(path) / concat(".", path.filename().string(), ".", process, ".", getpid(), ".", count++, ".tmp");
}

void sync(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail("cannot open ", path.string(), ": ", std::strerror(errno));
  const int failed = fsync(file);
  const int reason = errno;
  close(file);
  if (failed && reason != EINVAL) fail("cannot flush ", path.string(), " to disk: ", std::strerror(reason));
}

// Removes what is left when something throws; nothing where its path is empty.
struct Remover {
  fs::path path;
  ~Remover() {
    std::error_code ignored;
    if (path.empty()) return;
    // Or a directory that its owner may not write keeps its files.
    fs::permissions(path, fs::perms::owner_all, fs::perm_options::add | fs::perm_options::nofollow, ignored);
    fs::remove_all(path, ignored);
  }
};

// What stands at `path`, or would: symbolic links are followed, also to where nothing is yet.
fs::path followed(fs::path path) {
  if (path.empty()) fail("cannot write: the path is empty");
  std::error_code error;
  const bool there = fs::exists(path, error);
  if (error) fail("cannot write ", path.string(), ": ", error.message());  // links that go in a circle, say
  if (there) return fs::canonical(path);
  for (;;) {
    if (path.filename().empty()) path = path.parent_path();
    if (!fs::is_symlink(path)) return fs::weakly_canonical(path);  // so that none is made for `missing/..`
    path = folder_of(path) / fs::read_symlink(path);
  }
}

// A container's volume, say: it can be written to, but nothing takes its place.
void refuse_mount_point(const fs::path& target, const char* instead) {
  struct statx found;
  if (statx(AT_FDCWD, target.c_str(), 0, 0, &found) == 0 && found.stx_attributes & STATX_ATTR_MOUNT_ROOT)
    fail("cannot replace ", target.string(), ": it is a mount point; ", instead);
}

// Who works there would be left in a deleted directory.
void refuse_working_directory(const fs::path& target) {
  std::error_code none;
  for (fs::path above = fs::current_path(none); !none; above = above.parent_path()) {
    if (fs::equivalent(target, above, none))
      fail("cannot replace ", target.string(), ": it is the working directory, or holds it; name another one");
    if (!above.has_relative_path()) return;
  }
}

fs::path file_target(const fs::path& path) {
  fs::path target = followed(path);
  const fs::file_status found = fs::status(target);
  if (fs::is_directory(found)) fail("cannot write ", path.string(), ": it is a directory");
  if (fs::exists(found) && !fs::is_regular_file(found)) fail("cannot write ", path.string(), ": it is no regular file");
  refuse_mount_point(target, "name another file, or mount the folder that holds it");
  return target;
}

// `called` is the directory's path for messages.
void refuse_foreign(const fs::path& directory, const fs::path& called, const Foreign& foreign) {
  if (fs::is_empty(directory)) return;
  if (const std::string other = foreign(directory); !other.empty())
    fail("cannot replace ", called.string(), ": it holds ", other,
         "; name an empty directory, or one that is not there yet");
}

fs::path directory_target(const fs::path& path, const Foreign& foreign) {
  fs::path target = followed(path);
  if (!fs::exists(target)) return target;
  if (!fs::is_directory(target)) fail("cannot write directory ", target.string(), ": a file stands there");
  refuse_mount_point(target, "name something within it");
  refuse_working_directory(target);
  refuse_foreign(target, target, foreign);
  return target;
}

// What takes the place of something private stays private. `also` is what writing it needs.
void take_mode(const fs::path& temporary, const fs::path& target, fs::perms also) {
  if (!fs::exists(target)) return;
  const fs::perms mode = fs::status(target).permissions() | also;
  if (mode == fs::status(temporary).permissions()) return;  // which not every file system can change
  std::error_code error;
  fs::permissions(temporary, mode, error);
  if (error) fail("cannot write ", target.string(), ": its mode cannot be kept: ", error.message());
}

// Leaves no moment without a directory at `target`, but on file systems that cannot exchange (NFS, FUSE): they get
// renames. Where it fails, both directories are where they were, or the message says where.
void exchange(const fs::path& temporary, const fs::path& target) {
  if (renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) return;
  std::error_code error(errno, std::generic_category()), stuck;
  const auto failed = [&](const auto&... where) {
    fail("cannot put ", temporary.string(), " in place of ", target.string(), ": ", error.message(), where...);
  };
  if (error != std::errc::invalid_argument && error != std::errc::function_not_supported) failed();
  const fs::path aside = temporary_beside(target);
  fs::rename(target, aside, error);
  if (error) failed();
  fs::rename(temporary, target, error);
  if (error) {
    fs::rename(aside, target, stuck);
    if (stuck) failed("; what stood there is now at ", aside.string());
    failed();
  }
  fs::rename(aside, temporary, error);
  if (error) failed("; it is there, and what stood there is now at ", aside.string());
}

void make_folder_of(const fs::path& target) {
  std::error_code error;
  fs::create_directories(folder_of(target), error);
  if (error) fail("cannot write ", target.string(), ": ", error.message());
}

// Whether a temporary can stand beside `target`, as far up as folders are missing. Only making one tells for all file
// systems and users.
void check_room_beside(const fs::path& target) {
  fs::path folder = folder_of(target);
  while (!fs::exists(folder)) {
    if (fs::is_symlink(folder)) fail("cannot write ", target.string(), ": ", folder.string(), " is a link to nothing");
    folder = folder_of(folder);
  }
  const Remover temporary{temporary_beside(folder / target.filename())};
  std::error_code error;
  fs::create_directory(temporary.path, error);
  if (error) fail("cannot write ", target.string(), ": ", error.message());
}

}  // namespace

void check_file(const fs::path& path) { check_room_beside(file_target(path)); }

void check_directory(const fs::path& path, const Foreign& foreign) {
  check_room_beside(directory_target(path, foreign));
}

void write_file(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  const fs::path target = file_target(path);
  make_folder_of(target);
  const Remover temporary{temporary_beside(target)};
  {
    std::ofstream out(temporary.path, std::ios::binary);
    if (!out) fail("cannot write ", path.string(), ": ", std::strerror(errno));
    take_mode(temporary.path, target, fs::perms::owner_read);
    write(out);
    out.close();
    if (!out)
      fail("cannot write ", path.string(), ": ", std::strerror(errno), " (an older file, if any, is untouched)");
  }
  sync(temporary.path);
  std::error_code error;
  fs::rename(temporary.path, target, error);
  if (error) fail("cannot write ", path.string(), ": ", error.message());
  sync(folder_of(target));
}

void write_directory(const fs::path& path, const Foreign& foreign, const std::function<void(const fs::path&)>& fill) {
  const fs::path target = directory_target(path, foreign);
  make_folder_of(target);
  Remover temporary{temporary_beside(target)};
  std::error_code error;
  fs::create_directory(temporary.path, error);
  if (error) fail("cannot write ", target.string(), ": ", error.message());
  take_mode(temporary.path, target, fs::perms::owner_all);
  fill(temporary.path);
  sync(temporary.path);
  directory_target(target, foreign);  // again: filling takes its time
  if (fs::exists(target)) {
    take_mode(temporary.path, target, fs::perms::none);
    exchange(temporary.path, target);
    // What stood there goes with the temporary, if nothing came into it before it lay aside.
    const fs::path aside = std::exchange(temporary.path, {});
    try {
      refuse_foreign(aside, target, foreign);
    } catch (...) {
      exchange(aside, target);
      temporary.path = aside;
      throw;
    }
    temporary.path = aside;
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

// All of it is read here, and its pages are entered into the process's table at once: later a file that cannot be read
// would end the process.
MappedFile::MappedFile(const fs::path& path, const std::string& name) : name_(called(path, name)) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const auto refuse = [&](const char* why) {
    if (file >= 0) close(file);
    fail("cannot read ", name_, ": ", why);
  };
  struct stat found;
  if (file < 0 || fstat(file, &found) != 0) refuse(std::strerror(errno));
  if (S_ISDIR(found.st_mode)) refuse("it is a directory");
  if (!S_ISREG(found.st_mode)) refuse("it is no regular file");
  const auto size = static_cast<std::size_t>(found.st_size);
  if (size > 0) {  // of nothing there is no map
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0);
    if (memory == MAP_FAILED) refuse(std::strerror(errno));
    bytes_ = {static_cast<std::byte*>(memory), size};
    if (madvise(memory, size, MADV_POPULATE_READ) != 0 && errno != EINVAL) {  // which Linux before 5.14 says
      const char* why = std::strerror(errno == EFAULT ? EIO : errno);
      munmap(memory, size);
      refuse(why);
    }
  }
  close(file);
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

namespace {

constexpr std::uint64_t kFnvStart = 0xcbf29ce484222325, kFnvPrime = 0x100000001b3;
constexpr const char* kForm = "fnv64x8:";

std::string hexadecimal(std::uint64_t hash) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::uint64_t fnv(std::span<const std::byte> bytes) {
  std::uint64_t hash = kFnvStart;
  for (std::byte byte : bytes) hash = (hash ^ static_cast<std::uint64_t>(byte)) * kFnvPrime;
  return hash;
}

// A product moves nothing to lower bits, and two flips of highest bits would cancel out: the upper half goes into the
// lower one.
std::uint64_t step(std::uint64_t hash, std::uint64_t value) {
  hash = (hash ^ value) * kFnvPrime;
  return hash ^ hash >> 32;
}

// Eight hashes side by side, as each product waits for the one before.
std::uint64_t fnv64x8(std::span<const std::byte> bytes) {
  constexpr std::size_t kLanes = 8, kWord = sizeof(std::uint64_t);
  static_assert(std::endian::native == std::endian::little);
  std::array<std::uint64_t, kLanes> lanes;
  lanes.fill(kFnvStart);
  std::size_t done = 0;
  for (; done + kLanes * kWord <= bytes.size(); done += kLanes * kWord)
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      std::uint64_t word;
      std::memcpy(&word, bytes.data() + done + lane * kWord, kWord);
      lanes[lane] = step(lanes[lane], word);
    }
  std::uint64_t hash = kFnvStart;
  for (std::uint64_t lane : lanes) hash = step(hash, lane);
  for (std::byte byte : bytes.subspan(done)) hash = step(hash, static_cast<std::uint64_t>(byte));
  return step(hash, bytes.size());
}

}  // namespace

std::string checksum(std::span<const std::byte> bytes, const std::string& like) {
  const bool older = like.size() == 16 && like.find(':') == std::string::npos;
  return older ? hexadecimal(fnv(bytes)) : kForm + hexadecimal(fnv64x8(bytes));
}

}  // namespace stamp
