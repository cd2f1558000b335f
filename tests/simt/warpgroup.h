// Stands in for kernels/cuda/native/warpgroup.h. A product is made when it is issued; its sums are NaN from then until
// they are waited for, and what it reads must not change meanwhile. All four warps must have issued the same when they
// meet at a barrier or end. Not seen: registers that change between warpgroup_arrive and a product, or of a while it is
// under way; and what a thread does without a barrier to shared memory that it alone reads here, while on a device the
// others do, too.
#pragma once

#include <cstdint>

#include "tests/simt/ptx.h"

bool has_warpgroups();

void fence_async_proxy();

std::uint64_t shared_matrix(const void* first, unsigned along_k, unsigned along_rows,
                            simt::Where where = simt::Where::current());

void warpgroup_arrive(simt::Where where = simt::Where::current());
void warpgroup_commit(simt::Where where = simt::Where::current());

namespace simt {

void wait_for_products(const float* sums, std::size_t count, Where where);

// d[64,8n] of four warps, of which this lane has `sums`: 4n of them. A: its registers, or null where `left` names it.
void warpgroup_product(float* sums, unsigned n, const std::uint32_t* a, std::uint64_t left, std::uint64_t right,
                       bool add, bool transposed, Where where, const void* code);

}  // namespace simt

template <int m, int n>
void warpgroup_wait(float (&d)[m][n][4], simt::Where where = simt::Where::current()) {
  simt::wait_for_products(&d[0][0][0], std::size_t{m} * n * 4, where);
}

template <int m, int n, class Register>
void hold(Register (&)[m][n][4]) {}

template <int n>
__attribute__((noinline)) void warpgroup_multiply(float (&d)[n][4], std::uint64_t left, std::uint64_t right, bool add,
                                                  simt::Where where = simt::Where::current()) {
  simt::warpgroup_product(&d[0][0], n, nullptr, left, right, add, false, where, __builtin_return_address(0));
}

template <int n>
__attribute__((noinline)) void warpgroup_multiply(float (&d)[n][4], const std::uint32_t (&a)[4], std::uint64_t right,
                                                  bool add, simt::Where where = simt::Where::current()) {
  simt::warpgroup_product(&d[0][0], n, a, 0, right, add, false, where, __builtin_return_address(0));
}

template <int n>
__attribute__((noinline)) void warpgroup_add(float (&d)[n][4], const std::uint32_t (&a)[4], std::uint64_t right,
                                             simt::Where where = simt::Where::current()) {
  simt::warpgroup_product(&d[0][0], n, a, 0, right, true, true, where, __builtin_return_address(0));
}
