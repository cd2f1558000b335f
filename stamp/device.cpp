// Opening devices. The CPU is here; CUDA comes with a module that is loaded when first asked for.
#include "stamp/device.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "kernels/cpu/cpu_device.h"

namespace stamp {

namespace {

constexpr const char* kPrecisions[] = {"auto", "fp32", "tf32", "bf16"};  // in the order of the enumeration

// What a module exports, as kernels/cuda/module.cu has it; or why it is not there.
struct Module {
  Device* (*open)(int index, Precision precision) = nullptr;
  void (*list)(std::vector<DeviceInfo>& devices) = nullptr;
  std::string reason;
};

std::filesystem::path own_folder() {
  Dl_info info;
  return dladdr(reinterpret_cast<const void*>(&open_device), &info) && info.dli_fname
             ? std::filesystem::path(info.dli_fname).parent_path()
             : std::filesystem::path();
}

template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function;
}

// `variable` names it, or it is beside libstamp, or wherever the loader looks.
Module load(const std::string& file, const char* variable, const char* remedy) {
  const char* value = std::getenv(variable);
  const std::string named = value ? value : "";
  std::string place = named.empty() ? (own_folder() / file).string() : named;
  if (named.empty() && !std::filesystem::exists(place)) place = file;

  void* handle = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const std::string error = dlerror();  // begins with the file at fault: this one, or one that it needs
    const bool is_path = place.find('/') != std::string::npos;
    if (is_path ? !std::filesystem::exists(place) : error.starts_with(place + ":"))
      return {.reason = concat("there is no module ", place,
                               named.empty() ? "" : concat(", which ", variable, " names"), "; ", remedy)};
    return {.reason = concat("its module cannot be loaded: ", error,
                             error.starts_with("libcu") ? "; pip install 'stamp-recommender[cuda]' brings it" : "")};
  }
  Module module;
  const char* (*version)() = nullptr;
  if (!find(handle, "stamp_module_version", version) || !find(handle, "stamp_module_open", module.open) ||
      !find(handle, "stamp_module_devices", module.list))
    return {.reason = concat(place, " is no module of stamp")};
  if (std::string_view(version()) != STAMP_MODULE_VERSION)
    return {.reason = concat("module ", place, " is of version ", version(), ", expected ", STAMP_MODULE_VERSION)};
  return module;
}

// Never unloaded, as devices hold on to its code, and never destroyed, as threads may run when the process exits.
const Module& cuda_module() {
  static const Module& module =
      *new Module(load("libstamp_cuda.so", "STAMP_CUDA_MODULE", "install a build of stamp with CUDA (docs/cuda.md)"));
  return module;
}

const Module& simulator_module() {
  static const Module& module = *new Module(load("libstamp_cuda_sim.so", "STAMP_CUDA_SIM_MODULE",
                                                 "the tests build it, and STAMP_CUDA_SIM_MODULE may name it"));
  return module;
}

std::vector<DeviceInfo> cuda_devices() {
  const Module& module = cuda_module();
  if (!module.list) return {{"cuda", "", module.reason}};
  std::vector<DeviceInfo> found;
  module.list(found);
  return found;
}

// 3 of "cuda:3", 0 of "cuda".
int index_of(const std::string& name) {
  const auto colon = name.find(':');
  if (colon == std::string::npos) return 0;
  const std::string digits = name.substr(colon + 1);
  require(!digits.empty() && digits.size() < 4 && digits.find_first_not_of("0123456789") == std::string::npos,
          "open_device: '", name, "', expected an index after the colon, such as 'cuda:1'");
  return std::stoi(digits);
}

std::shared_ptr<Device> open_cuda(const std::string& name, const Module& module, const DeviceOptions& options) {
  const int index = index_of(name);
  if (!module.open) fail("open_device: '", name, "' cannot be had: ", module.reason);
  return std::shared_ptr<Device>(module.open(index, options.precision));
}

// `why` it is the CPU, where another device would have been preferred.
std::shared_ptr<Device> open_cpu(const DeviceOptions& options, const std::string& why = "") {
  require(options.precision != Precision::tf32, "open_device: precision is tf32 and the device the CPU", why,
          ", which computes in fp32 or bf16; expected precision fp32, bf16 or auto");
  return cpu::open(options.threads, options.precision == Precision::bf16 ? Precision::bf16 : Precision::fp32);
}

std::shared_ptr<Device> open_best(const DeviceOptions& options) {
  const auto cuda = cuda_devices();
  for (const DeviceInfo& device : cuda)
    if (device.reason.empty()) return open_device(device.name, options);
  return open_cpu(options, concat(" ('", cuda.front().name, "' cannot be had: ", cuda.front().reason, ")"));
}

}  // namespace

Precision precision_from_string(const std::string& name) {
  const auto found = std::find(std::begin(kPrecisions), std::end(kPrecisions), name);
  require(found != std::end(kPrecisions), "precision is '", name, "', expected auto, fp32, tf32 or bf16");
  return static_cast<Precision>(found - kPrecisions);
}

std::string to_string(Precision precision) { return kPrecisions[static_cast<int>(precision)]; }

std::string kind_of_device(const std::string& name) { return name.substr(0, name.find(':')); }

std::shared_ptr<Device> open_device(const std::string& name, const DeviceOptions& options) {
  require(options.threads >= 0, "open_device: ", options.threads, " threads, expected 0 for all, or more");
  const std::string kind = kind_of_device(name);
  if (name == "auto") return open_best(options);
  if (name == "cpu") return open_cpu(options);
  if (kind == "cuda") return open_cuda(name, cuda_module(), options);
  if (kind == "cuda-sim") return open_cuda(name, simulator_module(), options);
  throw std::invalid_argument(
      concat("open_device: unknown device '", name, "', expected 'auto', 'cpu', 'cuda' or 'cuda:N'"));
}

std::vector<DeviceInfo> devices() {
  std::vector<DeviceInfo> all = cuda_devices();
  all.insert(all.begin(),
             {"cpu", concat(num_threads(), " threads, ", cpu_isa(), cpu::bf16().in_hardware ? ", bf16" : ""), ""});
  return all;
}

}  // namespace stamp
