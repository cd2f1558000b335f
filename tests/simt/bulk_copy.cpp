// Out of the header, as ptx.cpp is.
#include <bulk_copy.h>

#include <map>
#include <vector>

#include "tests/simt/races.h"

namespace simt {
namespace {

struct Copy {
  std::byte* to;
  std::vector<std::byte> value;
  const void* code;
};

struct Phases {
  std::uint32_t over = 0;  // that have ended
  bool announced = false;  // the one under way, of so many bytes
  std::uint64_t expected = 0, copied = 0;
  std::vector<Copy> copies;
  std::uint32_t landing[2] = {};  // the last of even and odd phases, by races.h
};
std::uint64_t g_block = 0;
std::map<const Arrival*, Phases> g_arrivals;  // of that block

Phases& phases_of(const Place& where, const Arrival* arrival, const void* code) {
  if (g_block != blocks || !g_arrivals.contains(arrival)) sin(where, "no begin_arrivals() of this block came before");
  touch_read(arrival, sizeof *arrival, code);
  return g_arrivals[arrival];
}

// Ends the phase under way if all of its bytes are on their way.
bool land(Phases& phases) {
  if (!phases.announced || phases.copied != phases.expected) return false;
  const std::uint32_t landing = next_landing();
  for (const Copy& copy : phases.copies) {
    touch_bulk_lands(copy.to, copy.value.size(), copy.code, landing);
    std::copy(copy.value.begin(), copy.value.end(), copy.to);
  }
  phases.landing[phases.over % 2] = landing;
  ++phases.over;
  phases.announced = false;
  phases.expected = phases.copied = 0;
  phases.copies.clear();
  return true;
}

}  // namespace
}  // namespace simt

bool has_bulk_copies() { return simt::capability() >= 90; }

void begin_arrivals(Arrival* arrival, simt::Where where) {
  if (simt::g_block != simt::blocks) simt::g_arrivals.clear();
  simt::g_block = simt::blocks;
  if (!simt::g_arrivals.try_emplace(arrival).second)
    simt::sin(simt::place("begin_arrivals", where), "it has begun before");
  simt::touch_write(arrival, sizeof *arrival, __builtin_return_address(0));
}

void expect_bytes(Arrival* arrival, std::uint32_t bytes, simt::Where where) {
  const simt::Place at = simt::place("expect_bytes", where);
  simt::Phases& phases = simt::phases_of(at, arrival, __builtin_return_address(0));
  if (phases.announced) simt::sin(at, "the phase before is not over");
  phases.announced = true;
  phases.expected = bytes;
}

void copy_bulk(void* shared, const void* global, std::uint32_t bytes, Arrival* arrival, simt::Where where) {
  const simt::Place at = simt::place("copy_bulk", where);
  const void* code = __builtin_return_address(0);
  simt::Phases& phases = simt::phases_of(at, arrival, code);
  const auto* from = static_cast<const std::byte*>(global);
  auto* to = static_cast<std::byte*>(shared);
  if (reinterpret_cast<std::uintptr_t>(to) % 16 != 0 || reinterpret_cast<std::uintptr_t>(from) % 16 != 0)
    simt::sin(at, "an address is not aligned to 16 bytes");
  if (bytes % 16 != 0) simt::sin(at, std::to_string(bytes) + " bytes are no multiple of 16");
  if (!simt::allocated(global, bytes)) simt::sin(at, std::to_string(bytes) + " bytes are not all of one allocation");
  const auto* first = static_cast<const std::byte*>(simt::dynamic_shared());
  if (to < first || to + bytes > first + simt::shared_bytes())
    simt::sin(at, "it reaches beyond the dynamic shared memory");
  simt::touch_read(global, bytes, code);
  simt::touch_bulk_begins(shared, bytes, code);
  phases.copies.push_back({to, {from, from + bytes}, code});
  phases.copied += bytes;
}

void await(Arrival* arrival, std::uint32_t parity, simt::Where where) {
  const simt::Place at = simt::place("await", where);
  simt::Phases& phases = simt::phases_of(at, arrival, __builtin_return_address(0));
  while (phases.over % 2 == parity && !simt::land(phases)) simt::poll(at);
  simt::knows_landing(phases.landing[parity]);
}
