#include "tests/simt/block.h"

#include <sys/mman.h>

#include <bit>
#include <boost/context/detail/fcontext.hpp>
#include <cstring>
#include <exception>
#include <memory>
#include <sstream>
#include <vector>

#include "tests/simt/races.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt {

Coordinates current;

namespace {

namespace context = boost::context::detail;

// A stack with a page below it that nobody may touch.
class Stack {
 public:
  static constexpr std::size_t kBytes = 256 << 10, kGuard = 4096;
  Stack() : memory_(mmap(nullptr, kBytes + kGuard, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED || mprotect(memory_, kGuard, PROT_NONE) != 0) throw std::bad_alloc();
  }
  Stack(const Stack&) = delete;
  ~Stack() {
    forget_frames();
    munmap(memory_, kBytes + kGuard);
  }
  void* bottom() const { return static_cast<std::byte*>(memory_) + kGuard; }
  void* top() const { return static_cast<std::byte*>(bottom()) + kBytes; }
  // Frames of a fiber that was abandoned left their red zones behind.
  void forget_frames() const {
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(bottom(), kBytes);
#endif
  }

 private:
  void* memory_;
};

enum class State { ready, barrier, warp, ended };

struct Thread {
  Stack stack;
  context::fcontext_t fiber{};
  void* fake_stack = nullptr;  // AddressSanitizer's
  Dim index;
  State state = State::ended;
  Place place{"", "", 0};
  unsigned mask = 0;
  alignas(16) std::byte offered[kSlot];
  alignas(16) std::byte received[kWarp][kSlot];
};

class Block {
 public:
  void run(Dim grid, Dim block, std::size_t shared_bytes, const std::function<void()>& body);

  void wait(State state, Place place);
  const std::byte* exchange(unsigned mask, Place place, const void* value, std::size_t bytes);
  [[noreturn]] void fail(Place place, const std::string& what);
  void abandon(const std::string& what);
  bool inside() const { return inside_; }
  std::size_t thread_index() const { return self_; }
  unsigned lane() const { return static_cast<unsigned>(self_ % kWarp); }
  void* shared() { return shared_.get(); }

 private:
  static void enter(context::transfer_t from);
  void resume(std::size_t thread);
  void leave();
  void run_block();
  void release_barrier();
  std::string describe(std::size_t thread) const;

  std::vector<std::unique_ptr<Thread>> threads_;
  std::size_t count_ = 0, self_ = 0;
  bool inside_ = false;
  std::unique_ptr<std::byte[]> shared_;
  const std::function<void()>* body_ = nullptr;
  std::exception_ptr error_;
  context::fcontext_t scheduler_{};
  const void* scheduler_bottom_ = nullptr;
  std::size_t scheduler_size_ = 0;
};

Block g_block;

void begin_switch([[maybe_unused]] void** fake, [[maybe_unused]] const void* bottom,
                  [[maybe_unused]] std::size_t size) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(fake, bottom, size);
#endif
}

void end_switch([[maybe_unused]] void* fake, [[maybe_unused]] const void** bottom, [[maybe_unused]] std::size_t* size) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake, bottom, size);
#endif
}

// A fiber lives on from block to block: it runs the body, ends, and is resumed with the next body.
void Block::enter(context::transfer_t from) {
  Block& block = *static_cast<Block*>(from.data);
  end_switch(nullptr, &block.scheduler_bottom_, &block.scheduler_size_);
  block.scheduler_ = from.fctx;
  while (true) {
    try {
      (*block.body_)();
    } catch (...) {
      block.error_ = std::current_exception();
    }
    block.threads_[block.self_]->state = State::ended;
    block.leave();
  }
}

void Block::resume(std::size_t thread) {
  Thread& t = *threads_[thread];
  self_ = thread;
  current.thread = t.index;
  void* fake = nullptr;
  begin_switch(&fake, t.stack.bottom(), Stack::kBytes);
  inside_ = true;
  t.fiber = context::jump_fcontext(t.fiber, this).fctx;
  inside_ = false;
  end_switch(fake, nullptr, nullptr);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Block::leave() {
  Thread& t = *threads_[self_];
  begin_switch(&t.fake_stack, scheduler_bottom_, scheduler_size_);
  scheduler_ = context::jump_fcontext(scheduler_, nullptr).fctx;
  end_switch(t.fake_stack, &scheduler_bottom_, &scheduler_size_);
}

void Block::wait(State state, Place place) {
  Thread& t = *threads_[self_];
  t.state = state;
  t.place = place;
  leave();
}

std::string Block::describe(std::size_t thread) const {
  const Thread& t = *threads_[thread];
  std::ostringstream text;
  text << "thread (" << t.index.x << ", " << t.index.y << ", " << t.index.z << ")";
  if (t.state == State::ended)
    text << " has ended";
  else if (t.state != State::ready)
    text << " waits in " << t.place.what << " at " << t.place.file << ":" << t.place.line;
  return text.str();
}

void Block::fail(Place place, const std::string& what) {
  std::ostringstream text;
  const Dim& b = current.block;
  text << place.file << ":" << place.line << ": " << place.what << " by " << describe(self_) << " of block (" << b.x
       << ", " << b.y << ", " << b.z << "): " << what;
  throw Error(text.str());  // caught where the fiber began
}

void Block::abandon(const std::string& what) {
  inside_ = false;
  error_ = std::make_exception_ptr(Error(what));
  leave();
}

// All that live have come to a barrier: the same one?
void Block::release_barrier() {
  std::size_t first = count_;
  for (std::size_t i = 0; i < count_; ++i)
    if (threads_[i]->state != State::ended) first = std::min(first, i);
  for (std::size_t i = first; i < count_; ++i) {
    const Thread& t = *threads_[i];
    if (t.state == State::ended) continue;
    if (t.state == State::warp || !(t.place == threads_[first]->place)) {
      std::string who = describe(i) + "; " + describe(first);
      for (std::size_t j = 0; j < count_ && t.state == State::warp; ++j)
        if (j / kWarp == i / kWarp && (t.mask >> j % kWarp & 1) && threads_[j]->state != State::warp)
          who = describe(i) + " for " + describe(j);
      throw Error("the block hangs: " + who);
    }
  }
  for (std::size_t i = 0; i < count_; ++i)
    if (threads_[i]->state == State::barrier) threads_[i]->state = State::ready;
  block_passed_barrier();
}

void Block::run_block() {
  for (std::size_t i = 0; i < count_; ++i) threads_[i]->state = State::ready;
  for (std::size_t living = count_; living > 0;) {
    bool ran = false;
    living = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      if (threads_[i]->state == State::ready) {
        resume(i);
        ran = true;
      }
      living += threads_[i]->state != State::ended;
    }
    if (!ran && living > 0) release_barrier();
  }
}

void Block::run(Dim grid, Dim block, std::size_t shared_bytes, const std::function<void()>& body) {
  count_ = block.size();
  body_ = &body;
  current.block_size = block;
  current.grid_size = grid;
  launch_begins();
  while (threads_.size() < count_) threads_.push_back(std::make_unique<Thread>());
  for (std::size_t i = 0; i < count_; ++i) {
    Thread& t = *threads_[i];
    const auto n = static_cast<unsigned>(i);
    t.index = {n % block.x, n / block.x % block.y, n / (block.x * block.y)};
    if (!t.fiber) {
      t.stack.forget_frames();
      t.fiber = context::make_fcontext(t.stack.top(), Stack::kBytes, enter);
    }
  }
  try {
    for (unsigned z = 0; z < grid.z; ++z)
      for (unsigned y = 0; y < grid.y; ++y)
        for (unsigned x = 0; x < grid.x; ++x) {
          current.block = {x, y, z};
          shared_.reset(new std::byte[shared_bytes]);      // of its exact size, so that AddressSanitizer sees its end
          std::memset(shared_.get(), 0xff, shared_bytes);  // NaN, as nothing promises zeros
          block_begins(shared_.get(), shared_bytes);
          run_block();
        }
  } catch (...) {
    for (auto& t : threads_) t->fiber = nullptr;  // abandoned where they stand
    throw;
  }
}

const std::byte* Block::exchange(unsigned mask, Place place, const void* value, std::size_t bytes) {
  Thread& self = *threads_[self_];
  const std::size_t warp = self_ / kWarp * kWarp;
  if (!(mask >> lane() & 1)) fail(place, "its own lane " + std::to_string(lane()) + " is not in the mask");
  std::memcpy(self.offered, value, bytes);
  self.mask = mask;
  self.place = place;
  self.state = State::warp;
  for (unsigned i = 0; i < kWarp; ++i) {
    if (!(mask >> i & 1)) continue;
    if (warp + i >= count_) fail(place, "the mask names lane " + std::to_string(i) + ", which the block does not have");
    const Thread& other = *threads_[warp + i];
    if (other.state == State::ended) fail(place, "the mask names lane " + std::to_string(i) + ", which has ended");
    if (other.state == State::warp && !(other.mask == mask && other.place == place))
      fail(place, "the lanes do not agree: " + describe(warp + i) + (other.mask == mask ? "" : " with another mask"));
  }
  for (unsigned i = 0; i < kWarp; ++i)
    if ((mask >> i & 1) && threads_[warp + i]->state != State::warp) {
      leave();  // until the last lane comes
      return self.received[0];
    }
  lanes_met(warp, mask);
  for (unsigned i = 0; i < kWarp; ++i) {
    if (!(mask >> i & 1)) continue;
    Thread& to = *threads_[warp + i];
    to.state = State::ready;
    for (unsigned from = 0; from < kWarp; ++from)
      if (mask >> from & 1) std::memcpy(to.received[from], threads_[warp + from]->offered, kSlot);
  }
  return self.received[0];
}

}  // namespace

void run(Dim grid, Dim block, std::size_t shared_bytes, const std::function<void()>& thread) {
  g_block.run(grid, block, shared_bytes, thread);
}

void sync_threads(Place place) { g_block.wait(State::barrier, place); }

const std::byte* exchange(unsigned mask, Place place, const void* value, std::size_t bytes) {
  return g_block.exchange(mask, place, value, bytes);
}

bool inside() { return g_block.inside(); }
std::size_t thread_index() { return g_block.thread_index(); }
unsigned lane() { return g_block.lane(); }

void* dynamic_shared() { return g_block.shared(); }

void abandon(const std::string& what) { g_block.abandon(what); }
void sin(Place place, const std::string& what) { g_block.fail(place, what); }

}  // namespace simt
