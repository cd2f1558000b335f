// The blocked matrix product, over what a Product says of its operands:
//   Element                           what a and b hold, one for each k
//   Line, line(b)                     a vector of them, kLanes side by side
//   factor(a)                         one of them, in every lane
//   multiply_add(sum, factor, line)
#include "kernels/cpu/vector.inl"

namespace stamp::cpu {
namespace {

// kRows x kVectors accumulators live in registers: 24 of the 32 of AVX-512 (6 x 4), 12 of the 16 of AVX2 (6 x 2).
template <class Product, Index kRows, Index kVectors>
inline void micro_kernel(Index K, const typename Product::Element* a, Index a_row, Index a_col,
                         const typename Product::Element* b, Index b_row, float* c, Index c_row, bool accumulate) {
  Vec sum[kRows][kVectors];
#pragma GCC unroll 8
  for (Index i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (Index j = 0; j < kVectors; ++j) sum[i][j] = accumulate ? load(c + i * c_row + j * kLanes) : Vec{};
  for (Index k = 0; k < K; ++k) {
    typename Product::Line line[kVectors];
#pragma GCC unroll 8
    for (Index j = 0; j < kVectors; ++j) line[j] = Product::line(b + k * b_row + j * kLanes);
#pragma GCC unroll 8
    for (Index i = 0; i < kRows; ++i) {
      const auto factor = Product::factor(a[i * a_row + k * a_col]);
#pragma GCC unroll 8
      for (Index j = 0; j < kVectors; ++j) sum[i][j] = Product::multiply_add(sum[i][j], factor, line[j]);
    }
  }
#pragma GCC unroll 8
  for (Index i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (Index j = 0; j < kVectors; ++j) store(c + i * c_row + j * kLanes, sum[i][j]);
}

#if defined(__AVX512F__)
constexpr Index kMaxVectors = 4, kMaxRows = 6;
#else
constexpr Index kMaxVectors = 2, kMaxRows = 6;
#endif

template <class Product, Index kVectors>
void gemm_panel(Index M, Index K, const typename Product::Element* a, Index a_row, Index a_col,
                const typename Product::Element* b, Index b_row, float* c, Index c_row, bool accumulate) {
  constexpr Index kRows = kVectors >= kMaxVectors - 1 && kVectors > 1 ? kMaxRows : 8;
  Index i = 0;
  for (; i + kRows <= M; i += kRows)
    micro_kernel<Product, kRows, kVectors>(K, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, accumulate);
  for (; i + 4 <= M; i += 4)
    micro_kernel<Product, 4, kVectors>(K, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, accumulate);
  for (; i < M; ++i)
    micro_kernel<Product, 1, kVectors>(K, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, accumulate);
}

constexpr Index kDepth = 128;  // lines of b used at once: 128 x 64 floats stay in the first-level cache
constexpr Index kRowsAtOnce = 64;

// Copies n columns, of which the last vector is a part; the rest of it is zeros in `to` where that is whole.
template <Index kVectors, class T>
inline void copy_in(Index n, const T* from, T* to) {
  constexpr Index kWhole = (kVectors - 1) * kLanes;
  for (Index j = 0; j < kWhole; j += kLanes) store(to + j, load(from + j));
  store(to + kWhole, load_part(from + kWhole, n - kWhole, T{}));
}
template <Index kVectors>
inline void copy_out(Index n, const float* from, float* to) {
  constexpr Index kWhole = (kVectors - 1) * kLanes;
  for (Index j = 0; j < kWhole; j += kLanes) store(to + j, load(from + j));
  store_part(to + kWhole, n - kWhole, load(from + kWhole));
}

// n columns, no whole number of vectors, from lines of b that are: c passes through `block`.
template <class Product, Index kVectors>
void gemm_part(Index M, Index n, Index K, const typename Product::Element* a, Index a_row, Index a_col,
               const typename Product::Element* b, Index b_row, float* c, Index c_row, bool accumulate) {
  constexpr Index kWidth = kVectors * kLanes;
  alignas(64) float block[kRowsAtOnce * kWidth];
  for (Index i = 0; i < M; i += kRowsAtOnce) {
    const Index rows = M - i < kRowsAtOnce ? M - i : kRowsAtOnce;
    for (Index r = 0; r < rows && accumulate; ++r) copy_in<kVectors>(n, c + (i + r) * c_row, block + r * kWidth);
    gemm_panel<Product, kVectors>(rows, K, a + i * a_row, a_row, a_col, b, b_row, block, kWidth, accumulate);
    for (Index r = 0; r < rows; ++r) copy_out<kVectors>(n, block + r * kWidth, c + (i + r) * c_row);
  }
}

// Lines of b as long as they come.
template <class Product, Index kVectors>
void gemm_tail(Index M, Index n, Index K, const typename Product::Element* a, Index a_row, Index a_col,
               const typename Product::Element* b, Index b_row, float* c, Index c_row, bool accumulate) {
  constexpr Index kWidth = kVectors * kLanes;
  alignas(64) typename Product::Element lines[kDepth * kWidth];
  for (Index k = 0; k < K; ++k) copy_in<kVectors>(n, b + k * b_row, lines + k * kWidth);
  gemm_part<Product, kVectors>(M, n, K, a, a_row, a_col, lines, kWidth, c, c_row, accumulate);
}

template <Index value>
struct Vectors {
  static constexpr Index kVectors = value;
};

// Calls use(Vectors<v>) for the v vectors that hold n columns, kMost at most.
template <Index kMost = kMaxVectors, class Use>
inline void with_vectors(Index n, Use&& use) {
  if constexpr (kMost == 1)
    use(Vectors<1>());
  else if (n > (kMost - 1) * kLanes)
    use(Vectors<kMost>());
  else
    with_vectors<kMost - 1>(n, use);
}

// c[M,N] (+)= a b, as Simd::gemm has it.
template <class Product>
void blocked_gemm(Index M, Index N, Index K, const typename Product::Element* a, Index a_row, Index a_col,
                  const typename Product::Element* b, Index b_row, float* c, Index c_row, bool accumulate) {
  if (K == 0 && !accumulate)
    for (Index i = 0; i < M; ++i)
      for (Index j = 0; j < N; ++j) c[i * c_row + j] = 0;
  for (Index k = 0; k < K; k += kDepth) {
    const Index depth = K - k < kDepth ? K - k : kDepth;
    for (Index j = 0; j < N; j += kMaxVectors * kLanes) {
      const Index n = N - j < kMaxVectors * kLanes ? N - j : kMaxVectors * kLanes;
      const auto* a_k = a + k * a_col;
      const auto* b_k = b + k * b_row + j;
      with_vectors(n, [&](auto vectors) {
        constexpr Index kVectors = vectors.kVectors;
        if (n == kVectors * kLanes)
          gemm_panel<Product, kVectors>(M, depth, a_k, a_row, a_col, b_k, b_row, c + j, c_row, accumulate || k > 0);
        else
          gemm_tail<Product, kVectors>(M, n, depth, a_k, a_row, a_col, b_k, b_row, c + j, c_row, accumulate || k > 0);
      });
    }
  }
}

}  // namespace
}  // namespace stamp::cpu
