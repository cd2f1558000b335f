#include "tests/simt/races.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <new>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/simt/block.h"

namespace simt {
namespace {

// Who touched a granule, and when: `block` counts over all launches, `barrier` over the block, `clock` is the lane's.
struct Access {
  std::uint32_t block = 0, barrier = 0, clock = 0;
  std::uint16_t thread = 0;
  bool atomic = false, copying = false;  // copying: an asynchronous copy is on its way
  const void* code = nullptr;
};

constexpr std::size_t kGranule = 2;  // the smallest that threads may share out: a bf16
struct Cell {
  Access write, reads[2];
  std::uint32_t fences = 0;   // of its writer for the asynchronous proxy, before that write
  std::uint32_t landing = 0;  // the bulk copy's that wrote it; or 0
};

constexpr std::uint32_t kHost = 1;  // the "block" that copies write as

class Shadow {
 public:
  explicit Shadow(std::size_t bytes) : bytes_((bytes + kGranule) / kGranule * sizeof(Cell)) {
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    cells_ = static_cast<Cell*>(memory);  // zeros: pages cost nothing before they are touched
  }
  Shadow(const Shadow&) = delete;
  ~Shadow() { munmap(cells_, bytes_); }
  Cell& operator[](std::size_t offset) { return cells_[offset / kGranule]; }

 private:
  std::size_t bytes_;
  Cell* cells_;
};

struct Memory {
  Memory(std::size_t bytes, bool shared) : bytes(bytes), shared(shared), shadow(bytes) {}
  std::size_t bytes;
  bool shared;
  Shadow shadow;
};

bool g_instrumented = false;  // kernels with hooks are in this process
std::map<std::uintptr_t, Memory> g_memory;
std::uintptr_t g_dynamic = 0;
std::uint32_t g_block = kHost, g_launch = kHost, g_barrier = 0;
// clocks[t][l]: how much of lane l's doings thread t has been told of, since the last barrier.
std::array<std::array<std::uint32_t, kWarp>, 1024> g_clocks;
Traffic g_traffic;

// All that a block did before a barrier, and all that one thread of it did: what somebody else can know of.
struct Reach {
  std::uint32_t block, barrier;
  std::uint16_t thread;
  bool operator==(const Reach&) const = default;
};

void add(std::vector<Reach>& known, const std::vector<Reach>& more) {
  for (const Reach& reach : more)
    if (std::find(known.begin(), known.end(), reach) == known.end()) known.push_back(reach);
}

// What a thread knows of other blocks: `met` in atomic operations, and `known` since the fence that followed.
struct Knowledge {
  bool fenced = false;  // and wrote nothing since
  std::uint32_t barrier = 0;
  std::vector<Reach> met, known;
};
std::array<Knowledge, 1024> g_knowledge;
std::vector<Reach> g_known_to_all;                               // threads of the block
std::map<const volatile void*, std::vector<Reach>> g_published;  // by atomic operations on an address

// Fences for the asynchronous proxy that a thread of the block has passed, and those of them before the last barrier.
struct ProxyFences {
  std::uint32_t passed = 0, before_barrier = 0;
};
std::array<ProxyFences, 1024> g_proxy_fences;

// Landings of bulk copies since the start, and those that threads of the block know of.
std::uint32_t g_landings = 0;
std::array<std::vector<std::uint32_t>, 1024> g_known_landings;
std::set<std::uint32_t> g_landings_known_to_all;

bool knows(std::uint16_t thread, std::uint32_t landing) {
  const auto& own = g_known_landings[thread];
  return std::find(own.begin(), own.end(), landing) != own.end() || g_landings_known_to_all.contains(landing);
}

std::pair<const std::uintptr_t, Memory>* find(std::uintptr_t address) {
  auto next = g_memory.upper_bound(address);
  if (next == g_memory.begin()) return nullptr;
  auto& entry = *--next;
  return address < entry.first + entry.second.bytes ? &entry : nullptr;
}

// Static shared memory is what modules can write: kernels have no other global variables.
int add_module(dl_phdr_info* module, std::size_t, void*) {
  std::uintptr_t constant_end = 0;
  for (int i = 0; i < module->dlpi_phnum; ++i)
    if (module->dlpi_phdr[i].p_type == PT_GNU_RELRO)
      constant_end = module->dlpi_addr + module->dlpi_phdr[i].p_vaddr + module->dlpi_phdr[i].p_memsz;
  for (int i = 0; i < module->dlpi_phnum; ++i) {
    const auto& part = module->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || !(part.p_flags & PF_W)) continue;
    const std::uintptr_t begin = std::max(module->dlpi_addr + part.p_vaddr, constant_end);
    const std::uintptr_t end = module->dlpi_addr + part.p_vaddr + part.p_memsz;
    if (begin < end) g_memory.try_emplace(begin, end - begin, true);
  }
  return 0;
}

// "kernel at file:line" of an instruction, by addr2line, as this is only asked for in an error.
std::string place_of(const void* code) {
  Dl_info module;
  if (!code || dladdr(code, &module) == 0) return "unknown code";
  std::ostringstream command;
  const auto offset = static_cast<const char*>(code) - static_cast<const char*>(module.dli_fbase) - 1;
  command << "addr2line -Cfpse '" << module.dli_fname << "' 0x" << std::hex << offset << " 2>/dev/null";
  std::string text;
  if (FILE* pipe = popen(command.str().c_str(), "r")) {
    for (int c; (c = std::fgetc(pipe)) != EOF && c != '\n';) text += static_cast<char>(c);
    pclose(pipe);
  }
  return text.empty() ? "unknown code" : text;
}

std::string describe(const Access& access) {
  std::ostringstream text;
  text << "thread " << access.thread << " of block " << access.block - g_launch << " of the launch, in "
       << place_of(access.code);
  return text.str();
}

bool same_warp(const Access& a, const Access& b) { return a.thread / kWarp == b.thread / kWarp; }

// Does `before` surely come before what thread `now.thread` does now?
bool ordered(const Access& before, const Access& now) {
  if (before.block < g_launch) return true;
  if (before.block != now.block) {
    const auto covers = [&](const Reach& reach) {
      return reach.block == before.block && (before.barrier < reach.barrier || before.thread == reach.thread);
    };
    const auto& known = g_knowledge[now.thread].known;
    return std::any_of(known.begin(), known.end(), covers) ||
           std::any_of(g_known_to_all.begin(), g_known_to_all.end(), covers);
  }
  if (before.thread == now.thread || before.barrier != now.barrier) return true;
  return same_warp(before, now) && before.clock < g_clocks[now.thread][before.thread % kWarp];
}

void fail(const char* what, const char* kind, bool shared, const Access& now, const Access* before) {
  std::ostringstream text;
  text << what << (shared ? " shared" : " device") << " memory: " << kind << " by " << describe(now);
  if (before) text << "; and by " << describe(*before);
  abandon(text.str());
}

// Keeps two readers, of different warps where there are: whoever writes later is in one of them at most.
void remember_read(Cell& cell, const Access& now) {
  Access &a = cell.reads[0], &b = cell.reads[1];
  if (a.block != now.block || a.barrier != now.barrier || a.thread == now.thread)
    a = now;
  else if (b.block != now.block || b.barrier != now.barrier || b.thread == now.thread || same_warp(a, b))
    b = now;
}

enum class Kind { read, async_read, write, atomic, copy_begins, copy_lands, bulk_begins, bulk_lands };

bool begins(Kind kind) { return kind == Kind::copy_begins || kind == Kind::bulk_begins; }

void touch(const volatile void* pointer, std::size_t bytes, Kind kind, const void* code, std::uint32_t landing = 0) {
  if (!inside()) return;
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  const auto own = reinterpret_cast<std::uintptr_t>(&current);
  if (address >= own && address < own + sizeof current) return;  // threadIdx and its like
  auto* entry = find(address);
  if (!entry) return;  // a stack, or a constant
  Memory& memory = entry->second;
  const bool writes = kind != Kind::read && kind != Kind::async_read, atomic = kind == Kind::atomic;
  if (!writes)
    (memory.shared ? g_traffic.shared_read : g_traffic.device_read) += bytes;
  else if (!begins(kind))
    (memory.shared ? g_traffic.shared_written : g_traffic.device_written) += bytes;

  const char* done = writes ? "written" : "read";
  const auto thread = static_cast<std::uint16_t>(thread_index());
  const Access now{g_block, g_barrier, g_clocks[thread][thread % kWarp], thread, atomic, begins(kind), code};
  if (writes && !atomic && !memory.shared) g_knowledge[thread].fenced = false;
  const std::size_t begin = address - entry->first, end = std::min(begin + bytes, memory.bytes);
  for (std::size_t offset = begin / kGranule * kGranule; offset < end; offset += kGranule) {
    Cell& cell = memory.shadow[offset];
    if (memory.shared && cell.write.block != g_block) cell = {};  // of another block
    if ((!writes || atomic) && cell.write.block == 0) fail("nobody wrote this", "read", memory.shared, now, nullptr);
    if (cell.write.copying && kind != Kind::bulk_lands && !(kind == Kind::copy_lands && cell.write.thread == thread))
      fail("a copy is under way to this", done, memory.shared, now, &cell.write);
    if (kind != Kind::bulk_lands && !(cell.write.atomic && atomic) &&
        !(cell.landing != 0 ? knows(thread, cell.landing) : ordered(cell.write, now)))
      fail("a race in", done, memory.shared, now, &cell.write);
    if (writes && kind != Kind::bulk_lands)
      for (const Access& read : cell.reads)
        if (!(read.atomic && atomic) && !ordered(read, now)) fail("a race in", done, memory.shared, now, &read);
    if ((kind == Kind::async_read || kind == Kind::bulk_begins) && memory.shared && cell.write.block == g_block &&
        cell.landing == 0) {
      const ProxyFences& fences = g_proxy_fences[cell.write.thread];
      if ((cell.write.thread == thread ? fences.passed : fences.before_barrier) <= cell.fences)
        fail("no fence_async_proxy() came after this was written to", done, memory.shared, now, &cell.write);
    }
    if (writes)
      cell.write = now, cell.fences = g_proxy_fences[thread].passed, cell.landing = landing;
    else
      remember_read(cell, now);
  }
}

}  // namespace

Traffic traffic() { return g_traffic; }
void reset_traffic() { g_traffic = {}; }

void touch_read(const void* address, std::size_t bytes, const void* code) {
  if (g_instrumented) touch(address, bytes, Kind::read, code);
}

void touch_async_read(const void* address, std::size_t bytes, const void* code) {
  if (g_instrumented) touch(address, bytes, Kind::async_read, code);
}

void touch_write(const void* address, std::size_t bytes, const void* code) {
  if (g_instrumented) touch(address, bytes, Kind::write, code);
}

std::uint32_t next_landing() { return ++g_landings; }

void touch_bulk_begins(const void* address, std::size_t bytes, const void* code) {
  if (g_instrumented) touch(address, bytes, Kind::bulk_begins, code);
}

void touch_bulk_lands(const void* address, std::size_t bytes, const void* code, std::uint32_t landing) {
  if (g_instrumented) touch(address, bytes, Kind::bulk_lands, code, landing);
}

void knows_landing(std::uint32_t landing) { g_known_landings[thread_index()].push_back(landing); }

void touch_copy_begins(const void* address, std::size_t bytes, const void* code) {
  if (g_instrumented) touch(address, bytes, Kind::copy_begins, code);
}

void touch_copy_lands(const void* address, std::size_t bytes, const void* code) {
  if (g_instrumented) touch(address, bytes, Kind::copy_lands, code);
}

void touch_atomic(const volatile void* address, std::size_t bytes) {
  if (!g_instrumented) return;
  touch(address, bytes, Kind::atomic, __builtin_return_address(0));
  if (!inside()) return;
  Knowledge& own = g_knowledge[thread_index()];
  auto& published = g_published[address];
  add(own.met, published);
  if (!own.fenced) return;
  add(published, {{g_block, own.barrier, static_cast<std::uint16_t>(thread_index())}});
  add(published, own.known);
  add(published, g_known_to_all);
}

void passed_fence() {
  if (!g_instrumented || !inside()) return;
  Knowledge& own = g_knowledge[thread_index()];
  own.fenced = true;
  own.barrier = g_barrier;
  add(own.known, std::exchange(own.met, {}));
}

void passed_proxy_fence() {
  if (inside()) ++g_proxy_fences[thread_index()].passed;
}

void track(void* memory, std::size_t bytes) {
  if (g_instrumented && bytes > 0) g_memory.try_emplace(reinterpret_cast<std::uintptr_t>(memory), bytes, false);
}

void untrack(void* memory) { g_memory.erase(reinterpret_cast<std::uintptr_t>(memory)); }

void mark_written(void* memory, std::size_t bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  auto* entry = g_instrumented ? find(address) : nullptr;
  if (!entry) return;
  const std::size_t begin = address - entry->first, end = std::min(begin + bytes, entry->second.bytes);
  for (std::size_t offset = begin; offset < end; offset += kGranule)
    entry->second.shadow[offset] = {{.block = kHost}, {}};
}

void check_written(const void* memory, std::size_t bytes, const char* reader) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  auto* entry = g_instrumented ? find(address) : nullptr;
  if (!entry) return;
  const std::size_t begin = address - entry->first, end = std::min(begin + bytes, entry->second.bytes);
  for (std::size_t offset = begin; offset < end; offset += kGranule)
    if (entry->second.shadow[offset].write.block == 0)
      throw Error("nobody wrote this device memory: read by " + std::string(reader) + ", byte " +
                  std::to_string(offset - begin) + " of " + std::to_string(bytes));
}

void launch_begins() {
  if (g_instrumented) dl_iterate_phdr(add_module, nullptr);
  g_launch = g_block + 1;
  g_published.clear();
}

void block_begins(const void* dynamic_shared, std::size_t bytes) {
  ++g_block;
  g_barrier = 0;
  if (!g_instrumented) return;
  for (std::size_t t = 0; t < current.block_size.size(); ++t) {
    g_clocks[t].fill(1);
    g_clocks[t][t % kWarp] = 2;  // not yet told to anybody
    g_knowledge[t] = {};
    g_proxy_fences[t] = {};
    g_known_landings[t].clear();
  }
  g_known_to_all.clear();
  g_landings_known_to_all.clear();
  const auto address = reinterpret_cast<std::uintptr_t>(dynamic_shared);
  const auto old = g_memory.find(g_dynamic);
  if (g_dynamic == address && old != g_memory.end() && old->second.bytes == bytes) return;
  if (old != g_memory.end()) g_memory.erase(old);
  g_dynamic = bytes > 0 ? address : 0;
  if (g_dynamic) g_memory.try_emplace(g_dynamic, bytes, true);
}

void block_passed_barrier() {
  ++g_barrier;
  if (!g_instrumented) return;
  for (std::size_t t = 0; t < current.block_size.size(); ++t) {
    add(g_known_to_all, std::exchange(g_knowledge[t].known, {}));
    g_proxy_fences[t].before_barrier = g_proxy_fences[t].passed;
    g_landings_known_to_all.insert(g_known_landings[t].begin(), g_known_landings[t].end());
    g_known_landings[t].clear();
  }
}

// Each lane that came now knows all that any of them knew, and goes on at a later time of its own.
void lanes_met(std::size_t first, unsigned mask) {
  if (!g_instrumented) return;
  std::array<std::uint32_t, kWarp> known{};
  for (unsigned i = 0; i < kWarp; ++i)
    if (mask >> i & 1)
      for (unsigned l = 0; l < kWarp; ++l) known[l] = std::max(known[l], g_clocks[first + i][l]);
  for (unsigned i = 0; i < kWarp; ++i)
    if (mask >> i & 1) known[i] = g_clocks[first + i][i] + 1;
  for (unsigned i = 0; i < kWarp; ++i)
    if (mask >> i & 1) g_clocks[first + i] = known;
  for (unsigned i = 0; i < kWarp; ++i)
    if (mask >> i & 1) ++g_clocks[first + i][i];
}

}  // namespace simt

// What g++ -fsanitize=thread calls, as its sources and LLVM's tsan_interface.h list it.
#define STAMP_HOOK extern "C" __attribute__((visibility("default")))
#define STAMP_HOOKS(bytes)                                                 \
  STAMP_HOOK void __tsan_read##bytes(void* p) {                            \
    simt::touch(p, bytes, simt::Kind::read, __builtin_return_address(0));  \
  }                                                                        \
  STAMP_HOOK void __tsan_write##bytes(void* p) {                           \
    simt::touch(p, bytes, simt::Kind::write, __builtin_return_address(0)); \
  }                                                                        \
  STAMP_HOOK void __tsan_unaligned_read##bytes(void* p) {                  \
    simt::touch(p, bytes, simt::Kind::read, __builtin_return_address(0));  \
  }                                                                        \
  STAMP_HOOK void __tsan_unaligned_write##bytes(void* p) {                 \
    simt::touch(p, bytes, simt::Kind::write, __builtin_return_address(0)); \
  }
STAMP_HOOKS(1)
STAMP_HOOKS(2)
STAMP_HOOKS(4)
STAMP_HOOKS(8)
STAMP_HOOKS(16)
#undef STAMP_HOOKS

STAMP_HOOK void __tsan_read_range(void* p, long bytes) {
  simt::touch(p, static_cast<std::size_t>(bytes), simt::Kind::read, __builtin_return_address(0));
}
STAMP_HOOK void __tsan_write_range(void* p, long bytes) {
  simt::touch(p, static_cast<std::size_t>(bytes), simt::Kind::write, __builtin_return_address(0));
}
STAMP_HOOK void __tsan_init() { simt::g_instrumented = true; }
STAMP_HOOK void __tsan_func_entry(void*) {}
STAMP_HOOK void __tsan_func_exit(void*) {}
STAMP_HOOK void __tsan_vptr_update(void*, void*) {}
STAMP_HOOK void __tsan_vptr_read(void*) {}
