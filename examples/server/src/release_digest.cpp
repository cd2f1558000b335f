#include "release_digest.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <stdexcept>
#include <vector>

#include "sha256.h"

namespace server {

namespace {

constexpr std::size_t kPiece = 1 << 20;  // bytes read at once

// By read(2) and not by mapping: a file that is cut short meanwhile ends early, and the digest disagrees.
std::string digest_of_file(const std::filesystem::path& path, std::vector<char>& piece) {
  const auto fail = [&] { throw std::runtime_error(path.string() + ": " + std::strerror(errno)); };
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail();
  Sha256 hash;
  ssize_t n;
  while ((n = read(file, piece.data(), piece.size())) > 0) hash.add({piece.data(), static_cast<std::size_t>(n)});
  const int error = errno;
  close(file);
  errno = error;
  if (n < 0) fail();
  return hexadecimal(hash.finish());
}

}  // namespace

std::string release_digest(const std::filesystem::path& bundle) {
  std::map<std::string, std::filesystem::path> files;  // std::string compares bytes as unsigned
  for (const auto& entry : std::filesystem::recursive_directory_iterator(bundle)) {
    if (entry.is_directory() && !entry.is_symlink()) continue;
    if (!entry.is_regular_file()) throw std::runtime_error(entry.path().string() + ": is neither file nor directory");
    std::string name = entry.path().lexically_relative(bundle).generic_string();
    if (name.find_first_of("\n\\") != name.npos)
      throw std::runtime_error(entry.path().string() + ": has a newline or a backslash in its name");
    if (name != "release.json") files.emplace(std::move(name), entry.path());
  }
  std::vector<char> piece(kPiece);
  Sha256 whole;
  for (const auto& [name, path] : files) whole.add(digest_of_file(path, piece) + "  " + name + '\n');
  return hexadecimal(whole.finish());
}

}  // namespace server
