// The bodies behind simd.h, in GCC's vector types (vector.inl).
#if defined(__SSE__)
#include <immintrin.h>
#endif

#include <utility>

#include "kernels/cpu/gemm.inl"

namespace stamp::cpu {
namespace {

constexpr Index kLineFloats = 64 / 4;  // of a cache line

inline float horizontal_sum(Vec v) {
  float part[kLanes];
  store(part, v);
  for (Index width = kLanes / 2; width > 0; width /= 2)
    for (Index i = 0; i < width; ++i) part[i] += part[i + width];
  return part[0];
}

// exp(x) to 1 ulp or so on [-87.3, 88.7], held at the ends outside; NaN stays. Cephes' scheme: x = n ln2 + r,
// a polynomial of degree 6 on |r| <= ln2/2, and 2^n put into the exponent.
inline Vec exp_vec(Vec x) {
  const Vec low = broadcast(-87.3f), high = broadcast(88.7f);
  x = select(x < low, low, x);
  x = select(x > high, high, x);
  const Vec magic = broadcast(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
  const Vec shifted = x * 1.44269504f + magic;
  const Vec n = shifted - magic;
  const Vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Vec p = broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two factors: n reaches 128, which no single exponent holds.
  const IntVec integer = reinterpret_cast<IntVec>(shifted) - reinterpret_cast<IntVec>(magic);
  const IntVec half = integer >> 1;
  const Vec a = reinterpret_cast<Vec>((half + 127) << 23), b = reinterpret_cast<Vec>((integer - half + 127) << 23);
  return p * a * b;
}

inline Vec sigmoid_vec(Vec x) { return 1.0f / (1.0f + exp_vec(-x)); }

// tanh(x) = x + x³ P(x²) near 0 (Cephes), 1 - 2 / (exp(2x) + 1) elsewhere: small values keep their digits.
inline Vec tanh_vec(Vec x) {
  const Vec z = x * x;
  Vec p = broadcast(-5.70498872745e-3f);
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const Vec near = x + x * z * p;
  const Vec far = 1.0f - 2.0f / (exp_vec(2.0f * x) + 1.0f);
  return select(z < broadcast(0.390625f), near, far);
}

struct Floats {
  using Element = float;
  using Line = Vec;
  static Vec line(const float* b) { return load(b); }
  static Vec factor(float a) { return broadcast(a); }
  static Vec multiply_add(Vec sum, Vec factor, Vec line) { return sum + factor * line; }
};

void gemm(Index M, Index N, Index K, const float* a, Index a_row, Index a_col, const float* b, Index b_row, float* c,
          Index c_row, bool accumulate) {
  blocked_gemm<Floats>(M, N, K, a, a_row, a_col, b, b_row, c, c_row, accumulate);
}

// Lane l of the result is lane from(l) of a, or lane from(l) - kLanes of b.
template <class From, int... lanes>
inline Vec shuffle(Vec a, Vec b, From from, std::integer_sequence<int, lanes...>) {
  return __builtin_shufflevector(a, b, from(lanes)...);
}

template <class From>
inline Vec shuffle(Vec a, Vec b, From from) {
  return shuffle(a, b, from, std::make_integer_sequence<int, kLanes>());
}

// Four floats of each of the rows r, r + 4, r + 8, …, side by side.
template <class RowOf>
inline Vec fours(RowOf row_of, int r) {
  typedef float Four __attribute__((vector_size(16), aligned(4)));
  const auto four = [=](int row) { return *reinterpret_cast<const Four*>(row_of(row)); };
#if STAMP_VECTOR_BYTES == 16
  return four(r);
#else
  const auto eight = [=](int row) { return __builtin_shufflevector(four(row), four(row + 4), 0, 1, 2, 3, 4, 5, 6, 7); };
#if STAMP_VECTOR_BYTES == 32
  return eight(r);
#else
  return __builtin_shufflevector(eight(r), eight(r + 8), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
#endif
}

// The first four columns of kLanes rows, in blocks of 4 x 4 that need not leave their part of a register.
template <class RowOf>
inline void four_columns(RowOf row_of, Vec (&columns)[4]) {
  constexpr auto low = [](int l) { return (l & 1 ? kLanes : 0) + l / 4 * 4 + l % 4 / 2; };  // a0 b0 a1 b1
  constexpr auto high = [](int l) { return (l & 1 ? kLanes : 0) + l / 4 * 4 + l % 4 / 2 + 2; };
  constexpr auto low_pairs = [](int l) { return (l & 2 ? kLanes : 0) + l / 4 * 4 + l % 2; };  // a0 a1 b0 b1
  constexpr auto high_pairs = [](int l) { return (l & 2 ? kLanes : 0) + l / 4 * 4 + l % 2 + 2; };
  const Vec a = fours(row_of, 0), b = fours(row_of, 1), c = fours(row_of, 2), e = fours(row_of, 3);
  const Vec ab = shuffle(a, b, low), ce = shuffle(c, e, low), ab2 = shuffle(a, b, high), ce2 = shuffle(c, e, high);
  columns[0] = shuffle(ab, ce, low_pairs);
  columns[1] = shuffle(ab, ce, high_pairs);
  columns[2] = shuffle(ab2, ce2, low_pairs);
  columns[3] = shuffle(ab2, ce2, high_pairs);
}

// Turns kLanes rows of as many columns: row r begins at row_of(r), line d of `out` is column d.
template <class RowOf>
inline void transpose_block(RowOf row_of, float* out, Index width) {
#pragma GCC unroll 4
  for (Index d = 0; d < kLanes; d += 4) {
    Vec columns[4];
    four_columns([=](int r) { return row_of(r) + d; }, columns);
#pragma GCC unroll 4
    for (Index i = 0; i < 4; ++i) store(out + (d + i) * width, columns[i]);
  }
}

// Calls f(first) for blocks of kLanes that cover n >= kLanes; the last one overlaps the one before.
template <class F>
inline void for_blocks(Index n, F&& f) {
  for (Index i = 0; i + kLanes <= n; i += kLanes) f(i);
  if (n % kLanes != 0) f(n - kLanes);
}

void transpose(Index n, Index D, const float* in, Index in_row, float* out, Index width) {
  if (n >= kLanes && D >= kLanes)
    for_blocks(n, [&](Index i) {
      for_blocks(D, [&](Index d) {
        transpose_block([=](int r) { return in + (i + r) * in_row + d; }, out + d * width + i, width);
      });
    });
  else
    for (Index i = 0; i < n; ++i)
      for (Index d = 0; d < D; ++d) out[d * width + i] = in[i * in_row + d];
  for (Index d = 0; d < D && n < width; ++d)
    for (Index i = n; i < width; ++i) out[d * width + i] = 0;
}

// Strips of the weights are turned into lines of outputs, which stay in the first-level cache. Where outputs are no
// whole number of vectors, the last one takes the place of those that are missing.
void linear(Index M, Index in, Index out, const float* x, const float* w, float* y, bool accumulate) {
  constexpr Index kStrip = kMaxVectors * kLanes;
  alignas(64) float lines[kDepth * kStrip];
  for (Index k = 0; k < in; k += kDepth)
    for (Index j = 0; j < out; j += kStrip) {
      const Index depth = in - k < kDepth ? in - k : kDepth, n = out - j < kStrip ? out - j : kStrip;
      for (Index i = 0; i < n; i += kLanes) {
        const auto row = [=](int r) { return w + (j + (i + r < n ? i + r : n - 1)) * in + k; };
        if (depth >= kLanes)
          for_blocks(depth, [&](Index d) {
            transpose_block([=](int r) { return row(r) + d; }, lines + d * kStrip + i, kStrip);
          });
        else
          for (Index d = 0; d < depth; ++d)
            for (int r = 0; r < kLanes; ++r) lines[d * kStrip + i + r] = row(r)[d];
      }
      with_vectors(n, [&](auto vectors) {
        constexpr Index kVectors = vectors.kVectors;
        if (n == kVectors * kLanes)
          gemm_panel<Floats, kVectors>(M, depth, x + k, in, 1, lines, kStrip, y + j, out, accumulate || k > 0);
        else
          gemm_part<Floats, kVectors>(M, n, depth, x + k, in, 1, lines, kStrip, y + j, out, accumulate || k > 0);
      });
    }
}

// Calls use(d, column) for every dimension, where column holds rows[i][d] scale[i] for i < n, n <= kLanes, and 0
// behind. Meanwhile asks for as many lines as are read of what begins at `next`, unless that is null.
template <class Use>
inline void for_columns(Index n, Index D, const float* const* rows, const float* scale, const float* next, Use&& use) {
  const float* lanes[kLanes];
  float factors[kLanes];
  for (Index i = 0; i < kLanes; ++i) {
    lanes[i] = rows[i < n ? i : n - 1];
    factors[i] = i < n ? scale ? scale[i] : 1 : 0;
  }
  const Vec factor = load(factors);
  Index d = 0;
  for (; d + 4 <= D; d += 4) {
    if (next)
      for (Index i = 0; i < 4 * kLanes; i += kLineFloats) __builtin_prefetch(next + d * kLanes + i);
    Vec columns[4];
    four_columns([&](int r) { return lanes[r] + d; }, columns);
#pragma GCC unroll 4
    for (Index i = 0; i < 4; ++i) use(d + i, columns[i] * factor);
  }
  for (; d < D; ++d) {
    float column[kLanes];
    for (Index i = 0; i < kLanes; ++i) column[i] = lanes[i][d];
    use(d, load(column) * factor);
  }
}

// Calls use(i, count, next) for vectors of rows, next as for_columns takes it. Memory takes about as long as the sums
// do, so rows that lie one behind the other, as those of whole panels do, are asked for while the kAhead before them
// are added up, and so is what lies behind the last. Elsewhere, at the start, and where rows are short, each is read
// once as it lies, since processors fetch ahead by that, and then with the others from the cache.
template <class Use>
inline void for_row_vectors(Index n, Index D, const float* const* rows, Use&& use) {
  constexpr Index kAhead = 16;
  const bool in_line = n > kAhead && D > 2 * kLineFloats && rows[n - 1] == rows[0] + (n - 1) * D;
  const auto read = [&](Index first, Index count) {
    for (Index i = first; i < first + count; ++i)
      for (Index line = 0; line < D; line += kLineFloats) (void)*static_cast<const volatile float*>(rows[i] + line);
  };
  if (in_line) read(0, kAhead);
  for_each_vector(n, [&](Index i, Index count) {
    if (!in_line) read(i, count);
    use(i, count, in_line ? rows[i] + kAhead * D : nullptr);
  });
}

void transpose_rows(Index n, Index D, const float* const* rows, const float* scale, float* out, Index width) {
  for_row_vectors(n, D, rows, [&](Index i, Index count, const float* next) {
    for_columns(count, D, rows + i, scale ? scale + i : nullptr, next,
                [&](Index d, Vec column) { store_n(out + d * width + i, count, column); });
  });
  for (Index d = 0; d < D; ++d)
    for (Index i = n; i < width; ++i) out[d * width + i] = 0;
}

template <Index kQueries>
void score_rows_of(Index n, Index D, const float* const* queries, const float* const* rows, const float* scale,
                   float* scores, Index scores_row) {
  for_row_vectors(n, D, rows, [&](Index i, Index count, const float* next) {
    Vec sum[kQueries] = {};
    for_columns(count, D, rows + i, scale ? scale + i : nullptr, next, [&](Index d, Vec column) {
#pragma GCC unroll 4
      for (Index q = 0; q < kQueries; ++q) sum[q] += broadcast(queries[q][d]) * column;
    });
    for (Index q = 0; q < kQueries; ++q) store_n(scores + q * scores_row + i, count, sum[q]);
  });
}

void score_rows(Index M, Index n, Index D, const float* const* queries, const float* const* rows, const float* scale,
                float* scores, Index scores_row) {
  constexpr decltype(&score_rows_of<1>) kOf[] = {score_rows_of<1>, score_rows_of<2>, score_rows_of<3>,
                                                 score_rows_of<4>};
  for (Index q = 0; q < M; q += 4)
    kOf[M - q < 4 ? M - q - 1 : 3](n, D, queries + q, rows, scale, scores + q * scores_row, scores_row);
}

float max(Index n, const float* x) {
  const float lowest = -__builtin_inff();
  Vec best = broadcast(lowest), nan{};
  for_each_vector(n, [&](Index i, Index count) {
    const Vec v = load_n(x + i, count, lowest);
    best = select(v > best, v, best);
    nan += v - v;  // NaN for NaN, and for infinities: told apart below
  });
  float part[kLanes], result = lowest;
  store(part, best);
  for (Index i = 0; i < kLanes; ++i) result = part[i] > result ? part[i] : result;
  const float odd = horizontal_sum(nan);
  if (odd != odd)
    for (Index i = 0; i < n; ++i)
      if (x[i] != x[i]) return x[i];
  return result;
}

float exp_sum(Index n, float shift, float* x) {
  Vec sum{};
  for_each_vector(n, [&](Index i, Index count) {
    Vec v = exp_vec(load_n(x + i, count) - shift);
    store_n(x + i, count, v);
    if (count < kLanes) {
      float part[kLanes] = {};
      store_part(part, count, v);
      v = load(part);
    }
    sum += v;
  });
  return horizontal_sum(sum);
}

float dot(Index n, const float* a, const float* b) {
  Vec sum{};
  for_each_vector(n, [&](Index i, Index count) { sum += load_n(a + i, count) * load_n(b + i, count); });
  return horizontal_sum(sum);
}

double squared_norm(Index n, const float* x) {
  constexpr Index kBlock = 4096;  // sums of so many stay in single precision
  double total = 0;
  for (Index i = 0; i < n; i += kBlock) total += dot(n - i < kBlock ? n - i : kBlock, x + i, x + i);
  return total;
}

void axpy(Index n, float a, const float* x, float* y) {
  for_each_vector(
      n, [&](Index i, Index count) { store_n(y + i, count, load_n(y + i, count) + a * load_n(x + i, count)); });
}

void scale(Index n, float a, float* x) {
  for_each_vector(n, [&](Index i, Index count) { store_n(x + i, count, a * load_n(x + i, count)); });
}

void tanh(Index n, float* x) {
  for_each_vector(n, [&](Index i, Index count) { store_n(x + i, count, tanh_vec(load_n(x + i, count))); });
}

float gate(Index n, const float* k, const float* q, const float* w, float* s) {
  Vec sum{};
  for_each_vector(n, [&](Index i, Index count) {
    const Vec v = sigmoid_vec(load_n(k + i, count) + load_n(q + i, count));
    store_n(s + i, count, v);
    sum += load_n(w + i, count) * v;  // w is padded with zeros
  });
  return horizontal_sum(sum);
}

void gate_backward(Index n, float d, const float* w, const float* s, float* d_w, float* d_k, float* d_q) {
  for_each_vector(n, [&](Index i, Index count) {
    const Vec v = load_n(s + i, count);
    const Vec slope = d * load_n(w + i, count) * v * (1.0f - v);
    store_n(d_w + i, count, load_n(d_w + i, count) + d * v);
    store_n(d_k + i, count, load_n(d_k + i, count) + slope);
    store_n(d_q + i, count, load_n(d_q + i, count) + slope);
  });
}

inline Vec sqrt_vec(Vec x) {
  float part[kLanes];
  store(part, x);
  for (Index i = 0; i < kLanes; ++i) part[i] = __builtin_sqrtf(part[i]);  // one instruction, as nobody asks for errno
  return load(part);
}

void adam(Index n, const float* gradient, float* parameters, float* moment1, float* moment2, const AdamFactors& f) {
  for_each_vector(n, [&](Index i, Index count) {
    const Vec g = load_n(gradient + i, count) * f.gradient_scale;
    const Vec m = f.beta1 * load_n(moment1 + i, count) + (1 - f.beta1) * g;
    const Vec v = f.beta2 * load_n(moment2 + i, count) + (1 - f.beta2) * g * g;
    store_n(moment1 + i, count, m);
    store_n(moment2 + i, count, v);
    const Vec p = load_n(parameters + i, count) * f.shrink;
    store_n(parameters + i, count, p - f.rate * m / (sqrt_vec(v * f.second_scale) + f.epsilon));
  });
}

// A bit for each lane.
#if defined(__AVX512F__)
inline std::uint64_t above(Vec a, Vec b) { return _mm512_cmp_ps_mask(__m512(a), __m512(b), _CMP_GT_OQ); }
inline std::uint64_t at_least(Vec a, Vec b) { return _mm512_cmp_ps_mask(__m512(a), __m512(b), _CMP_GE_OQ); }
inline std::uint64_t below(Vec a, Vec b) { return _mm512_cmp_ps_mask(__m512(a), __m512(b), _CMP_LT_OQ); }
#else
inline std::uint64_t bits(IntVec mask) {
#if defined(__AVX__)
  return static_cast<unsigned>(_mm256_movemask_ps(__m256(mask)));
#elif defined(__SSE__)
  return static_cast<unsigned>(_mm_movemask_ps(__m128(mask)));
#else
  std::uint64_t bits = 0;
  for (Index i = 0; i < kLanes; ++i) bits |= std::uint64_t{mask[i] != 0} << i;
  return bits;
#endif
}
inline std::uint64_t above(Vec a, Vec b) { return bits(a > b); }
inline std::uint64_t at_least(Vec a, Vec b) { return bits(a >= b); }
inline std::uint64_t below(Vec a, Vec b) { return bits(a < b); }
#endif

std::uint64_t panel_at_least(const float* x, float least) {
  std::uint64_t found = 0;
  for (Index i = 0; i < 64; i += kLanes) found |= at_least(load(x + i), broadcast(least)) << i;
  return found;
}

std::uint64_t panel_bounds(const std::int32_t* low, std::int32_t low_offset, const std::int32_t* high,
                           std::int32_t high_offset, const float* scales, float scale, float error, float slack,
                           const float* boosts, float least, std::uint64_t* surely) {
  const Vec bound = broadcast(least);
  std::uint64_t cannot = 0, must = 0;
#pragma GCC unroll 16
  for (Index i = 0; i < 64; i += kLanes) {
    Vec sum = __builtin_convertvector(load(low + i) - low_offset, Vec);
    if (high) sum += 128.0f * __builtin_convertvector(load(high + i) - high_offset, Vec);
    const Vec z = scale * sum, s = load(scales + i);
    const Vec added = boosts ? load(boosts + i) : Vec{};
    cannot |= below(s * (z + error) + slack + added, bound) << i;
    if (surely) must |= above(s * (z - error) - slack + added, bound) << i;
  }
  if (surely) *surely = must;
  return ~cannot;
}

typedef double Doubles __attribute__((vector_size(STAMP_VECTOR_BYTES)));

// kLanes / 2 floats in double precision.
inline Doubles widen(const float* x) {
#if defined(__AVX512F__)
  return reinterpret_cast<Doubles>(_mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(x)));
#elif defined(__AVX__)
  return reinterpret_cast<Doubles>(_mm256_cvtps_pd(_mm_loadu_ps(x)));
#else
  return Doubles{x[0], x[1]};
#endif
}

void dots(Index n, Index D, const float* columns, const float* x, double* sums) {
  typedef double UnalignedDoubles __attribute__((vector_size(STAMP_VECTOR_BYTES), aligned(8)));
  constexpr Index kHalf = kLanes / 2, kVectors = 4;
  constexpr Index kBlock = kVectors * kHalf;
  const auto block = [&](Index i) {
    Doubles sum[kVectors] = {};
    const float* line = columns + i;
    for (Index d = 0; d < D; ++d, line += n) {
      const double factor = x[d];
#pragma GCC unroll 4
      for (Index v = 0; v < kVectors; ++v) sum[v] += factor * widen(line + v * kHalf);
    }
#pragma GCC unroll 4
    for (Index v = 0; v < kVectors; ++v) *reinterpret_cast<UnalignedDoubles*>(sums + i + v * kHalf) = sum[v];
  };
  Index i = 0;
  for (; i + kBlock <= n; i += kBlock) block(i);
  if (i < n && n >= kBlock) return block(n - kBlock);
  for (; i < n; ++i) {
    double sum = 0;
    for (Index d = 0; d < D; ++d) sum += static_cast<double>(x[d]) * columns[d * n + i];
    sums[i] = sum;
  }
}

Index mark(Index n, const float* x, float low, float high, bool inside, std::uint64_t* bits) {
  const Vec least = broadcast(low), most = broadcast(high);
  Index fresh = 0;
  const auto mark_word = [&](Index w, std::uint64_t found, std::uint64_t present) {
    const std::uint64_t word = (inside ? found : ~found) & present & ~bits[w];
    fresh += __builtin_popcountll(word);
    bits[w] |= word;
  };
  for (Index w = 0; w < n / 64; ++w) {
    std::uint64_t found = 0;
#pragma GCC unroll 16
    for (Index i = 0; i < 64; i += kLanes) {
      const Vec v = load(x + w * 64 + i);
      found |= (at_least(v, least) & at_least(most, v)) << i;
    }
    mark_word(w, found, ~std::uint64_t{0});
  }
  if (n % 64 == 0) return fresh;
  std::uint64_t found = 0;
  for (Index i = n / 64 * 64; i < n; ++i) found |= static_cast<std::uint64_t>(x[i] >= low && x[i] <= high) << (i % 64);
  mark_word(n / 64, found, (std::uint64_t{1} << (n % 64)) - 1);
  return fresh;
}

}  // namespace

const Simd STAMP_SIMD_TABLE = {gemm, linear,       transpose,      transpose_rows, score_rows, max,  exp_sum,
                               dot,  squared_norm, axpy,           scale,          tanh,       gate, gate_backward,
                               adam, panel_bounds, panel_at_least, dots,           mark};

}  // namespace stamp::cpu
