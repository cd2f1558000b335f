// What the owner of a gradient tile needs to apply Adam on the spot.
#pragma once

#include "kernels/cpu/simd.h"
#include "stamp/device.h"

namespace stamp::cpu {

AdamFactors adam_factors(const TrainingStep& step);

}  // namespace stamp::cpu
