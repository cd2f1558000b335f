// Files that are whole or absent.
#include "stamp/files.h"

#include <ostream>

#include "bindings/convert.h"

namespace stamp::bindings {

void bind_files(py::module_& m) {
  m.def("check_file", [](const std::string& path) {
    const Unlocked unlocked;
    check_file(path);
  });
  m.def("write_file", [](const std::string& path, const py::bytes& content) {
    const std::string_view bytes = content;
    const Unlocked unlocked;
    write_file(path, [&](std::ostream& out) { out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())); });
  });
}

}  // namespace stamp::bindings
