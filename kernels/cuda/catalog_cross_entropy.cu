// Softmax cross-entropy over the catalog: which way it goes, and what both ways end with.
//
//   z = q Eᵀ    ℓ_b = logΣ exp z_b - z_b,target    d_q = w (softmax(z) E - E[target])    d_E = (w (softmax(z) -
//   1[target]))ᵀ q
//
// bf16 and D up to 128: catalog_attention.cu, no score ever in memory. Otherwise catalog_tiles.cu, any D, through
// cuBLAS in the precision asked for; in fp32 it is the oracle of the other.
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/item_update.h"

namespace stamp::cuda {

bool CudaDevice::on_tensor_cores(const CatalogCrossEntropy& p) const {
  return precision_ == Precision::bf16 && p.D <= kWidest;
}

void CudaDevice::catalog_cross_entropy(const CatalogCrossEntropy& p, float* losses, float* log_sums, float* d_queries) {
  if (on_tensor_cores(p))
    attend_catalog(p, losses, log_sums, d_queries);
  else
    score_tiles(p, losses, log_sums, d_queries);
}

void CudaDevice::catalog_cross_entropy_backward(const CatalogCrossEntropy& p, const float* log_sums, Index L,
                                                const float* row_gradients, const ItemUpdate& update) {
  const ItemGradient gradient = sum_entries(p, L, row_gradients, update);
  if (on_tensor_cores(p))
    attend_catalog_backward(p, gradient);
  else
    score_tiles_backward(p, log_sums, gradient);
}

}  // namespace stamp::cuda
