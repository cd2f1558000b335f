// Softmax cross-entropy over the catalog: which way it goes, and the sparse gradients that both ways end with.
//
//   z = q Eᵀ    ℓ_b = logΣ exp z_b - z_b,target    d_q = w (softmax(z) E - E[target])    d_E = (w (softmax(z) -
//   1[target]))ᵀ q
//
// bf16 and D up to 128: catalog_attention.cu, no score ever in memory. Otherwise catalog_tiles.cu, any D, through
// cuBLAS in the precision asked for; in fp32 it is the oracle of the other.
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/item_update.h"

#include <sort.h>

#include <bit>

namespace stamp::cuda {
namespace {

// ids [B + L]: the targets, then the rows looked up; those of no product get one above all products.
__global__ void entries_kernel(Index B, Index L, std::uint32_t none, const std::int32_t* targets,
                               const std::int32_t* row_ids, std::uint32_t* ids, std::uint32_t* sources) {
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= B + L) return;
  const std::int32_t id = i < B ? targets[i] : row_ids[i - B];
  ids[i] = id < 0 ? none : static_cast<std::uint32_t>(id);
  sources[i] = static_cast<std::uint32_t>(i);
}

}  // namespace

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
                                                const std::int32_t* row_ids, const float* row_gradients,
                                                const ItemUpdate& update) {
  const Index n = p.B + L;
  std::uint32_t* ids = entries_.need(4 * n);
  std::uint32_t *sources = ids + n, *sorted_ids = sources + n, *sorted_sources = sorted_ids + n;
  launch("catalog_cross_entropy_backward's entries", entries_kernel, blocks_for(n, kThreads), dim3(kThreads), 0, p.B, L,
         static_cast<std::uint32_t>(p.V), p.targets, row_ids, ids, sources);
  const std::size_t bytes = sort_pairs_bytes(static_cast<int>(n));
  const int bits = std::bit_width(static_cast<std::uint32_t>(p.V));
  check(sort_pairs(sorting_.need(static_cast<Index>(bytes)), bytes, ids, sorted_ids, sources, sorted_sources,
                   static_cast<int>(n), bits, stream_),
        "catalog_cross_entropy_backward's sort");
  const ItemGradient gradient{p.B,       p.D,       p.V,           p.items,    p.normalize_items,
                              p.queries, p.weights, row_gradients, sorted_ids, sorted_sources,
                              n,         update};
  if (on_tensor_cores(p))
    attend_catalog_backward(p, log_sums, gradient);
  else
    score_tiles_backward(p, log_sums, gradient);
}

}  // namespace stamp::cuda
