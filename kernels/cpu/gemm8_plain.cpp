// Both kinds of instructions in plain code: for machines that have none of them, and for tests of what they do.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/gemm8.inl"

namespace stamp::cpu {
namespace {

template <Index lanes>
struct Plain {
  struct Sums {
    std::int32_t values[lanes];
  };
  struct Bytes {
    std::uint8_t values[lanes * Gemm8::kGroup];
  };
  static constexpr Index kLanes = lanes;
  static Bytes load(const void* p) {
    Bytes bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    return bytes;
  }
  static Bytes broadcast(const void* p) {
    Bytes bytes;
    for (Index i = 0; i < lanes; ++i) std::memcpy(bytes.values + i * Gemm8::kGroup, p, Gemm8::kGroup);
    return bytes;
  }
  static void store(void* p, const Sums& sums) { std::memcpy(p, &sums, sizeof sums); }

  static std::int32_t product(const Bytes& u, const Bytes& s, Index i) {
    return u.values[i] * static_cast<std::int8_t>(s.values[i]);
  }
};

// vpdpbusd of 64 bytes.
struct Fours : Plain<16> {
  static constexpr Index kRows = 6, kVectors = 4;
  static Sums add(Sums sums, const Bytes& u, const Bytes& s) {
    for (Index i = 0; i < kLanes; ++i)
      for (Index j = 4 * i; j < 4 * i + 4; ++j) sums.values[i] += product(u, s, j);
    return sums;
  }
};

// vpmaddubsw, which saturates, and vpmaddwd of 32 bytes.
struct Pairs : Plain<8> {
  static constexpr Index kRows = 4, kVectors = 2;
  static Sums add(Sums sums, const Bytes& u, const Bytes& s) {
    for (Index i = 0; i < kLanes; ++i)
      for (Index j = 4 * i; j < 4 * i + 4; j += 2)
        sums.values[i] += std::clamp(product(u, s, j) + product(u, s, j + 1), -32768, 32767);
    return sums;
  }
};

}  // namespace

const Gemm8 kGemm8Plain = {kAnyByte, false, multiply8<Fours>};
const Gemm8 kGemm8PlainPairs = {kNoSaturation, false, multiply8<Pairs>};

}  // namespace stamp::cpu
