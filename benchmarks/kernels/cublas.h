// Products by cuBLAS on the stream of a bench. The simulator multiplies fp32 matrices alone.
#pragma once

#include <cublas_v2.h>
#include <cuda_bf16.h>

#include "benchmarks/kernels/bench.h"

namespace bench {

class Cublas {
 public:
  explicit Cublas(cudaStream_t stream) {
    require(cublasCreate(&handle_));
    require(cublasSetStream(handle_, stream));
  }
  ~Cublas() { cublasDestroy(handle_); }
  Cublas(const Cublas&) = delete;

  // c[M,N] = op(a) op(b), row-major; op transposes [K,M] and [N,K].
  void product(Index M, Index N, Index K, const void* a, bool transpose_a, const void* b, bool transpose_b, void* c,
               cudaDataType operands, cudaDataType result, cublasComputeType_t compute) const {
    const float one = 1, zero = 0;
    const auto size = [](Index n) { return static_cast<int>(n); };
    require(cublasGemmEx(handle_, transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                         size(N), size(M), size(K), &one, b, operands, size(transpose_b ? K : N), a, operands,
                         size(transpose_a ? M : K), &zero, c, result, size(N), compute, CUBLAS_GEMM_DEFAULT));
  }
  void product(Index M, Index N, Index K, const float* a, bool transpose_a, const float* b, bool transpose_b, float* c,
               cublasComputeType_t compute) const {
    product(M, N, K, a, transpose_a, b, transpose_b, c, CUDA_R_32F, CUDA_R_32F, compute);
  }

 private:
  static void require(cublasStatus_t status) {
    if (status != CUBLAS_STATUS_SUCCESS) stamp::fail("cuBLAS: ", cublasGetStatusString(status));
  }
  cublasHandle_t handle_ = nullptr;
};

inline cublasComputeType_t compute_of(Precision precision) {
  return precision == Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

}  // namespace bench
