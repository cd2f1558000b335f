// GCC's vectors, as wide as the instruction set that a source is compiled for. Only built-ins here and in what includes
// this: an inline function of the standard library, compiled for AVX-512 and merged by the linker, would crash older
// machines.
#include "kernels/cpu/simd.h"

namespace stamp::cpu {
namespace {

#if defined(__AVX512F__)
#define STAMP_VECTOR_BYTES 64
#elif defined(__AVX__)
#define STAMP_VECTOR_BYTES 32
#else
#define STAMP_VECTOR_BYTES 16
#endif

constexpr Index kLanes = STAMP_VECTOR_BYTES / 4;
typedef float Vec __attribute__((vector_size(STAMP_VECTOR_BYTES)));
typedef std::int32_t IntVec __attribute__((vector_size(STAMP_VECTOR_BYTES)));
typedef float UnalignedVec __attribute__((vector_size(STAMP_VECTOR_BYTES), aligned(4)));
typedef std::int32_t UnalignedIntVec __attribute__((vector_size(STAMP_VECTOR_BYTES), aligned(4)));

inline Vec load(const float* x) { return *reinterpret_cast<const UnalignedVec*>(x); }
inline void store(float* x, Vec v) { *reinterpret_cast<UnalignedVec*>(x) = v; }
inline IntVec load(const std::int32_t* x) { return *reinterpret_cast<const UnalignedIntVec*>(x); }
inline void store(std::int32_t* x, IntVec v) { *reinterpret_cast<UnalignedIntVec*>(x) = v; }
inline Vec broadcast(float x) { return x - Vec{}; }
inline IntVec broadcast(std::int32_t x) { return x - IntVec{}; }
inline Vec select(IntVec mask, Vec a, Vec b) { return mask ? a : b; }

// The first n < kLanes values, the others `fill`.
template <class T>
inline auto load_part(const T* x, Index n, T fill) {
  T part[kLanes];
  for (Index i = 0; i < kLanes; ++i) part[i] = i < n ? x[i] : fill;
  return load(part);
}
template <class T, class V>
inline void store_part(T* x, Index n, V v) {
  T part[kLanes];
  store(part, v);
  for (Index i = 0; i < n; ++i) x[i] = part[i];
}

// f(vector, first index, count): count is kLanes, but for the last.
template <class F>
inline void for_each_vector(Index n, F&& f) {
  Index i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, kLanes);
  if (i < n) f(i, n - i);
}
inline Vec load_n(const float* x, Index n, float fill = 0) { return n == kLanes ? load(x) : load_part(x, n, fill); }
template <class T, class V>
inline void store_n(T* x, Index n, V v) {
  n == kLanes ? store(x, v) : store_part(x, n, v);
}

}  // namespace
}  // namespace stamp::cpu
