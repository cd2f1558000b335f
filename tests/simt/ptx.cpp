// Out of the header, so that no hook sees what only the simulator does, and a return address is a place in a kernel.
#include <cuda_bf16.h>
#include <ptx.h>

#include <array>
#include <cmath>
#include <cstring>

namespace {

using simt::kSlot, simt::kWarp, simt::place, simt::Where;

void check_aligned(const simt::Place& place, const void* pointer, const char* name) {
  if (reinterpret_cast<std::uintptr_t>(pointer) % 16 != 0)
    simt::sin(place, std::string(name) + " is not aligned to 16 bytes");
}

float bf16_half(std::uint32_t pair, unsigned half) {
  return __bfloat162float(__nv_bfloat16{static_cast<unsigned short>(pair >> 16 * half)});
}

struct Fragments {
  float d[4];
  std::uint32_t a[4], b[2];
};

struct Tile {
  float a[16][16], b[16][8], d[16][8];
};

// d += a b of a whole warp, over `depth` columns of a. Fragments are placed as the tables in kernels/cuda/native/ptx.h
// say; place(lane / 4, lane % 4, fragments, tile) takes those of a and b.
template <int depth, class Place>
void multiply(std::byte* slots, const Place& place) {
  Tile tile;
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    Fragments own;
    std::memcpy(&own, slots + lane * kSlot, sizeof own);
    place(g, t, own, tile);
    for (unsigned i = 0; i < 4; ++i) tile.d[g + i / 2 * 8][2 * t + i % 2] = own.d[i];
  }
  for (unsigned row = 0; row < 16; ++row)
    for (unsigned k = 0; k < depth; ++k)
      for (unsigned column = 0; column < 8; ++column) tile.d[row][column] += tile.a[row][k] * tile.b[k][column];
  for (unsigned lane = 0; lane < kWarp; ++lane)
    for (unsigned i = 0; i < 4; ++i)
      std::memcpy(slots + lane * kSlot + i * sizeof(float), &tile.d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2],
                  sizeof(float));
  simt::flops.mma += 2 * 16 * 8 * depth;
}

void multiply_bf16(std::byte* slots) {
  multiply<16>(slots, [](unsigned g, unsigned t, const Fragments& own, Tile& tile) {
    for (unsigned half = 0; half < 2; ++half) {
      for (unsigned i = 0; i < 4; ++i) tile.a[g + i % 2 * 8][2 * t + i / 2 * 8 + half] = bf16_half(own.a[i], half);
      for (unsigned i = 0; i < 2; ++i) tile.b[2 * t + 8 * i + half][g] = bf16_half(own.b[i], half);
    }
  });
}

// Tensor cores do not see the bits that tf32 lacks.
float tf32(std::uint32_t bits) { return __uint_as_float(bits & ~0x1fffu); }

void multiply_tf32(std::byte* slots) {
  multiply<8>(slots, [](unsigned g, unsigned t, const Fragments& own, Tile& tile) {
    for (unsigned i = 0; i < 4; ++i) tile.a[g + i % 2 * 8][t + i / 2 * 4] = tf32(own.a[i]);
    for (unsigned i = 0; i < 2; ++i) tile.b[t + 4 * i][g] = tf32(own.b[i]);
  });
}

void multiply_together(simt::Place place, float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                       void (*combine)(std::byte* slots)) {
  Fragments own;
  std::memcpy(own.d, d, sizeof d);
  std::memcpy(own.a, a, sizeof a);
  std::memcpy(own.b, b, sizeof b);
  const std::byte* slots = simt::exchange(0xffffffff, place, &own, sizeof own, combine);
  std::memcpy(d, slots + simt::lane() * kSlot, sizeof d);
}

void load(simt::Place place, std::uint32_t (&r)[4], const void* row, bool transposed, const void* code) {
  check_aligned(place, row, "the row");
  simt::touch_read(row, 16, code);
  const std::byte* rows = simt::exchange(0xffffffff, place, row, 16);
  const unsigned major = simt::lane() / 4, minor = simt::lane() % 4 * 2;
  for (unsigned i = 0; i < 4; ++i) {
    std::uint16_t pair[2];
    for (unsigned j = 0; j < 2; ++j)
      std::memcpy(&pair[j],
                  transposed ? rows + (8 * i + minor + j) * kSlot + 2 * major
                             : rows + (8 * i + major) * kSlot + 2 * (minor + j),
                  sizeof pair[j]);
    r[i] = pair[0] | std::uint32_t{pair[1]} << 16;
  }
}

void copy(simt::Place place, void* shared, const void* global, bool present, const void* code) {
  check_aligned(place, shared, "the shared address");
  check_aligned(place, global, "the global address");
  constexpr std::byte zeros[16] = {};
  if (present) simt::touch_read(global, sizeof zeros, code);
  simt::begin_copy(shared, present ? global : zeros, code);
}

}  // namespace

void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Where where) {
  multiply_together(place("mma_m16n8k16", where), d, a, b, multiply_bf16);
}
void mma_m16n8k8(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Where where) {
  multiply_together(place("mma_m16n8k8", where), d, a, b, multiply_tf32);
}

void load_matrices(std::uint32_t (&r)[4], const void* row, Where where) {
  load(place("load_matrices", where), r, row, false, __builtin_return_address(0));
}
void load_matrices_transposed(std::uint32_t (&r)[4], const void* row, Where where) {
  load(place("load_matrices_transposed", where), r, row, true, __builtin_return_address(0));
}

void copy_async(void* shared, const void* global, Where where) {
  copy(place("copy_async", where), shared, global, true, __builtin_return_address(0));
}
void copy_async(void* shared, const void* global, bool present, Where where) {
  copy(place("copy_async", where), shared, global, present, __builtin_return_address(0));
}

void prefetch_bulk(const void* global, std::size_t bytes, Where where) {
  const simt::Place at = place("prefetch_bulk", where);
  check_aligned(at, global, "the global address");
  if (bytes % 16 != 0) simt::sin(at, std::to_string(bytes) + " bytes are no multiple of 16");
  if (!simt::allocated(global, bytes)) simt::sin(at, std::to_string(bytes) + " bytes are not all of one allocation");
}

float exp2_approx(float x) { return std::exp2(x); }

namespace {
float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }  // ".ftz"
}  // namespace

float sqrt_approx(float x) { return flushed(std::sqrt(flushed(x))); }
float divide_approx(float x, float y) { return flushed(flushed(x) / flushed(y)); }

float max_or_nan(float x, float y) { return std::isnan(x) || std::isnan(y) ? NAN : std::fmax(x, y); }

std::uint32_t pack_bf16(float low, float high) {
  return __float2bfloat16(low).bits | std::uint32_t{__float2bfloat16(high).bits} << 16;
}

std::uint32_t round_tf32(float x) {
  if (!std::isfinite(x)) return __float_as_uint(x);
  return (__float_as_uint(x) + 0x1000) & ~0x1fffu;
}
