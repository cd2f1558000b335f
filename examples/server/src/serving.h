// A loaded release.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "release_source.h"
#include "stamp/recommender.h"

namespace server {

class Inventory;

// Requests hold it while they are answered.
struct Serving {
  // Throws as stamp::Recommender does.
  Serving(const Wanted& wanted, const stamp::ReleaseOptions& options);

  std::string name, digest, identity;  // as in Wanted
  std::int64_t products_time;          // as products_time_of() says
  stamp::Recommender recommender;
  stamp::Catalog::Kind kind;
  std::vector<std::string> zones;  // sorted

  bool has_zone(const std::string& zone) const;
  // Whose rules apply where this one is asked for: nobody's for "default" where there is no such zone.
  std::string rules_of(const std::string& zone) const;
  // A product's id as it is written, where it can be one of the catalog's.
  std::optional<stamp::Id> id_of(const std::string& product) const;
};

// With what the shop has set of its products since (null: nothing can be), and sets from now on.
std::shared_ptr<Serving> load_serving(const Wanted& wanted, const stamp::ReleaseOptions& options, Inventory* inventory);

}  // namespace server
