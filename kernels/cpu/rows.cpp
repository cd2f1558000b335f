// Lookups of embeddings and the length of rows; bound by memory.
#include <cmath>
#include <cstring>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/thread_pool.h"

namespace stamp::cpu {

namespace {
constexpr Index kGrain = 256;
}

void CpuDevice::look_up(Index N, Index D, const float* items, const std::int32_t* ids, float max_norm, float* y) {
  parallel_for_ranges(N, kGrain, threads_, [&](Index first, Index last) {
    for (Index n = first; n < last; ++n) {
      if (ids[n] < 0) {
        std::memset(y + n * D, 0, D * sizeof(float));
        continue;
      }
      const float* row = items + ids[n] * D;
      std::memcpy(y + n * D, row, D * sizeof(float));
      if (max_norm == 0) continue;
      const float norm = std::sqrt(simd().dot(D, row, row));
      if (norm > max_norm) simd().scale(D, max_norm / norm, y + n * D);
    }
  });
}

// For y = c e / |e|: d_e = c/|e| (d_y - e (e · d_y) / |e|²).
void CpuDevice::look_up_backward(Index N, Index D, const float* items, const std::int32_t* ids, float max_norm,
                                 float* d_y) {
  if (max_norm == 0) return;
  parallel_for_ranges(N, kGrain, threads_, [&](Index first, Index last) {
    for (Index n = first; n < last; ++n) {
      if (ids[n] < 0) continue;
      const float* row = items + ids[n] * D;
      float* d_row = d_y + n * D;
      const float squared = simd().dot(D, row, row), norm = std::sqrt(squared);
      if (norm <= max_norm) continue;
      simd().axpy(D, -simd().dot(D, row, d_row) / squared, row, d_row);
      simd().scale(D, max_norm / norm, d_row);
    }
  });
}

void CpuDevice::normalize_rows(Index N, Index D, float scale, const float* x, float* y) {
  parallel_for_ranges(N, kGrain, threads_, [&](Index first, Index last) {
    for (Index n = first; n < last; ++n) {
      const float* row = x + n * D;
      const float norm = std::sqrt(simd().dot(D, row, row));
      std::memcpy(y + n * D, row, D * sizeof(float));
      if (norm > 0) simd().scale(D, scale / norm, y + n * D);
    }
  });
}

void CpuDevice::normalize_rows_backward(Index N, Index D, float scale, const float* x, const float* d_y, float* d_x) {
  parallel_for_ranges(N, kGrain, threads_, [&](Index first, Index last) {
    for (Index n = first; n < last; ++n) {
      const float* row = x + n * D;
      float* d_row = d_x + n * D;
      const float squared = simd().dot(D, row, row), norm = std::sqrt(squared);
      if (norm == 0) {
        std::memset(d_row, 0, D * sizeof(float));
        continue;
      }
      const float along = simd().dot(D, row, d_y + n * D) / squared;
      std::memcpy(d_row, d_y + n * D, D * sizeof(float));
      simd().axpy(D, -along, row, d_row);
      simd().scale(D, scale / norm, d_row);
    }
  });
}

}  // namespace stamp::cpu
