#pragma once

#include <cstdint>

namespace stamp::cuda {

constexpr std::int64_t kWidestQuery = 128;  // that the tensor-core kernels have registers for

}  // namespace stamp::cuda
