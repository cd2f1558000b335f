// A bundle for tests of what serves: products 0 to 59 as "sku-0" and so on, in three clusters.
#pragma once

#include <string>

#include "stamp/bundle.h"

namespace shop {

constexpr std::int64_t kProducts = 60, kClusters = 3;

// Cluster c knows the products of remainder c; their `colour` is red where even, else blue, their `stock` 1. Releases of different
// `version` have models of their own and list different products first.
inline stamp::Bundle bundle(std::uint64_t version) {
  stamp::Bundle bundle;
  bundle.catalog = stamp::Catalog(stamp::Catalog::Kind::strings);
  stamp::TextAttribute colour{.name = "colour", .values = {"red", "blue"}, .codes = {}};
  for (std::int64_t i = 0; i < kProducts; ++i) {
    bundle.catalog.add("sku-" + std::to_string(i));
    bundle.counts.push_back(i);
    colour.codes.push_back(static_cast<std::int32_t>(i % 2));
  }
  bundle.attributes = stamp::Attributes(kProducts);
  bundle.attributes.add(colour);
  bundle.attributes.add(stamp::NumberAttribute{.name = "stock", .values = std::vector<float>(kProducts, 1.0f)});
  bundle.rules = R"({"zones": {"red": {"k": 4, "rules": [{"rule": "only_values", "attribute": "colour",
                                                          "values": ["red"]}]}}})";
  for (std::int64_t c = 0; c < kClusters; ++c) {
    stamp::Cluster cluster;
    cluster.id = c;
    for (std::int64_t row = c; row < kProducts; row += kClusters)
      cluster.rows.push_back(static_cast<std::int32_t>(row));
    stamp::Config config = stamp::Config::preset("official");
    config.dim = 8;
    config.item_std = 0.4f;
    config.weight_std = 0.3f;
    config.seed = version * 100 + static_cast<std::uint64_t>(c);
    cluster.model = std::make_shared<stamp::Model>(config, static_cast<std::int64_t>(cluster.rows.size()),
                                                   stamp::open_device("cpu"));
    bundle.clusters.push_back(std::move(cluster));
  }
  return bundle;
}

}  // namespace shop
