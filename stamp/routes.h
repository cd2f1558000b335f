// Where products belong that no model knows: to the cluster of most products that share their values of
// Bundle::route_by.
#pragma once

#include <cstdint>
#include <vector>

#include "stamp/bundle.h"

namespace stamp {

struct Routes {
  explicit Routes(const Bundle& bundle);

  std::vector<std::int32_t> owner;          // as of Bundle::owners
  std::vector<std::int32_t> group;          // [V] of products with the same values, -1 where one is missing
  std::vector<std::int32_t> group_cluster;  // of each group the index of its cluster, of equals the first; -1: none
};

}  // namespace stamp
