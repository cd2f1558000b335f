// The heart of the SIMT simulator: the threads of a CUDA block as fibers on one CPU thread.
//
// Every thread runs until it waits: at a barrier of its block, or for the other lanes of a warp operation. Whatever
// would be undefined on a device ends the launch with an Error that names kernel line and thread: a barrier that a
// living thread never reaches, lanes that do not agree, an operation that waits for a lane that has ended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>

namespace simt {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
  std::size_t size() const { return std::size_t{x} * y * z; }
};

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What threadIdx, blockIdx, blockDim and gridDim read.
struct Coordinates {
  Dim thread{0, 0, 0}, block{0, 0, 0}, block_size, grid_size;
};
extern Coordinates current;

// Floating-point operations since the start, by tensor cores and by cuBLAS.
struct Flops {
  std::uint64_t mma = 0, gemm = 0;
};
extern Flops flops;
extern std::uint64_t launches, blocks;  // of kernels, and of their threads, since the start

// Calls thread() once for every thread of every block, one block after the other.
void run(Dim grid, Dim block, std::size_t shared_bytes, const std::function<void()>& thread);

// A line of a kernel and what is done there.
struct Place {
  const char* what;
  const char* file;
  int line;
  bool operator==(const Place& other) const {
    return line == other.line && (file == other.file || std::strcmp(file, other.file) == 0);
  }
};

// All of what follows is for threads inside run().

constexpr unsigned kWarp = 32;
constexpr std::size_t kSlot = 64;  // bytes that a lane can hand to the others

void sync_threads(Place place);

// What the lanes of `mask`, which all come here, hand over: 32 slots of kSlot bytes, those of other lanes undefined.
// Valid until the next operation of this lane. `combine` works on the slots once, when all have come.
const std::byte* exchange(unsigned mask, Place place, const void* value, std::size_t bytes,
                          void (*combine)(std::byte* slots) = nullptr);

// Throws an Error where the threads of a warpgroup have not issued the same products (warpgroup.cpp).
void check_warpgroups();

// Copies of 16 bytes that land in shared memory when their thread waits for them: for all but the last `pending` groups
// that it has committed. What nobody waits for never lands.
void begin_copy(void* shared, const void* value, const void* code);
void commit_copies();
void land_copies(int pending);

// The other threads go on; the block hangs when all that live only do this.
void poll(Place place);

// Of the device, times ten: STAMP_SIM_CAPABILITY, as 9.0, or 8.0.
int capability();

// Whether these bytes are part of what one cudaMalloc gave.
bool allocated(const void* memory, std::size_t bytes);

bool inside();               // a thread of a launch, or its host?
std::size_t thread_index();  // within the block
unsigned lane();
void* dynamic_shared();
std::size_t shared_bytes();  // of it

// Ends the launch with an Error.
[[noreturn]] void sin(Place place, const std::string& what);
// The same from code through which no exception may pass: the thread stops where it stands.
void abandon(const std::string& what);

}  // namespace simt
