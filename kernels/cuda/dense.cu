// The small dense products y = x wᵀ, by cuBLAS: 2·N·D² flops on up to a few thousand rows, bound by launches.
// Biases: y += b; d_b = column sums of d_y, by a block per 32 columns: 4·N·D bytes.
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {
namespace {

__global__ void add_bias_kernel(Index n, Index D, const float* bias, float* y) {
  if (const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x; i < n) y[i] += bias[i % D];
}

}  // namespace

// cuBLAS counts columns first, so it is asked for cᵀ = op(b)ᵀ op(a)ᵀ.
void CudaDevice::product(Index M, Index N, Index K, const float* a, bool transpose_a, const float* b, bool transpose_b,
                         float* c, bool accumulate) {
  select();
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

void CudaDevice::linear(Index N, Index in, Index out, const float* x, const float* w, float* y, bool accumulate) {
  product(N, out, in, x, false, w, true, y, accumulate);
}

void CudaDevice::linear_backward(Index N, Index in, Index out, const float* x, const float* w, const float* d_y,
                                 float* d_x, bool accumulate_d_x, float* d_w) {
  if (d_x) product(N, in, out, d_y, false, w, false, d_x, accumulate_d_x);
  product(out, in, N, d_y, true, x, false, d_w, false);
}

void CudaDevice::add_bias(Index N, Index D, const float* bias, float* y) {
  launch("add_bias", add_bias_kernel, blocks_for(N * D, kThreads), dim3(kThreads), 0, N * D, D, bias, y);
}

void CudaDevice::add_bias_backward(Index N, Index D, const float* d_y, float* d_bias) {
  launch("add_bias_backward", column_sums_kernel, blocks_for(D, kWarp), dim3(kColumnThreads), 0, N, D, d_y, d_bias);
}

}  // namespace stamp::cuda
