#define STAMP_BF16_TABLE kBf16Baseline
#define STAMP_BF16_NAME "baseline"
#include "kernels/cpu/bf16.inl"
