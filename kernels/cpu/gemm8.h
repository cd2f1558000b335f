// Integer products of 8-bit rows, which the scan of the catalog is made of. Several instruction sets compute them, each
// over three primitives that gemm8.inl is written in; all give the same integers.
#pragma once

#include <cstdint>

namespace stamp::cpu {

using Index = std::int64_t;

struct Gemm8 {
  static constexpr Index kPanel = 64;  // products side by side
  static constexpr Index kGroup = 4;   // dimensions of a product side by side

  std::int32_t largest;  // magnitude of the values of `a`, so that nothing on the way saturates
  bool in_hardware;      // at several times the speed of products in single precision; else slower
  // c[M, kPanel] = a b for M rows of groups * kGroup values, at i*a_row, and a panel b[groups][kPanel][kGroup]; c[i,j]
  // stands at i*c_row + j.
  void (*multiply)(Index M, Index groups, const std::int8_t* a, Index a_row, const std::uint8_t* b, std::int32_t* c,
                   Index c_row);
};

constexpr std::int32_t kAnyByte = 127;      // vpdpbusd adds four products to 32 bits
constexpr std::int32_t kNoSaturation = 64;  // vpmaddubsw adds two to 16 bits: 2 · 255 · 64 < 2^15

const Gemm8& gemm8();  // of this machine

extern const Gemm8 kGemm8Plain, kGemm8PlainPairs;  // run anywhere
extern const Gemm8 kGemm8Avx2, kGemm8AvxVnni, kGemm8Avx512, kGemm8Avx512Vnni;

}  // namespace stamp::cpu
