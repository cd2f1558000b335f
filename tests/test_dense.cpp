// The CPU's dense products, on every instruction set that this machine has.
#include "kernels/cpu/simd.h"
#include "tests/check.h"

using namespace stamp::cpu;

TEST_CASE("dense products add up in the order of the inputs, to the bit, for any number of rows") {
  std::vector<const Simd*> here{&kSimdBaseline};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) here.push_back(&kSimdAvx2);
  if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    here.push_back(&kSimdAvx512);
#endif
  for (const Simd* simd : here) {
    // Whether products are added unrounded: a² - (a² rounded) tells. Compilers may, and an instruction set may not.
    const float a = 1.2345678f, left[] = {a * a, a}, right[] = {-1, a};
    float probe = 0;
    simd->linear(1, 2, 1, left, right, &probe, false);
    const bool fused = probe != 0;
    for (std::int64_t in : {1, 3, 7, 16, 33, 100, 128, 130, 300})
      for (std::int64_t out : {1, 7, 16, 33, 64, 100, 128, 300})
        for (std::int64_t N : {1, 2, 5, 64, 129}) {
          if (in != out && (in > 128 || out > 128)) continue;
          CAPTURE(in);
          CAPTURE(out);
          CAPTURE(N);
          const auto x = check::random(N * in, 1, 1), w = check::random(out * in, 1, 2),
                     y = check::random(N * out, 1, 3);
          std::vector<float> turned(in * out);
          simd->transpose(out, in, w.data(), in, turned.data(), out);
          for (bool accumulate : {false, true}) {
            std::vector<float> expected(N * out);
            for (std::int64_t i = 0; i < N * out; ++i) {
              const float* row = x.data() + i / out * in;
              const float* weights = w.data() + i % out * in;
              float sum = accumulate ? y[i] : 0;
              for (std::int64_t k = 0; k < in; ++k)
                sum = fused ? std::fma(row[k], weights[k], sum) : sum + row[k] * weights[k];
              expected[i] = sum;
            }
            auto few = y, many = y;
            simd->linear(N, in, out, x.data(), w.data(), few.data(), accumulate);
            simd->gemm(N, out, in, x.data(), in, 1, turned.data(), out, many.data(), out, accumulate);
            CHECK(few == expected);
            CHECK(many == expected);
          }
        }
  }
}
