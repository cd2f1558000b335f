#define STAMP_SIMD_TABLE kSimdBaseline
#include "kernels/cpu/simd.inl"
