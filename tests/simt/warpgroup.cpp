// Out of the header, as ptx.cpp is.
#include <cuda_bf16.h>
#include <warpgroup.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "tests/simt/races.h"

namespace simt {
namespace {

constexpr unsigned kGroup = 4 * kWarp, kDepth = 16, kPiece = 16;  // threads; of the sum; bytes of a core matrix's row

// Sums that are not to be read yet, and what the product reads meanwhile.
struct Product {
  float* sums;
  std::vector<float> values;
  int group;
};
struct Operand {
  const std::byte* address;
  std::array<std::byte, kPiece> value;
  int group;
  Place place;
};

struct Thread {
  std::uint64_t block = 0;
  bool arrived = false;  // and waited for nothing since
  int groups = 0;        // committed
  std::size_t issued = 0;
  std::vector<Product> products;
  std::vector<Operand> operands;
};
std::array<Thread, 1024> g_threads;

// What the first warp to come issued: the others must do the same.
struct Issue {
  std::uint64_t left, right;
  unsigned n;
  Place place;
};
struct Group {
  std::uint64_t block = 0;
  std::vector<Issue> issues;
};
std::array<Group, 1024 / kGroup> g_groups;

// Anew in every block.
template <class State>
State& of_this_block(State& state) {
  if (state.block != blocks) {
    state = {};
    state.block = blocks;
  }
  return state;
}
Thread& self() { return of_this_block(g_threads[thread_index()]); }

// That all lanes come here; which orders no memory.
void meet(const Place& where) {
  const std::byte nothing{};
  exchange(0xffffffff, where, &nothing, sizeof nothing);
}

// A descriptor's parts, in bytes; the matrix's first byte counts from that of the dynamic shared memory.
unsigned first_of(std::uint64_t matrix) { return static_cast<unsigned>(matrix & 0x3fff) << 4; }
unsigned along_k(std::uint64_t matrix) { return static_cast<unsigned>(matrix >> 16 & 0x3fff) << 4; }
unsigned along_rows(std::uint64_t matrix) { return static_cast<unsigned>(matrix >> 32 & 0x3fff) << 4; }

// Row `row` of the core matrix that is number k along the sum, and number `other` in the other direction.
const std::byte* piece(std::uint64_t matrix, unsigned k, unsigned other, unsigned row) {
  return static_cast<const std::byte*>(dynamic_shared()) + first_of(matrix) + k * along_k(matrix) +
         other * along_rows(matrix) + row * kPiece;
}

float element(const std::byte* piece, unsigned i) {
  __nv_bfloat16 value;
  std::memcpy(&value, piece + i * sizeof value, sizeof value);
  return __bfloat162float(value);
}

struct Slot {
  float* sums;
  std::uint64_t left, right;
  std::uint32_t a[4];
  unsigned n;
  bool add, transposed, from_registers;
};
static_assert(sizeof(Slot) <= kSlot);

Slot slot_of(const std::byte* slots, unsigned lane) {
  Slot slot;
  std::memcpy(&slot, slots + lane * kSlot, sizeof slot);
  return slot;
}

// This lane's share of what the product reads: of a its warp's 16 rows, of b what the group's 128 threads divide.
void read_operands(const Slot& own, const Place& where, const void* code) {
  const auto read = [&](const std::byte* address) {
    if (address + kPiece > static_cast<std::byte*>(dynamic_shared()) + shared_bytes())
      sin(where, "a matrix reaches beyond the dynamic shared memory");
    touch_async_read(address, kPiece, code);
    Operand& operand = self().operands.emplace_back(Operand{address, {}, self().groups, where});
    std::memcpy(operand.value.data(), address, kPiece);
  };
  const unsigned warp = static_cast<unsigned>(thread_index() % kGroup) / kWarp;
  if (!own.from_registers) read(piece(own.left, lane() / 16, 2 * warp + lane() / 8 % 2, lane() % 8));
  for (auto i = static_cast<unsigned>(thread_index() % kGroup); i < 2 * 8 * own.n; i += kGroup)
    read(piece(own.right, i / (8 * own.n), i / 8 % own.n, i % 8));
}

// The values of `sums`, which are under way or in its registers.
std::vector<float>& values_of(std::size_t thread, const Slot& slot) {
  Thread& own = g_threads[thread];
  const auto same = [&](const Product& product) { return product.sums == slot.sums; };
  auto product = std::find_if(own.products.begin(), own.products.end(), same);
  if (product == own.products.end()) {
    own.products.push_back({slot.sums, std::vector<float>(slot.sums, slot.sums + 4 * slot.n), 0});
    product = own.products.end() - 1;
  }
  product->group = own.groups;
  return product->values;
}

// A warp's 16 rows of the product, fragments placed as the tables in kernels/cuda/native/ptx.h say.
void multiply(std::byte* slots) {
  const std::size_t first = thread_index() / kWarp * kWarp;
  const unsigned warp = static_cast<unsigned>(first % kGroup / kWarp);
  const Slot any = slot_of(slots, 0);
  float a[16][kDepth];
  std::vector<std::array<float, kDepth>> b(8 * any.n);
  for (unsigned column = 0; column < 8 * any.n; ++column)
    for (unsigned k = 0; k < kDepth; ++k)
      b[column][k] = any.transposed ? element(piece(any.right, k / 8, column / 8, k % 8), column % 8)
                                    : element(piece(any.right, k / 8, column / 8, column % 8), k % 8);
  for (unsigned row = 0; row < 16; ++row)
    for (unsigned k = 0; k < kDepth; ++k) {
      if (!any.from_registers) {
        a[row][k] = element(piece(any.left, k / 8, 2 * warp + row / 8, row % 8), k % 8);
      } else {
        const std::uint32_t pair = slot_of(slots, row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2];
        a[row][k] = __bfloat162float(__nv_bfloat16{static_cast<unsigned short>(pair >> k % 2 * 16)});
      }
    }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    const Slot own = slot_of(slots, lane);
    std::vector<float>& values = values_of(first + lane, own);
    for (unsigned i = 0; i < 4 * own.n; ++i) {
      const unsigned row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      float sum = own.add ? values[i] : 0;
      for (unsigned k = 0; k < kDepth; ++k) sum += a[row][k] * b[column][k];
      values[i] = sum;
    }
    std::fill_n(own.sums, 4 * own.n, NAN);  // until somebody waits for them
  }
  flops.mma += std::uint64_t{2} * 16 * 8 * any.n * kDepth;
}

// That all lanes and all warps of the group issue the same products in the same order.
void check_agreement(const Slot& own, const Place& where) {
  Group& group = of_this_block(g_groups[thread_index() / kGroup]);
  const std::size_t at = self().issued++;
  if (at == group.issues.size()) group.issues.push_back({own.left, own.right, own.n, where});
  const Issue& first = group.issues[at];
  if (first.left != own.left || first.right != own.right || first.n != own.n || !(first.place == where))
    sin(where, "the warpgroup does not agree: another of its threads issued a product at " +
                   std::string(first.place.file) + ":" + std::to_string(first.place.line) + " instead, or of others");
}

}  // namespace

void warpgroup_product(float* sums, unsigned n, const std::uint32_t* a, std::uint64_t left, std::uint64_t right,
                       bool add, bool transposed, Where where, const void* code) {
  const Place at = place("a warpgroup's product", where);
  if ((thread_index() / kGroup + 1) * kGroup > current.block_size.size()) sin(at, "the block has no four warps for it");
  if (!self().arrived) sin(at, "no warpgroup_arrive() says that its registers are written");
  Slot own{sums, left, right, {}, n, add, transposed, a != nullptr};
  if (a) std::memcpy(own.a, a, sizeof own.a);
  check_agreement(own, at);
  read_operands(own, at, code);
  exchange(0xffffffff, at, &own, sizeof own, multiply);
}

void wait_for_products(const float* sums, std::size_t count, Where where) {
  const Place at = place("warpgroup_wait", where);
  Thread& own = self();
  own.arrived = false;
  meet(at);
  std::erase_if(own.operands, [&](const Operand& operand) {
    if (operand.group == own.groups) return false;
    if (std::memcmp(operand.address, operand.value.data(), kPiece) != 0)
      sin(operand.place, "what it reads was overwritten before warpgroup_wait");
    return true;
  });
  std::erase_if(own.products, [&](const Product& product) {
    if (product.group == own.groups) return false;  // in no group: nobody waits for it
    if (product.sums < sums || product.sums >= sums + count)
      sin(at, "sums of another product are under way, and not among those that are waited for");
    std::copy(product.values.begin(), product.values.end(), product.sums);
    return true;
  });
}

void check_warpgroups() {
  for (std::size_t thread = 0; thread < current.block_size.size(); ++thread) {
    const Group& group = g_groups[thread / kGroup];
    const Thread& own = g_threads[thread];
    if (group.block != blocks || (own.block == blocks && own.issued == group.issues.size())) continue;
    const Place& last = group.issues.back().place;
    throw Error("the warpgroup does not agree: thread " + std::to_string(thread) + " of the block issued " +
                std::to_string(own.block == blocks ? own.issued : 0) + " products, another " +
                std::to_string(group.issues.size()) + ", of which the last at " + std::string(last.file) + ":" +
                std::to_string(last.line));
  }
}

}  // namespace simt

bool has_warpgroups() { return simt::capability() == 90; }

void fence_async_proxy() { simt::passed_proxy_fence(); }

std::uint64_t shared_matrix(const void* first, unsigned along_k, unsigned along_rows, simt::Where where) {
  const auto offset = static_cast<const std::byte*>(first) - static_cast<const std::byte*>(simt::dynamic_shared());
  const simt::Place at = simt::place("shared_matrix", where);
  if (offset < 0 || static_cast<std::size_t>(offset) >= simt::shared_bytes())
    simt::sin(at, "the matrix is not in dynamic shared memory");
  if (offset % 16 != 0 || along_k % 16 != 0 || along_rows % 16 != 0)
    simt::sin(at, "the matrix, or the way to its next part, is not aligned to 16 bytes");
  return static_cast<std::uint64_t>(offset >> 4) | std::uint64_t{along_k >> 4} << 16 |
         std::uint64_t{along_rows >> 4} << 32;
}

void warpgroup_arrive(simt::Where where) {
  simt::self().arrived = true;
  simt::meet(simt::place("warpgroup_arrive", where));
}

void warpgroup_commit(simt::Where where) {
  ++simt::self().groups;
  simt::meet(simt::place("warpgroup_commit", where));
}
