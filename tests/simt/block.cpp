#include "tests/simt/block.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <boost/context/detail/fcontext.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>
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
Flops flops;
std::uint64_t launches = 0, blocks = 0;

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

enum class State { ready, barrier, warp, polling, ended };

// A warp operation: what its lanes hand over, until the last of them moves on.
struct Meeting {
  unsigned mask = 0, arrived = 0, reading = 0;
  Place place{"", "", 0};
  alignas(16) std::byte slots[kWarp * kSlot];
};

struct Warp {
  unsigned living = 0, waiting = 0;  // lanes; waiting for others of the warp
};

struct Copy {
  void* to;
  std::array<std::byte, 16> value;
  int group;
  const void* code;
};

struct Thread {
  Stack stack;
  context::fcontext_t fiber{};
  void* fake_stack = nullptr;  // AddressSanitizer's
  Dim index;
  State state = State::ended;
  Place place{"", "", 0};
  Meeting* meeting = nullptr;  // the last
  std::vector<Copy> copies;    // under way
  int groups = 0;              // of copies, committed
};

class Block {
 public:
  void run(Dim grid, Dim block, std::size_t shared_bytes, const std::function<void()>& body);

  void wait(State state, Place place);
  const std::byte* exchange(unsigned mask, Place place, const void* value, std::size_t bytes,
                            void (*combine)(std::byte*));
  void land_copies(int pending);
  [[noreturn]] void fail(Place place, const std::string& what);
  void abandon(const std::string& what);
  bool inside() const { return inside_; }
  std::size_t thread_index() const { return self_; }
  unsigned lane() const { return static_cast<unsigned>(self_ % kWarp); }
  void* shared() { return shared_.get(); }
  std::size_t shared_bytes() const { return shared_bytes_; }
  Thread& self() { return *threads_[self_]; }

 private:
  static void enter(context::transfer_t from);
  void resume(std::size_t thread);
  void leave();
  void run_block();
  void release_barrier();
  Meeting* open_meeting(unsigned mask, Place place);
  void move_on();
  std::string describe(std::size_t thread) const;

  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Warp> warps_;
  std::deque<Meeting> meetings_;
  std::vector<Meeting*> free_meetings_;
  std::size_t count_ = 0, self_ = 0;
  bool inside_ = false;
  std::unique_ptr<std::byte[]> shared_;
  std::size_t shared_bytes_ = 0;
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
    block.self().state = State::ended;
    block.warps_[block.self_ / kWarp].living &= ~(1u << block.lane());
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
        if (j / kWarp == i / kWarp && (t.meeting->mask >> j % kWarp & 1) && threads_[j]->state != State::warp)
          who = describe(i) + " for " + describe(j);
      throw Error("the block hangs: " + who);
    }
  }
  check_warpgroups();
  for (std::size_t i = 0; i < count_; ++i)
    if (threads_[i]->state == State::barrier) threads_[i]->state = State::ready;
  block_passed_barrier();
}

void Block::run_block() {
  warps_.assign((count_ + kWarp - 1) / kWarp, {});
  free_meetings_.clear();
  for (Meeting& meeting : meetings_) free_meetings_.push_back(&meeting);
  for (std::size_t i = 0; i < count_; ++i) {
    Thread& t = *threads_[i];
    t.state = State::ready;
    t.meeting = nullptr;
    t.copies.clear();
    t.groups = 0;
    warps_[i / kWarp].living |= 1u << i % kWarp;
  }
  for (std::size_t living = count_; living > 0;) {
    bool ran = false;
    living = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      const bool polls = threads_[i]->state == State::polling;
      if (polls || threads_[i]->state == State::ready) {
        resume(i);
        ran |= !polls || threads_[i]->state != State::polling;
      }
      living += threads_[i]->state != State::ended;
    }
    if (ran || living == 0) continue;
    for (std::size_t i = 0; i < count_; ++i)
      if (threads_[i]->state == State::polling) throw Error("the block hangs: " + describe(i));
    release_barrier();
  }
}

void Block::run(Dim grid, Dim block, std::size_t shared_bytes, const std::function<void()>& body) {
  count_ = block.size();
  body_ = &body;
  current.block_size = block;
  current.grid_size = grid;
  launch_begins();
  if (!shared_ || shared_bytes_ != shared_bytes) {
    shared_.reset(new std::byte[shared_bytes]);  // of its exact size, so that AddressSanitizer sees its end
    shared_bytes_ = shared_bytes;
  }
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
          std::memset(shared_.get(), 0xff, shared_bytes);  // NaN, as nothing promises zeros
          ++blocks;
          block_begins(shared_.get(), shared_bytes);
          run_block();
          check_warpgroups();
        }
  } catch (...) {
    for (auto& t : threads_) t->fiber = nullptr;  // abandoned where they stand
    throw;
  }
}

Meeting* Block::open_meeting(unsigned mask, Place place) {
  if (free_meetings_.empty()) free_meetings_.push_back(&meetings_.emplace_back());
  Meeting* meeting = free_meetings_.back();
  free_meetings_.pop_back();
  meeting->mask = meeting->reading = mask;
  meeting->arrived = 0;
  meeting->place = place;
  return meeting;
}

// The running thread no longer reads what its last operation handed to it.
void Block::move_on() {
  Meeting* meeting = self().meeting;
  if (meeting && (meeting->reading &= ~(1u << lane())) == 0) free_meetings_.push_back(meeting);
}

const std::byte* Block::exchange(unsigned mask, Place place, const void* value, std::size_t bytes,
                                 void (*combine)(std::byte*)) {
  const std::size_t first = self_ / kWarp * kWarp;
  Warp& warp = warps_[self_ / kWarp];
  if (!(mask >> lane() & 1)) fail(place, "its own lane " + std::to_string(lane()) + " is not in the mask");
  if (const unsigned missing = mask & ~warp.living) {
    const int i = std::countr_zero(missing);
    fail(place, "the mask names lane " + std::to_string(i) + ", which " +
                    (first + i < count_ ? "has ended" : "the block does not have"));
  }
  move_on();
  const unsigned waiting = mask & warp.waiting;
  const auto agrees = [&](const Meeting* m) { return m->mask == mask && m->place == place; };
  Meeting* meeting = waiting ? threads_[first + std::countr_zero(waiting)]->meeting : open_meeting(mask, place);
  if (meeting->arrived != waiting || !agrees(meeting))
    for (std::size_t i = 0; i < kWarp; ++i)
      if ((waiting >> i & 1) && !agrees(threads_[first + i]->meeting))
        fail(place, "the lanes do not agree: " + describe(first + i) +
                        (threads_[first + i]->meeting->mask == mask ? "" : " with another mask"));
  std::memcpy(meeting->slots + lane() * kSlot, value, bytes);
  meeting->arrived |= 1u << lane();
  self().meeting = meeting;
  if (meeting->arrived != mask) {
    warp.waiting |= 1u << lane();
    wait(State::warp, place);  // until the last lane comes
    return meeting->slots;
  }
  warp.waiting &= ~mask;
  for (std::size_t i = 0; i < kWarp; ++i)
    if (mask >> i & 1) threads_[first + i]->state = State::ready;
  if (bytes == 0) lanes_met(first, mask);  // __syncwarp alone: what hands values over promises no order of memory
  if (combine) combine(meeting->slots);
  return meeting->slots;
}

void Block::land_copies(int pending) {
  auto& copies = self().copies;
  const auto landing = [&](const Copy& copy) { return copy.group + pending < self().groups; };
  const auto end = std::find_if_not(copies.begin(), copies.end(), landing);
  for (auto copy = copies.begin(); copy != end; ++copy) {
    touch_copy_lands(copy->to, sizeof copy->value, copy->code);
    std::memcpy(copy->to, copy->value.data(), sizeof copy->value);
  }
  copies.erase(copies.begin(), end);
}

}  // namespace

void run(Dim grid, Dim block, std::size_t shared_bytes, const std::function<void()>& thread) {
  ++launches;
  g_block.run(grid, block, shared_bytes, thread);
}

void sync_threads(Place place) { g_block.wait(State::barrier, place); }
void poll(Place place) { g_block.wait(State::polling, place); }

int capability() {
  static const int tenfold = [] {
    const char* value = std::getenv("STAMP_SIM_CAPABILITY");
    return value ? static_cast<int>(std::lround(std::atof(value) * 10)) : 80;
  }();
  return tenfold;
}

const std::byte* exchange(unsigned mask, Place place, const void* value, std::size_t bytes,
                          void (*combine)(std::byte*)) {
  return g_block.exchange(mask, place, value, bytes, combine);
}

void begin_copy(void* shared, const void* value, const void* code) {
  Thread& self = g_block.self();
  touch_copy_begins(shared, sizeof Copy::value, code);
  std::memcpy(self.copies.emplace_back(Copy{shared, {}, self.groups, code}).value.data(), value, sizeof Copy::value);
}

void commit_copies() { ++g_block.self().groups; }
void land_copies(int pending) { g_block.land_copies(pending); }

bool inside() { return g_block.inside(); }
std::size_t thread_index() { return g_block.thread_index(); }
unsigned lane() { return g_block.lane(); }

void* dynamic_shared() { return g_block.shared(); }
std::size_t shared_bytes() { return g_block.shared_bytes(); }

void abandon(const std::string& what) { g_block.abandon(what); }
void sin(Place place, const std::string& what) { g_block.fail(place, what); }

}  // namespace simt
