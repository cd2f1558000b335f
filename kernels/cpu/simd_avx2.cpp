#define STAMP_SIMD_TABLE kSimdAvx2
#define STAMP_SIMD_NAME "avx2"
#include "kernels/cpu/simd.inl"
