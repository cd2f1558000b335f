#define STAMP_BF16_TABLE kBf16Avx2
#define STAMP_BF16_NAME "avx2"
#include "kernels/cpu/bf16.inl"
