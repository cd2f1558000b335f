// What a list is to serve: how much clicks count, and how much what a model learnt beside them.
#pragma once

#include <map>
#include <span>
#include <string>

#include "stamp/error.h"

namespace stamp {

// The objective that every example serves, beside those of Config::objectives.
inline constexpr const char* kClick = "click";

// Weights by name, kClick among them, of which only the ratios count. Empty: clicks alone.
using Objective = std::map<std::string, double>;

// Throws std::invalid_argument, naming `call`, for a weight that is not finite and 0 or more, for weights that add
// up to 0 or to infinity, and for a name that is neither kClick nor among `known`.
STAMP_API void check_objective(const std::string& call, const Objective& objective, std::span<const std::string> known);

// Whether nothing but clicks has a weight.
STAMP_API bool is_clicks_alone(const Objective& objective);

// Of {"click": 0.7, "order": 0.3}. Throws std::invalid_argument, naming `call`, for other JSON, and for what is none.
STAMP_API Objective objective_from_json(const std::string& call, const std::string& json);

}  // namespace stamp
