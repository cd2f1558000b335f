#define STAMP_BF16_TABLE kBf16Avx512
#define STAMP_BF16_NAME "avx512_bf16"
#include "kernels/cpu/bf16.inl"
