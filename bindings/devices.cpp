// What computations run on.
#include "bindings/convert.h"
#include "stamp/device.h"

namespace stamp::bindings {

void bind_devices(py::module_& m) {
  py::class_<Device, std::shared_ptr<Device>>(m, "Device")
      .def_property_readonly("name", &Device::name)
      .def_property_readonly("precision", [](const Device& device) { return to_string(device.precision()); });
  m.def("open_device", [](const std::string& name, const std::string& precision) {
    const Unlocked unlocked;
    return open_device(name, {.precision = precision_from_string(precision)});
  });
  m.def("devices", [] {
    std::vector<std::tuple<std::string, std::string, std::string>> found;
    const Unlocked unlocked;
    for (const auto& device : devices()) found.emplace_back(device.name, device.description, device.reason);
    return found;
  });
  m.def("num_threads", &num_threads, "Threads that computations use.");
  m.def("set_num_threads", &set_num_threads, "Threads that computations shall use, 1 or more.");
  m.def("cpu_isa", &cpu_isa, "Instruction set of the CPU kernels: avx512vnni, avx512, avx2vnni, avx2 or baseline.");
}

}  // namespace stamp::bindings
