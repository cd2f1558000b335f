#define STAMP_SIMD_TABLE kSimdAvx512
#include "kernels/cpu/simd.inl"
