// The bodies behind bf16.h.
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/gemm.inl"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace stamp::cpu {
namespace {

constexpr std::int32_t kHigh = static_cast<std::int32_t>(0xffff0000);

// vdpbf16ps: sum + high a · high b, then + low a · low b, each rounded once, to nearest; denormal operands and results
// are 0, whatever the control register says.
#if defined(__AVX512BF16__)

inline Vec add_products(Vec sum, IntVec a, IntVec b) {
  return reinterpret_cast<Vec>(
      _mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)));
}

class FlushDenormals {};
constexpr bool kInHardware = true;

#elif defined(__AVX2__)

// Fused by name: what the compiler fuses of its own accord depends on how it optimizes.
inline Vec add_products(Vec sum, IntVec a, IntVec b) {
  const auto add = [](__m256 to, IntVec x, IntVec y) {
    return _mm256_fmadd_ps(reinterpret_cast<__m256>(x), reinterpret_cast<__m256>(y), to);
  };
  const __m256 added = add(reinterpret_cast<__m256>(sum), a & kHigh, b & kHigh);
  return reinterpret_cast<Vec>(add(added, a << 16, b << 16));
}

class FlushDenormals {  // while it lives
 public:
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
};
constexpr bool kInHardware = false;

#else

inline float as_float(std::int32_t bits) { return __builtin_bit_cast(float, bits); }
inline float flushed(float x) { return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0, x) : x; }

// sum + a·b rounded once: in double the product is exact, and so is the sum, or it is so near to the larger of both
// that rounding it twice is rounding it once.
inline float add_product(float sum, float a, float b) {
  const double total = flushed(sum) + static_cast<double>(flushed(a)) * flushed(b);
  // What rounds to less than the least normal number, as if exponents had no end, is 0.
  const bool tiny = __builtin_fabs(total) < 0x1p-126 - 0x1p-151;
  return static_cast<float>(tiny ? __builtin_copysign(0, total) : total);
}

inline Vec add_products(Vec sum, IntVec a, IntVec b) {
  for (Index i = 0; i < kLanes; ++i)
    sum[i] = add_product(add_product(sum[i], as_float(a[i] & kHigh), as_float(b[i] & kHigh)), as_float(a[i] << 16),
                         as_float(b[i] << 16));
  return sum;
}

class FlushDenormals {};
constexpr bool kInHardware = false;

#endif

struct Pairs {
  using Element = Bf16Pair;
  using Line = IntVec;
  static IntVec line(const Bf16Pair* b) { return load(b); }
  static IntVec factor(Bf16Pair a) { return broadcast(a); }
  static Vec multiply_add(Vec sum, IntVec factor, IntVec line) { return add_products(sum, factor, line); }
};

// Not inlined: arithmetic must not move out of the stretch where denormals are flushed.
__attribute__((noinline)) void gemm_flushing(Index M, Index N, Index K, const Bf16Pair* a, Index a_row, Index a_col,
                                             const Bf16Pair* b, Index b_row, float* c, Index c_row, bool accumulate) {
  blocked_gemm<Pairs>(M, N, K, a, a_row, a_col, b, b_row, c, c_row, accumulate);
}

void gemm(Index M, Index N, Index K, const Bf16Pair* a, Index a_row, Index a_col, const Bf16Pair* b, Index b_row,
          float* c, Index c_row, bool accumulate) {
  [[maybe_unused]] const FlushDenormals flush;
  gemm_flushing(M, N, K, a, a_row, a_col, b, b_row, c, c_row, accumulate);
}

// Each rounded to bf16, in the upper half of its place.
inline IntVec rounded(Vec x) {
  typedef std::uint32_t Bits __attribute__((vector_size(STAMP_VECTOR_BYTES)));
  const Bits bits = reinterpret_cast<Bits>(x), magnitude = bits & 0x7fffffff;
  const Bits nearest = bits + 0x7fff + (bits >> 16 & 1);
  const Bits number = magnitude > 0x7f800000 ? bits | 0x400000 : nearest;  // NaN stays one
  return reinterpret_cast<IntVec>(magnitude < 0x00800000 ? bits & 0x80000000 : number) & kHigh;
}

void pair_columns(Index n, const float* x, Bf16Pair* out) {
  typedef std::int64_t LongVec __attribute__((vector_size(STAMP_VECTOR_BYTES)));
  typedef Bf16Pair HalfVec __attribute__((vector_size(STAMP_VECTOR_BYTES / 2)));
  typedef Bf16Pair UnalignedHalfVec __attribute__((vector_size(STAMP_VECTOR_BYTES / 2), aligned(4)));
  for_each_vector(n, [&](Index i, Index count) {
    const auto both = reinterpret_cast<LongVec>(rounded(load_n(x + i, count)));
    const auto pairs = __builtin_convertvector((both >> 16 & 0xffff) | (both >> 32 & kHigh), HalfVec);
    if (count == kLanes)
      *reinterpret_cast<UnalignedHalfVec*>(out + i / 2) = pairs;
    else
      for (Index j = 0; 2 * j < count; ++j) out[i / 2 + j] = pairs[j];
  });
}

void pair_rows(Index n, const float* first, float first_scale, const float* second, float second_scale, Bf16Pair* out) {
  for_each_vector(n, [&](Index i, Index count) {
    const IntVec low = rounded(load_n(first + i, count) * first_scale);
    const IntVec high = second ? rounded(load_n(second + i, count) * second_scale) : IntVec{};
    store_n(out + i, count, (low >> 16 & 0xffff) | high);
  });
}

void transpose(Index n, Index D, const float* in, Bf16Pair* out, Index width) {
  constexpr Index kBlock = 16;   // rows: their pairs of one line are 64 bytes
  constexpr Index kPairs = 128;  // of a row at once
  Bf16Pair pairs[kBlock][kPairs];
  for (Index d0 = 0; d0 < D; d0 += 2 * kPairs) {
    const Index d1 = D - d0 < 2 * kPairs ? D : d0 + 2 * kPairs, lines = (d1 - d0 + 1) / 2;
    Bf16Pair* to = out + d0 / 2 * width;
    for (Index i0 = 0; i0 < n; i0 += kBlock) {
      const Index rows = n - i0 < kBlock ? n - i0 : kBlock;
      for (Index i = 0; i < rows; ++i) pair_columns(d1 - d0, in + (i0 + i) * D + d0, pairs[i]);
      for (Index d = 0; d < lines; ++d)
        for (Index i = 0; i < rows; ++i) to[d * width + i0 + i] = pairs[i][d];
    }
    for (Index d = 0; d < lines; ++d)
      for (Index i = n; i < width; ++i) to[d * width + i] = 0;
  }
}

}  // namespace

const Bf16 STAMP_BF16_TABLE = {STAMP_BF16_NAME, kInHardware, gemm, pair_columns, pair_rows, transpose};

}  // namespace stamp::cpu
