#define STAMP_SIMD_TABLE kSimdAvx512
#define STAMP_SIMD_NAME "avx512"
#include "kernels/cpu/simd.inl"
