// Products that come when models have been trained: rows from what their attributes, and then their first clicks, say
// of them (docs/model.md, "New products"). No weight is trained.
#pragma once

#include <cstdint>
#include <vector>

#include "stamp/bundle.h"

namespace stamp {

struct AddedProducts {
  std::int64_t added = 0;  // that a model knows from now on
  std::int64_t known = 0;  // that one knew already, and that stay as they were, their attributes too
  // Rows of `items`, ascending: of products that no cluster's products share the values of Bundle::route_by with, or
  // that have no attribute that their cluster's model was trained with. They are in no cluster, but where the bundle
  // has attributes part of its catalog, for rules and routes.
  std::vector<std::int32_t> left_out;
};

// Makes products of `items` known to the model of their cluster, the one that they are routed to, or the only one; each
// begins as the sum of the rows of its attributes. `attributes` are of the products of `items`; those that the bundle
// has too become part of it. Throws std::invalid_argument, and changes nothing, where ids or an attribute are of
// another kind than the bundle's, where there are several clusters and no routes, and where a model that a product
// would belong to is not loaded or was trained without content.
STAMP_API AddedProducts add_products(Bundle& bundle, const Catalog& items, const Attributes& attributes);

// Fits the rows of products that have attributes and no click in training to their clicks in `sessions`, rows of the
// bundle's catalog:
//
//   x_v = |c_v| · n(4 n(c_v) + s / max(1, |s|))    s = Σ w n(q), n(y) = y / |y|
//
// over the queries q of the histories that they come after and the weights w of these events: the direction of the
// largest Σ w cos(x, q) + 4 cos(x, c), where all clicks together weigh a fourth of what attributes do. More turned rows
// for the worse on validation, as nothing pushes them away from other histories (docs/tried.md). Products without a
// click have c_v, whatever they had. A cluster's fingerprint goes on with that of turned rows. Returns how many had
// one. Throws std::invalid_argument where a model is not loaded or was trained without content.
STAMP_API std::int64_t refresh_products(Bundle& bundle, const Sessions& sessions);

}  // namespace stamp
