// Stands in for kernels/cuda/native/ptx.h: the same functions, by exchange between fibers. Each also notes its caller.
#pragma once

#include <cstdint>
#include <source_location>

#include "tests/simt/block.h"

namespace simt {
using Where = std::source_location;
inline Place place(const char* what, const Where& where) {
  return {what, where.file_name(), static_cast<int>(where.line())};
}
}  // namespace simt

inline void* dynamic_shared() { return simt::dynamic_shared(); }

void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                  simt::Where where = simt::Where::current());

void mma_m16n8k8(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                 simt::Where where = simt::Where::current());

void load_matrices(std::uint32_t (&r)[4], const void* row, simt::Where where = simt::Where::current());
void load_matrices_transposed(std::uint32_t (&r)[4], const void* row, simt::Where where = simt::Where::current());

void copy_async(void* shared, const void* global, simt::Where where = simt::Where::current());
void copy_async(void* shared, const void* global, bool present, simt::Where where = simt::Where::current());
inline void copy_async_commit() { simt::commit_copies(); }
template <int pending>
void copy_async_wait() {
  simt::land_copies(pending);
}

void prefetch_bulk(const void* global, std::size_t bytes, simt::Where where = simt::Where::current());

float exp2_approx(float x);
float max_or_nan(float x, float y);
float sqrt_approx(float x);
float divide_approx(float x, float y);
std::uint32_t pack_bf16(float low, float high);
std::uint32_t round_tf32(float x);
