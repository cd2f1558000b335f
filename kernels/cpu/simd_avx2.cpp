#define STAMP_SIMD_TABLE kSimdAvx2
#include "kernels/cpu/simd.inl"
