// Sees every load and store of kernels compiled with -fsanitize=thread: libtsan is not linked, the hooks are ours.
//
// Found, and reported as an Error with both places: two accesses of one address of which one writes, by threads that
// no barrier or warp operation orders between (unless both are atomic), by different blocks of a launch too; and reads
// of shared or device memory that nobody wrote. Not seen: what two streams do to each other, and calls of memcpy.
#pragma once

#include <cstddef>
#include <cstdint>

namespace simt {

// Bytes that kernels moved since reset_traffic().
struct Traffic {
  std::uint64_t device_read = 0, device_written = 0, shared_read = 0, shared_written = 0;
};
Traffic traffic();
void reset_traffic();

// What an atomic operation does to memory, told instead of seen. Keeps an access of kernels not compiled so unseen.
void touch_atomic(const volatile void* address, std::size_t bytes);

// The simulator's side: device memory comes and goes, hosts and copies write it.
void track(void* memory, std::size_t bytes);
void untrack(void* memory);
void mark_written(void* memory, std::size_t bytes);

// A launch, a block of it, and what orders the threads of the block.
void launch_begins();
void block_begins(const void* dynamic_shared, std::size_t bytes);
void block_passed_barrier();
void lanes_met(std::size_t first_thread_of_warp, unsigned mask);

}  // namespace simt
