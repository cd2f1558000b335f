// Popularity: of all, of the current product's group, of late; and of the session itself.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "stamp/baselines.h"

namespace stamp {

struct STAMP_API PopularityOptions {
  std::string by = {};   // what the groups are of, an attribute's name say; kept for who reads the file
  double recent = 0;     // seconds before the last event of training that count; 0: all
  double half_life = 0;  // seconds in which a click comes to weigh half, back from the last event; 0: it never does

  void validate() const;
};

// Products by the weight of their clicks, of equal ones by clicks, then by lower row; those of weight 0 are not listed.
// groups, empty or [V]: with them a list is of the products of the current product's group, or of all where that is -1.
// Any codes from 0 on, however few of them are there. Throws std::invalid_argument where an option needs timestamps
// that `sessions` lack, or groups are not of V products.
STAMP_API std::shared_ptr<const Baseline> fit_popularity(const Sessions& sessions, std::int64_t V,
                                                         const PopularityOptions& options = {},
                                                         std::span<const std::int32_t> groups = {});
// Of weights, one a product.
STAMP_API std::shared_ptr<const Baseline> popularity_of(std::span<const std::int64_t> clicks);

// Products of the session by how often they occur in it, of equal ones those clicked more in training, then by their
// first event: a score is count + clicks / (1 + most clicks of a product).
STAMP_API std::shared_ptr<const Baseline> fit_session_popularity(const Sessions& sessions, std::int64_t V);

STAMP_API std::string to_json(const PopularityOptions& options);
STAMP_API PopularityOptions popularity_options_from_json(const std::string& json);

STAMP_API std::shared_ptr<const Baseline> read_popularity(const Safetensors& file, std::int64_t V,
                                                          const std::string& options);
STAMP_API std::shared_ptr<const Baseline> read_session_popularity(const Safetensors& file, std::int64_t V,
                                                                  const std::string& options);

}  // namespace stamp
