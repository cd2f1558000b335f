#include "kernels/cpu/cpu_device.h"

#include <cstdlib>
#include <cstring>

#include "kernels/cpu/simd.h"

namespace stamp {

std::shared_ptr<Device> open_device(const std::string& name, int threads) {
  require(threads >= 0, "open_device: ", threads, " threads, expected 0 for all, or more");
  require(name == "cpu" || name == "auto", "open_device: unknown device '", name, "', expected 'cpu' or 'auto'");
  cpu::simd();  // a wrong STAMP_CPU_ISA is reported here
  return std::make_shared<cpu::CpuDevice>(threads);
}

namespace cpu {

void* CpuDevice::allocate(std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;
  bytes = (bytes + kAlignment) / kAlignment * kAlignment;  // never 0
  void* memory = std::aligned_alloc(kAlignment, bytes);
  if (!memory) fail("cpu: out of memory, ", bytes, " bytes were asked for");
  std::memset(memory, 0, bytes);
  return memory;
}

void CpuDevice::release(void* memory) noexcept { std::free(memory); }

void CpuDevice::copy_in(void* device, const void* host, std::size_t bytes) { std::memcpy(device, host, bytes); }

void CpuDevice::copy_out(void* host, const void* device, std::size_t bytes) { std::memcpy(host, device, bytes); }

void CpuDevice::zero(void* memory, std::size_t bytes) { std::memset(memory, 0, bytes); }

}  // namespace cpu
}  // namespace stamp
