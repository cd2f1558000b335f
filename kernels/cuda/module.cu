// What libstamp finds in this module: the functions that stamp/device.cpp names.
#include <map>
#include <mutex>

#include "kernels/cuda/cuda_device.h"

namespace stamp::cuda {
namespace {

// Why no device can be had at all; empty where one can.
std::string reason() {
  int driver = 0, runtime = 0, count = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const auto version = [](int number) { return concat(number / 1000, ".", number % 1000 / 10); };
  if (driver == 0) return "no NVIDIA driver is installed";
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver)
    return concat("the NVIDIA driver is for CUDA ", version(driver), ", expected one for CUDA ", version(runtime),
                  " or later; update the driver");
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
    return "no CUDA device is there, or CUDA_VISIBLE_DEVICES hides it";
  if (error != cudaSuccess) return cudaGetErrorString(error);
  return "";
}

__global__ void probe_kernel() {}

// Asked once: running a kernel makes a context, which takes memory and time. Never destroyed, as threads may run when
// the process exits.
std::mutex g_reasons_mutex;
std::map<int, std::string>& g_reasons = *new std::map<int, std::string>;

// Why this one cannot be had.
const std::string& reason_of(int index) {
  std::lock_guard lock(g_reasons_mutex);
  if (const auto found = g_reasons.find(index); found != g_reasons.end()) return found->second;
  int major = 0, minor = 0, before = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index);
  if (major < 8)
    return g_reasons[index] = concat("its compute capability is ", major, ".", minor, ", expected 8.0 or later");
  cudaGetDevice(&before);
  std::string why;
  try {
    check(cudaSetDevice(index), "cudaSetDevice");
    launch("probe", nullptr, probe_kernel, dim3(1), dim3(1), 0);
    check(cudaStreamSynchronize(nullptr), "probe");
  } catch (const std::exception& error) {
    why = concat("kernels do not run on it (compute capability ", major, ".", minor, "): ", error.what());
  }
  cudaSetDevice(before);
  return g_reasons[index] = why;
}

std::string name_of(int index) { return index ? concat(STAMP_CUDA_NAME, ":", index) : STAMP_CUDA_NAME; }

int device_count() {
  int count = 0;
  cudaGetDeviceCount(&count);
  return count;
}

std::vector<DeviceInfo> list() {
  if (const std::string why = reason(); !why.empty()) return {{STAMP_CUDA_NAME, "", why}};
  std::vector<DeviceInfo> devices;
  for (int index = 0; index < device_count(); ++index) {
    cudaDeviceProp properties{};
    cudaGetDeviceProperties(&properties, index);
    devices.push_back({name_of(index), properties.name, reason_of(index)});
  }
  return devices;
}

Device* open(int index, Precision precision) {
  std::string why = reason();
  if (why.empty()) why = index < device_count() ? reason_of(index) : concat("there are ", device_count(), " devices");
  if (!why.empty()) fail("open_device: '", name_of(index), "' cannot be had: ", why);
  return new CudaDevice(index, precision);
}

}  // namespace
}  // namespace stamp::cuda

extern "C" {

STAMP_API const char* stamp_module_version() { return STAMP_VERSION; }

STAMP_API void stamp_module_devices(std::vector<stamp::DeviceInfo>& devices) { devices = stamp::cuda::list(); }

STAMP_API stamp::Device* stamp_module_open(int index, stamp::Precision precision) {
  return stamp::cuda::open(index, precision);
}
}
