// Sees every load and store of kernels compiled with -fsanitize=thread: libtsan is not linked, the hooks are ours.
//
// Found, and reported as an Error with both places: two accesses of one address of which one writes, by threads that
// neither __syncthreads nor __syncwarp orders (unless both are atomic; shuffles and votes order nothing, as the CUDA
// C++ Programming Guide says), by different blocks of a launch too, unless the first came to an atomic operation behind
// a __threadfence (and wrote nothing in between), the second to one of the same address and then to a __threadfence,
// and barriers join those two threads to theirs; reads of shared or device memory that nobody wrote, or to which an
// asynchronous copy is under way; and products of a warpgroup that read, and bulk copies to, what its writer
// did not end by a fence_async_proxy() before the barrier. Not seen: what two streams do to each other, calls of
// memcpy, and writes to what such a copy reads, between its start and the wait for it.
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

// What an instruction of the simulator does to memory, told instead of seen. `code`: where the kernel called for it; an
// atomic operation, which is inlined there, need not say.
void touch_read(const void* address, std::size_t bytes, const void* code);
void touch_async_read(const void* address, std::size_t bytes, const void* code);
void touch_write(const void* address, std::size_t bytes, const void* code);
void touch_copy_begins(const void* address, std::size_t bytes, const void* code);
void touch_copy_lands(const void* address, std::size_t bytes, const void* code);
// Bulk copies land all together for one wait; threads know of it when they waited, or behind a barrier.
std::uint32_t next_landing();
void touch_bulk_begins(const void* address, std::size_t bytes, const void* code);
void touch_bulk_lands(const void* address, std::size_t bytes, const void* code, std::uint32_t landing);
void knows_landing(std::uint32_t landing);
void touch_atomic(const volatile void* address, std::size_t bytes);

// The simulator's side: device memory comes and goes; hosts, copies and libraries read and write it.
void track(void* memory, std::size_t bytes);
void untrack(void* memory);
void mark_written(void* memory, std::size_t bytes);
void check_written(const void* memory, std::size_t bytes, const char* reader);  // throws an Error

// A launch, a block of it, and what orders the threads of the block.
void launch_begins();
void block_begins(const void* dynamic_shared, std::size_t bytes);
void block_passed_barrier();
void passed_fence();
void passed_proxy_fence();
void lanes_met(std::size_t first_thread_of_warp, unsigned mask);

}  // namespace simt
