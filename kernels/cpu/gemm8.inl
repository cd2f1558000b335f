// The loops behind gemm8.h, over the primitives P of an instruction set:
//
//   Sums, kLanes     a register of so many 32-bit sums
//   Bytes            a register of kLanes groups of 4 bytes
//   kRows, kVectors  a tile of sums; with its operands it fits the registers
//   load(p)          Bytes of unsigned values
//   broadcast(p)     Bytes of 4 signed values in every group
//   add(sums, u, s)  sums + the 4 products of each group
//   store(p, sums)
#include "kernels/cpu/gemm8.h"

namespace stamp::cpu {
namespace {

template <class P, Index kRows, Index kVectors>
inline void tile8(Index groups, const std::int8_t* a, Index a_row, const std::uint8_t* b, std::int32_t* c,
                  Index c_row) {
  constexpr Index kLine = Gemm8::kPanel * Gemm8::kGroup, kStep = P::kLanes * Gemm8::kGroup;
  typename P::Sums sums[kRows][kVectors] = {};
  for (Index g = 0; g < groups; ++g) {
    typename P::Bytes line[kVectors];
#pragma GCC unroll 8
    for (Index j = 0; j < kVectors; ++j) line[j] = P::load(b + g * kLine + j * kStep);
#pragma GCC unroll 8
    for (Index i = 0; i < kRows; ++i) {
      const typename P::Bytes factor = P::broadcast(a + i * a_row + g * Gemm8::kGroup);
#pragma GCC unroll 8
      for (Index j = 0; j < kVectors; ++j) sums[i][j] = P::add(sums[i][j], line[j], factor);
    }
  }
#pragma GCC unroll 8
  for (Index i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (Index j = 0; j < kVectors; ++j) P::store(c + i * c_row + j * P::kLanes, sums[i][j]);
}

template <class P, Index kRows, Index kVectors>
void rows8(Index groups, const std::int8_t* a, Index a_row, const std::uint8_t* b, std::int32_t* c, Index c_row) {
  constexpr Index kLanes = P::kLanes;
  for (Index j = 0; j < Gemm8::kPanel; j += kVectors * kLanes)
    tile8<P, kRows, kVectors>(groups, a, a_row, b + j * Gemm8::kGroup, c + j, c_row);
}

template <class P>
void multiply8(Index M, Index groups, const std::int8_t* a, Index a_row, const std::uint8_t* b, std::int32_t* c,
               Index c_row) {
  constexpr Index kRows = P::kRows, kVectors = P::kVectors;
  constexpr Index kPanelVectors = Gemm8::kPanel / P::kLanes;
  Index i = 0;
  for (; i + kRows <= M; i += kRows) rows8<P, kRows, kVectors>(groups, a + i * a_row, a_row, b, c + i * c_row, c_row);
  for (; i + 2 <= M; i += 2) rows8<P, 2, kVectors>(groups, a + i * a_row, a_row, b, c + i * c_row, c_row);
  if (i < M) rows8<P, 1, kPanelVectors>(groups, a + i * a_row, a_row, b, c + i * c_row, c_row);
}

}  // namespace
}  // namespace stamp::cpu
