#include "log.h"

#include <unistd.h>

#include <string>

namespace server {

void log(std::string_view text) {
  std::string line = "stamp-server: ";
  line += text;
  line += '\n';
  // In one call, which the kernel does not mix with another one's; a log that cannot be written is nobody's error.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace server
