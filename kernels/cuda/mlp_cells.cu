// The end of the two MLP cells: biases, tanh and their product, one element a thread.
//
//   h_s = tanh(W_s m_a + b_s)   h_t = tanh(W_t x_t + b_t)   product = h_s ⊙ h_t
//   before the tanh: d_s = d_product ⊙ h_t ⊙ (1 - h_s²)     d_t likewise
//
// 20 bytes an element each way; a batch's B·D elements take less than a launch does.
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/warp.h"

namespace stamp::cuda {
namespace {

__global__ void mlp_cells_kernel(Index n, Index D, const float* session_bias, const float* anchor_bias, float* h_s,
                                 float* h_t, float* product) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  const float s = tanhf(h_s[i] + (session_bias ? session_bias[i % D] : 0.0f));
  const float t = tanhf(h_t[i] + (anchor_bias ? anchor_bias[i % D] : 0.0f));
  h_s[i] = s;
  h_t[i] = t;
  product[i] = s * t;
}

__global__ void mlp_cells_backward_kernel(Index n, const float* h_s, const float* h_t, const float* d_product,
                                          float* d_h_s, float* d_h_t) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  const float s = h_s[i], t = h_t[i], d = d_product[i];
  d_h_s[i] = d * t * (1 - s * s);
  d_h_t[i] = d * s * (1 - t * t);
}

}  // namespace

void CudaDevice::mlp_cells(Index B, Index D, const float* session_bias, const float* anchor_bias, float* h_s,
                           float* h_t, float* product) {
  launch("mlp_cells", mlp_cells_kernel, blocks_for(B * D, kThreads), dim3(kThreads), 0, B * D, D, session_bias,
         anchor_bias, h_s, h_t, product);
}

void CudaDevice::mlp_cells_backward(Index n, const float* h_s, const float* h_t, const float* d_product, float* d_h_s,
                                    float* d_h_t) {
  launch("mlp_cells_backward", mlp_cells_backward_kernel, blocks_for(n, kThreads), dim3(kThreads), 0, n, h_s, h_t,
         d_product, d_h_s, d_h_t);
}

}  // namespace stamp::cuda
