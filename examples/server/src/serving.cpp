#include "serving.h"

#include <algorithm>
#include <charconv>

#include "inventory.h"
#include "prediction.h"

namespace server {

Serving::Serving(const Wanted& wanted, const stamp::ReleaseOptions& options)
    : name(wanted.name),
      digest(wanted.digest),
      identity(wanted.identity),
      products_time(products_time_of(wanted.path)),
      recommender(wanted.path, options),
      kind(recommender.release()->catalog().kind()),
      zones(recommender.release()->zones()) {
  std::ranges::sort(zones);
}

bool Serving::has_zone(const std::string& zone) const { return std::ranges::binary_search(zones, zone); }

std::string Serving::rules_of(const std::string& zone) const {
  return zone == kDefaultZone && !has_zone(zone) ? "" : zone;
}

std::optional<stamp::Id> Serving::id_of(const std::string& product) const {
  if (product.empty()) return std::nullopt;
  if (kind == stamp::Catalog::Kind::strings) return product;
  std::int64_t number;
  const auto [end, error] = std::from_chars(product.data(), product.data() + product.size(), number);
  if (error != std::errc() || end != product.data() + product.size()) return std::nullopt;
  return number;
}

std::shared_ptr<Serving> load_serving(const Wanted& wanted, const stamp::ReleaseOptions& options,
                                      Inventory* inventory) {
  auto serving = std::make_shared<Serving>(wanted, options);
  if (inventory) inventory->add(serving);
  return serving;
}

}  // namespace server
