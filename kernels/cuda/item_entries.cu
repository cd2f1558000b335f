// The sparse gradients of the item table, ready for the owners of its rows (item_update.h): sorted, summed by pieces.
//
// An entry is a target, -w_b q_b, or a lookup, a row of row_gradients. Sorted by product, of which targets come first,
// a run of entries of one product and kind is cut at multiples of kPiece, and a warp adds up a piece. Beside that warps
// mark where pieces begin, and find by bisection where the entries of each 32 products do.
//
// 8 D bytes an entry: nothing, so all is latency: the sort, beside the encoder, and a launch of two dependent loads and
// kPiece / 8 rounds of rows at most. At 1,280 entries: predicted 4 µs, and 7 beside other work.
#include <sort.h>

#include <bit>
#include <numeric>
#include <vector>

#include "kernels/cuda/item_update.h"

namespace stamp::cuda {
namespace {

struct Entries {
  Index n, B, D, V;
  const std::uint32_t *ids, *sources;  // sorted; that of no product, -1, is above all others
  const float* queries;                // [B,D]
  const float* weights;                // [B]
  const float* row_gradients;          // [L,D]

  __device__ bool same(Index i, Index j) const { return ids[i] == ids[j] && (sources[i] < B) == (sources[j] < B); }
  __device__ bool heads(Index i) const { return i % kPiece == 0 || !same(i, i - 1); }
};

// sums[i] = the piece that begins with entry i, by a warp.
__device__ void sum_piece(const Entries& e, Index i, float* sums) {
  constexpr int kColumns = 4;
  if (i >= e.n || e.ids[i] >= e.V || !e.heads(i)) return;
  const Index limit = i / kPiece * kPiece + kPiece < e.n ? i / kPiece * kPiece + kPiece : e.n;
  int count = 0;
  for (int part = 0; part < kPiece; part += kWarp) {
    const Index other = i + part + lane_index();
    count += __popc(__ballot_sync(kAll, other < limit && e.same(other < limit ? other : i, i)));
  }
  for (Index column = lane_index(); column < e.D; column += kColumns * kWarp) {
    float sum[kColumns] = {};
#pragma unroll 8
    for (Index j = i; j < i + count; ++j) {
      const Index source = e.sources[j];
      const bool target = source < e.B;
      const float* row = target ? e.queries + source * e.D : e.row_gradients + (source - e.B) * e.D;
      const float factor = target ? -e.weights[source] : 1.0f;
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
        if (const Index d = column + c * kWarp; d < e.D) sum[c] = fmaf(factor, row[d], sum[c]);
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c)
      if (const Index d = column + c * kWarp; d < e.D) sums[i * e.D + d] = sum[c];
  }
}

// Three kinds of blocks: the first `summing` sum, the next `marking` mark, the others bisect.
__global__ void __launch_bounds__(kThreads)
    sum_entries_kernel(Entries e, unsigned summing, unsigned marking, Index groups, const TrainingStep* step,
                       float* sums, unsigned* heads, std::int32_t* bounds, AdamFactors* factors) {
  if (blockIdx.x < summing) return sum_piece(e, warp_index(), sums);
  if (blockIdx.x < summing + marking) {
    const Index i = static_cast<Index>(blockIdx.x - summing) * kThreads + threadIdx.x;
    const unsigned marks = __ballot_sync(kAll, i < e.n && e.heads(i < e.n ? i : 0));
    if (lane_index() == 0 && i < e.n) heads[i / kWarp] = marks;
    if (i == 0 && step) *factors = adam_factors(*step);
    return;
  }
  const Index group = static_cast<Index>(blockIdx.x - summing - marking) * kThreads + threadIdx.x;
  if (group <= groups)
    bounds[group] = static_cast<std::int32_t>(lower_bound(
        e.n, static_cast<std::uint32_t>(group < groups ? group * kOwnRows : e.V), [&](Index i) { return e.ids[i]; }));
}

}  // namespace

// 0 … n-1, which come from the host when they are more than ever.
const std::uint32_t* CudaDevice::numbers(Index n) {
  if (n > numbered_) {
    std::vector<std::uint32_t> values(static_cast<std::size_t>(n));
    std::iota(values.begin(), values.end(), 0u);
    copy_in(numbers_.need(n), values.data(), values.size() * sizeof(std::uint32_t));
    numbered_ = n;
  }
  return numbers_.data();
}

// On a stream beside that of everything else, which waits for it in sum_entries: one block sorts a batch, and the
// encoder leaves half of the chip idle. The sort looks at as many bits as V needs: of -1 all are 1, more than any
// product has.
void CudaDevice::sort_rows(const CatalogCrossEntropy& p, Index L) {
  constexpr const char* kName = "catalog_cross_entropy_backward's sort";
  const auto n = static_cast<int>(p.B + L);
  const std::size_t bytes = sort_pairs_bytes(n);
  std::byte* scratch = entries_sorting_.need(static_cast<Index>(bytes));
  std::uint32_t* ids = entries_.need(2 * n);
  const std::uint32_t* numbers_of_entries = numbers(n);
  select();
  check(cudaEventRecord(fork_, stream_), kName);
  check(cudaStreamWaitEvent(side_, fork_, 0), kName);
  check(sort_pairs(scratch, bytes, reinterpret_cast<const std::uint32_t*>(p.targets), ids, numbers_of_entries, ids + n,
                   n, std::bit_width(static_cast<std::uint32_t>(p.V)), side_),
        kName);
  check(cudaEventRecord(join_, side_), kName);
  if (blocking_) check(cudaStreamSynchronize(side_), kName);
}

ItemGradient CudaDevice::sum_entries(const CatalogCrossEntropy& p, Index L, const float* row_gradients,
                                     const ItemUpdate& update) {
  const Index n = p.B + L, groups = rounded(p.V, kOwnRows) / kOwnRows, words = rounded(n, kWarp) / kWarp;
  const std::uint32_t *ids = entries_.data(), *sources = ids + n;
  unsigned* heads = entry_marks_.need(words + groups + 1 + rounded(sizeof(AdamFactors), 4) / 4);
  auto* bounds = reinterpret_cast<std::int32_t*>(heads + words);
  auto* factors = reinterpret_cast<AdamFactors*>(bounds + groups + 1);
  float* sums = entry_sums_.need(n * p.D);
  check(cudaStreamWaitEvent(stream_, join_, 0), "catalog_cross_entropy_backward's sort");
  const dim3 summing = blocks_for(n, kWarps), marking = blocks_for(n, kThreads);
  launch("catalog_cross_entropy_backward's sums", sum_entries_kernel,
         dim3(summing.x + marking.x + blocks_for(groups + 1, kThreads).x), dim3(kThreads), 0,
         Entries{n, p.B, p.D, p.V, ids, sources, p.queries, p.weights, row_gradients}, summing.x, marking.x, groups,
         update.d_items ? nullptr : update.step, sums, heads, bounds, factors);
  return {p.D, p.V, p.items, p.normalize_items, p.B, ids, sources, heads, sums, bounds, factors, p.excluded, update};
}

}  // namespace stamp::cuda
