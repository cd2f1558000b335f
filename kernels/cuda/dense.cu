// Products by cuBLAS: the catalog's, where its scores go through tiles.
#include "kernels/cuda/cuda_device.h"

namespace stamp::cuda {

namespace {

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) fail("cuda: ", what, ": ", cublasGetStatusString(status));
}

}  // namespace

// Made for the first product, which is never a recorded one: most handles make none.
void CudaDevice::open_cublas() {
  check(cublasCreate(&cublas_), "cublasCreate");
  check(cublasSetStream(cublas_, stream_), "cublasSetStream");
  // Of our own, so that products can be recorded.
  constexpr std::size_t kWorkspace = 8 << 20;
  check(cublasSetWorkspace(cublas_, cublas_workspace_.need(kWorkspace), kWorkspace), "cublasSetWorkspace");
}

// cuBLAS counts columns first, so it is asked for cᵀ = op(b)ᵀ op(a)ᵀ.
void CudaDevice::product(Index M, Index N, Index K, const float* a, bool transpose_a, const float* b, bool transpose_b,
                         float* c, bool accumulate) {
  select();
  if (!cublas_) open_cublas();
  const float one = 1, beta = accumulate ? 1.0f : 0.0f;
  const auto size = [](Index n) { return static_cast<int>(n); };
  const cublasComputeType_t type = precision_ == Precision::fp32   ? CUBLAS_COMPUTE_32F
                                   : precision_ == Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                                   : CUBLAS_COMPUTE_32F_FAST_16BF;
  const cublasStatus_t status =
      cublasGemmEx(cublas_, transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, size(N),
                   size(M), size(K), &one, b, CUDA_R_32F, size(transpose_b ? K : N), a, CUDA_R_32F,
                   size(transpose_a ? M : K), &beta, c, CUDA_R_32F, size(N), type, CUBLAS_GEMM_DEFAULT);
  if (status != CUBLAS_STATUS_SUCCESS)
    fail("cuda: product of [", M, ",", K, "] and [", K, ",", N, "]: ", cublasGetStatusString(status));
}

}  // namespace stamp::cuda
