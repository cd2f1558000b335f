// Texts of configuration files: what is read is written, and read again as the same.
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>

#include "config.h"
#include "fuzz.h"

namespace {

// A file in memory, since configuration is read from files.
struct File {
  int descriptor = memfd_create("configuration", 0);
  std::string path = "/proc/self/fd/" + std::to_string(descriptor);

  void write(std::string_view text) const {
    FUZZ_CHECK(ftruncate(descriptor, 0) == 0 &&
               pwrite(descriptor, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  }
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const File file;
  file.write(text_of(data, size));
  std::string text;
  try {
    text = server::config_text(server::read_config(file.path));
  } catch (const std::invalid_argument&) {
    return 0;
  }
  file.write(text);
  FUZZ_CHECK(server::config_text(server::read_config(file.path)) == text);
  return 0;
}
