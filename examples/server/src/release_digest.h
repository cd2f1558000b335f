// The digest of a release: what a pointer says beside the name, so that nothing else can be served under it.
#pragma once

#include <filesystem>
#include <string>

namespace server {

// SHA-256, in hexadecimal, of one line for each file of the bundle: the SHA-256 of its bytes in hexadecimal, two
// spaces, its path in the bundle, a newline; sorted by the paths' bytes. release.json is left out, being about the
// bundle and no part of it. Whoever has coreutils computes the same:
//   find . -type f ! -path ./release.json -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum
// Symbolic links to files count as files. Throws std::runtime_error for what cannot be read, for a newline or a
// backslash in a path, and for what is neither file nor directory.
std::string release_digest(const std::filesystem::path& bundle);

}  // namespace server
