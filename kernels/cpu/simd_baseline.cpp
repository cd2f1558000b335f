#define STAMP_SIMD_TABLE kSimdBaseline
#define STAMP_SIMD_NAME "baseline"
#include "kernels/cpu/simd.inl"
