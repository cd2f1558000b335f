// Pass 2 of the top-k (top_k.h): from the bounds of chunks to exact lists.
//
// A block finds the threshold of its query: each thread keeps the largest lower bounds of eight groups of chunks, and
// the k-th largest of all groups is found bit by bit, by counting. (Groups share no product either. Where there are
// more chunks than groups two of the best may meet in one: the threshold is then a little lower than it need be, as is
// that of 20 bits.) Then it lists the chunks of its part of the catalog that reach the threshold, scores them in fp32,
// a thread a product, and keeps the best in shared memory; where those do not fit, they are sorted and cut to k, and
// what is worse than the k-th enters no more. With several parts, another kernel merges their lists.
//
// Few queries spread over the chip in parts, of which each finds the threshold anew: that is less than a launch. Chunks
// come from the second-level cache or from memory for each query anew; of 64·D bytes each they are few.
//
// 8·V/16 bytes for the bounds of a query and 64·D for each chunk scored. Of Gaussian rows, D = 100, k = 20, 37 chunks
// reach the threshold at V = 43,097 and 46 at V = 1,000,000: 300 KB. V = 43,097: 256 queries read 5.5 + 61 MB from the
// second-level cache, 14 µs at 5 TB/s; a lone one is latency: a round of loads for bounds, 20 counts of 0.1 µs, one
// round for scores and 28 steps of a sort are some 6 µs, and 4 more to merge. V = 1,000,000: for 256 queries 64 MB of
// bounds from memory, 192 from the cache and 75 MB of chunks from memory, some 75 µs; for one some 10, and the merge.
#include <ptx.h>

#include <algorithm>
#include <bit>

#include "kernels/cuda/top_k.h"

namespace stamp::cuda {
namespace {

constexpr int kGroups = 8;  // a thread's
constexpr int kBits = 20;   // of a threshold: sign, exponent, 11 of the mantissa
constexpr int kAtOnce = 4;  // chunks that a thread looks at before the block scores what was found
constexpr int kMerging = 256;
constexpr int kMostThreads = 512;  // two blocks of them fit a multiprocessor

// Threads of a block for so many chunks of a query.
int threads_for(Index chunks) {
  const Index each = std::max<Index>(1, (chunks + kGroups - 1) / kGroups);
  return static_cast<int>(
      std::clamp<std::uint64_t>(std::bit_ceil(static_cast<std::uint64_t>(each)), 128, kMostThreads));
}

// Keys that a block keeps for a list of k: those, and one more of each thread.
Index capacity_for(Index k, int threads) {
  return static_cast<Index>(std::bit_ceil(static_cast<std::uint64_t>(k + threads)));
}

std::size_t select_shared(Index k, int threads) {
  return sizeof(Key) * capacity_for(k, threads) + sizeof(int) * 2 * kAtOnce * threads;
}

// What a block counts.
struct Counts {
  int reaching[kBits];  // groups, for each bit of the threshold
  int listed;           // chunks to be scored
  int kept;             // keys
};

// The k best keys that a block has met, in shared memory.
class Best {
 public:
  // None so far, and counts.kept says so. Keys have to be above `bound`.
  __device__ Best(Key* keys, Counts& counts, int capacity, int k, Key bound)
      : keys_(keys), counts_(counts), capacity_(capacity), k_(k), bound_(bound) {}

  // Of every thread one key, 0 for none. By all warps; after make_room.
  __device__ void offer(Key key) {
    const bool enters = key > bound_;
    const unsigned entering = __ballot_sync(kAll, enters);
    int first = 0;
    if (lane_index() == 0 && entering) first = atomicAdd(&counts_.kept, __popc(entering));
    first = __shfl_sync(kAll, first, 0);
    if (enters) keys_[first + __popc(entering & ((1u << lane_index()) - 1))] = key;
  }

  // By all threads: room for one key of each.
  __device__ void make_room() {
    __syncthreads();
    const int count = counts_.kept;
    __syncthreads();  // before anybody adds to it
    if (count + static_cast<int>(blockDim.x) > capacity_) sort(count);
  }

  // By all threads: sorts, best first, keeps k, and says how many there are.
  __device__ int finish() {
    __syncthreads();
    return sort(counts_.kept);
  }

  __device__ Key operator[](int i) const { return keys_[i]; }

 private:
  // Bitonic.
  __device__ int sort(int count) {
    const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
    int size = 2;
    while (size < count) size *= 2;
    for (int i = count + thread; i < size; i += threads) keys_[i] = 0;
    __syncthreads();
    for (int run = 2; run <= size; run *= 2)
      for (int stride = run / 2; stride > 0; stride /= 2) {
        for (int pair = thread; pair < size / 2; pair += threads) {
          const int i = 2 * pair - (pair & (stride - 1)), j = i + stride;
          const Key a = keys_[i], b = keys_[j];
          if ((a < b) == ((i & run) == 0)) {
            keys_[i] = b;
            keys_[j] = a;
          }
        }
        __syncthreads();
      }
    const int kept = count < k_ ? count : k_;
    if (kept == k_) bound_ = keys_[k_ - 1];
    if (thread == 0) counts_.kept = kept;
    __syncthreads();
    return kept;
  }

  Key* keys_;
  Counts& counts_;
  int capacity_, k_;
  Key bound_;
};

__device__ void write_list(const CatalogTopK& p, Index b, const Best& best, int count) {
  for (Index i = threadIdx.x; i < p.k; i += blockDim.x) {
    const Key key = i < count ? best[static_cast<int>(i)] : 0;
    p.ids[b * p.k + i] = key ? id_of(key) : -1;
    p.scores[b * p.k + i] = key ? score_of(key) : -INFINITY;
  }
}

// As `ordered` has scores: k different products of query b reach it. 0: perhaps no k do.
__device__ unsigned threshold(const ChunkBounds& bounds, Index b, int k, Counts& counts) {
  const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  const auto value = [&](Index chunk) {
    const float lower = bounds.lower_of(b, chunk);
    return std::isfinite(lower) ? ordered(lower) : 0;
  };
  // Lists so long that many of the best would meet in a group count chunks.
  const bool grouped = bounds.chunks <= kGroups * threads || 4 * k <= kGroups * threads;
  unsigned groups[kGroups] = {};
  for (Index first = thread; grouped && first < bounds.chunks; first += kGroups * threads)
#pragma unroll
    for (int i = 0; i < kGroups; ++i)
      if (const Index chunk = first + i * threads; chunk < bounds.chunks) {
        const unsigned own = value(chunk);
        groups[i] = groups[i] < own ? own : groups[i];
      }
  unsigned found = 0;
  for (int step = 0; step < kBits; ++step) {
    const unsigned next = found | 0x80000000u >> step;
    int reaching = 0;
    if (grouped) {
#pragma unroll
      for (int i = 0; i < kGroups; ++i) reaching += groups[i] >= next;
    } else {
      for (Index chunk = thread; chunk < bounds.chunks; chunk += threads) reaching += value(chunk) >= next;
    }
    reaching = warp_sum(reaching);
    if (lane_index() == 0 && reaching > 0) atomicAdd(&counts.reaching[step], reaching);
    __syncthreads();
    if (counts.reaching[step] >= k) found = next;
  }
  return found;
}

// Part blockIdx.y of query blockIdx.x: its list where it is the only one, else keys [B][parts][k] and how many of them
// [B][parts].
__global__ void __launch_bounds__(kMostThreads, 2)
    select_chunks_kernel(CatalogTopK p, int k, int capacity, ChunkBounds bounds, Key* part_keys, int* part_counts) {
  __shared__ Counts counts;
  const Index b = blockIdx.x, part = blockIdx.y, parts = gridDim.y;
  const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  auto* keys = static_cast<Key*>(dynamic_shared());
  auto* list = reinterpret_cast<int*>(keys + capacity);  // [2 kAtOnce threads] chunks to be scored
  if (thread == 0) counts = {};
  __syncthreads();
  const unsigned reach = bounds.chunks < k ? 0 : threshold(bounds, b, k, counts);
  const float least = reach ? score_of_ordered(reach) : -INFINITY;
  const Filter filter(p, b);
  const Floors floors(p.floors, b);
  Best best(keys, counts, capacity, k, reach ? (Key{reach} << 32) - 1 : 0);

  const Index own = (bounds.chunks - part + parts - 1) / parts;  // chunks part, part + parts, …
  for (Index first = 0; first < own; first += kAtOnce * threads) {
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const Index at = first + i * threads + thread, chunk = at * parts + part;
      // Not below: what is no number is scored too.
      if (at < own && !(bounds.upper[b * bounds.chunks + chunk] < least))
        list[atomicAdd(&counts.listed, 1)] = static_cast<int>(chunk);
    }
    __syncthreads();
    const int found = counts.listed;
    if (found <= kAtOnce * threads && first + kAtOnce * threads < own) {
      __syncthreads();  // before anybody adds to it
      continue;
    }
    for (int entry = thread / kChunk; entry - thread / kChunk < found; entry += threads / kChunk) {
      best.make_room();
      Key key = 0;
      if (entry < found) {
        const Index v = Index{list[entry]} * kChunk + thread % kChunk;
        if (v < p.V && !filter.excludes(v) && !floors.has(v)) key = filter.key(plain_score(p, b, v), v);
      }
      best.offer(key);
    }
    __syncthreads();
    if (thread == 0) counts.listed = 0;
    __syncthreads();
  }
  for (int entry = floors.first + thread; part == 0 && entry - thread < floors.last; entry += threads) {
    best.make_room();
    best.offer(entry < floors.last ? filter.key(score(p, b, floors.ids[entry]), floors.ids[entry]) : 0);
  }

  const int kept = best.finish();
  if (parts == 1) return write_list(p, b, best, kept);
  for (int i = thread; i < kept; i += threads) part_keys[(b * parts + part) * k + i] = best[i];
  if (thread == 0) part_counts[b * parts + part] = kept;
}

// A block a query.
__global__ void __launch_bounds__(kMerging)
    merge_lists_kernel(CatalogTopK p, int k, int capacity, int parts, const Key* part_keys, const int* part_counts) {
  __shared__ Counts counts;
  const Index b = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) counts = {};
  Best best(static_cast<Key*>(dynamic_shared()), counts, capacity, k, 0);
  __syncthreads();
  for (Index first = 0; first < Index{parts} * k; first += kMerging) {
    const Index at = first + thread, part = at / k;
    best.make_room();
    const bool is_there = part < parts && at % k < part_counts[b * parts + part];
    best.offer(is_there ? part_keys[b * parts * k + at] : 0);
  }
  write_list(p, b, best, best.finish());
}

}  // namespace

bool CudaDevice::can_select(Index chunks, Index k) const {
  constexpr std::size_t kStatic = 1 << 10;  // what the kernels have beside it, at most
  const int threads = threads_for(chunks);
  return std::max(select_shared(k, threads), sizeof(Key) * capacity_for(k, kMerging)) + kStatic <= shared_limit_;
}

// Pass 2.
void CudaDevice::select_chunks(const CatalogTopK& p, int k, const ChunkBounds& bounds) {
  constexpr Index kMerged = 1 << 16;  // keys of a query, so that merging stays short
  const int threads = threads_for(bounds.chunks);
  const Index capacity = capacity_for(k, threads);
  const Index parts =
      std::clamp<Index>(2 * multiprocessors_ / p.B, 1, std::max<Index>(1, std::min(kMerged / k, bounds.chunks / 16)));
  Key* keys = candidates_.need(parts > 1 ? p.B * parts * k : 0);
  auto* counts = reinterpret_cast<int*>(ranks_.need(parts > 1 ? p.B * parts : 0));
  launch("catalog_top_k's lists", select_chunks_kernel, dim3(static_cast<unsigned>(p.B), static_cast<unsigned>(parts)),
         dim3(static_cast<unsigned>(threads)), select_shared(k, threads), p, k, static_cast<int>(capacity), bounds,
         keys, counts);
  if (parts == 1) return;
  const Index merging = capacity_for(k, kMerging);
  launch("catalog_top_k's merge", merge_lists_kernel, dim3(static_cast<unsigned>(p.B)), dim3(kMerging),
         sizeof(Key) * merging, p, k, static_cast<int>(merging), static_cast<int>(parts), keys, counts);
}

}  // namespace stamp::cuda
