#include <cublas_v2.h>
#include <cuda_bf16.h>

#include <algorithm>
#include <vector>

struct cublasContext {
  cudaStream_t stream = nullptr;
};

namespace {

constexpr int kRows = 8, kColumns = 4;  // of C that one pass over k sums up, in registers

// As a tensor core reads it.
float rounded(float x, cublasComputeType_t compute) {
  if (compute == CUBLAS_COMPUTE_32F_FAST_16BF) return __bfloat162float(__float2bfloat16(x));
  if (compute == CUBLAS_COMPUTE_32F_FAST_TF32 && std::isfinite(x))
    return __uint_as_float((__float_as_uint(x) + 0x1000) & ~0x1fffu);
  return x;
}

struct Matrix {
  const float* data;
  int ld;
  bool transposed;
  float operator()(int row, int column) const {
    return transposed ? data[column + std::size_t(row) * ld] : data[row + std::size_t(column) * ld];
  }
};

struct Product {
  int m, n, k;
  float alpha, beta;
  Matrix a, b;
  float* c;
  int ldc;
  cublasComputeType_t compute;
};

// Panels of `width` rows of a matrix [rows,k], each k times `width` floats, the last one filled up with zeros.
template <class Element>
std::vector<float> panels(int rows, int k, int width, const Element& element) {
  std::vector<float> packed(std::size_t(rows + width - 1) / width * width * k);
  for (int row = 0; row < rows; ++row)
    for (int i = 0; i < k; ++i) packed[(std::size_t(row / width) * k + i) * width + row % width] = element(row, i);
  return packed;
}

void check_written(const Matrix& matrix, int rows, int columns) {
  if (matrix.transposed) std::swap(rows, columns);
  for (int j = 0; j < columns; ++j)
    simt::check_written(matrix.data + std::size_t(j) * matrix.ld, rows * sizeof(float), "cublasGemmEx");
}

void multiply(const Product& p) {
  check_written(p.a, p.m, p.k);
  check_written(p.b, p.k, p.n);
  if (p.beta != 0) check_written({p.c, p.ldc, false}, p.m, p.n);
  const auto a = panels(p.m, p.k, kRows, [&](int row, int i) { return rounded(p.a(row, i), p.compute); });
  const auto b = panels(p.n, p.k, kColumns, [&](int column, int i) { return rounded(p.b(i, column), p.compute); });
  for (int column = 0; column < p.n; column += kColumns)
    for (int row = 0; row < p.m; row += kRows) {
      const float *left = &a[std::size_t(row) * p.k], *right = &b[std::size_t(column) * p.k];
      float sums[kColumns][kRows] = {};
      for (int i = 0; i < p.k; ++i, left += kRows, right += kColumns)
        for (int y = 0; y < kColumns; ++y)
          for (int x = 0; x < kRows; ++x) sums[y][x] += left[x] * right[y];
      for (int y = 0; y < std::min(kColumns, p.n - column); ++y)
        for (int x = 0; x < std::min(kRows, p.m - row); ++x) {
          float& c = p.c[row + x + std::size_t(column + y) * p.ldc];
          c = p.alpha * sums[y][x] + (p.beta == 0 ? 0 : p.beta * c);
        }
    }
  for (int column = 0; column < p.n; ++column)
    simt::mark_written(p.c + std::size_t(column) * p.ldc, p.m * sizeof(float));
  simt::flops.gemm += std::uint64_t{2} * p.m * p.n * p.k;
}

}  // namespace

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, std::size_t bytes) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  const bool aligned = reinterpret_cast<std::uintptr_t>(workspace) % 256 == 0;
  return aligned && (workspace || bytes == 0) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transpose_a, cublasOperation_t transpose_b, int m,
                            int n, int k, const void* alpha, const void* a, cudaDataType a_type, int lda, const void* b,
                            cudaDataType b_type, int ldb, const void* beta, void* c, cudaDataType c_type, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (a_type != CUDA_R_32F || b_type != CUDA_R_32F || c_type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  const bool ta = transpose_a == CUBLAS_OP_T, tb = transpose_b == CUBLAS_OP_T;
  if (m < 0 || n < 0 || k < 0 || lda < std::max(1, ta ? k : m) || ldb < std::max(1, tb ? n : k) ||
      ldc < std::max(1, m) || !alpha || !beta)
    return CUBLAS_STATUS_INVALID_VALUE;
  const Product product{m,
                        n,
                        k,
                        *static_cast<const float*>(alpha),
                        *static_cast<const float*>(beta),
                        {static_cast<const float*>(a), lda, ta},
                        {static_cast<const float*>(b), ldb, tb},
                        static_cast<float*>(c),
                        ldc,
                        compute};
  simt::enqueue(handle->stream, [product] { multiply(product); });
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "unknown";
}
