#include "kernels/cpu/cpu_device.h"

#include <cstdlib>
#include <cstring>

#include "kernels/cpu/simd.h"

namespace stamp::cpu {

namespace {

// A CPU has nothing to record: launches cost nothing.
class DirectRecorder final : public Recorder {
 public:
  void run(std::uint64_t, const std::function<void()>& work) override { work(); }
};

}  // namespace

std::shared_ptr<Device> open(int threads, Precision precision) {
  simd();  // a wrong STAMP_CPU_ISA is reported here
  return std::make_shared<CpuDevice>(threads, precision);
}

void* CpuDevice::allocate(std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;
  bytes = (bytes + kAlignment) / kAlignment * kAlignment;  // never 0
  void* memory = std::aligned_alloc(kAlignment, bytes);
  if (!memory) fail("cpu: out of memory, ", bytes, " bytes were asked for");
  std::memset(memory, 0, bytes);
  ++allocations_;
  return memory;
}

void CpuDevice::release(void* memory) noexcept { std::free(memory); }

void CpuDevice::copy_in(void* device, const void* host, std::size_t bytes) { std::memcpy(device, host, bytes); }

void CpuDevice::copy_out(void* host, const void* device, std::size_t bytes) { std::memcpy(host, device, bytes); }

void CpuDevice::zero(void* memory, std::size_t bytes) { std::memset(memory, 0, bytes); }

std::unique_ptr<Recorder> CpuDevice::recorder() { return std::make_unique<DirectRecorder>(); }

}  // namespace stamp::cpu
