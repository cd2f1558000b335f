#include "stamp/objective.h"

#include <algorithm>
#include <cmath>

#include "stamp/internal/json.h"

namespace stamp {

void check_objective(const std::string& call, const Objective& objective, std::span<const std::string> known) {
  double sum = 0;
  for (const auto& [name, weight] : objective) {
    require(weight >= 0 && std::isfinite(weight), call, ": objective has ", weight, " for '", name,
            "', expected 0 or more");
    sum += weight;
    if (name == kClick || std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string names = concat("'", kClick, "'");
    for (const std::string& other : known) names += concat(", '", other, "'");
    require(false, call, ": objective names '", name, "', expected ", known.empty() ? "none but " : "some of ", names,
            known.empty() ? ", as nothing else was learnt" : "");
  }
  require(objective.empty() || sum > 0, call, ": objective's weights are all 0, expected one above 0");
  require(std::isfinite(sum), call, ": objective's weights add up to ", sum, ", expected what is finite");
}

bool is_clicks_alone(const Objective& objective) {
  return std::all_of(objective.begin(), objective.end(),
                     [](const auto& weight) { return weight.first == kClick || weight.second == 0; });
}

Objective objective_from_json(const std::string& call, const std::string& text) {
  Json json;
  try {
    json = Json::parse(text);
  } catch (const JsonError& error) {
    throw std::invalid_argument(concat(call, ": objective is not JSON: ", error.what()));
  }
  require(json.is_object() && json.size() > 0, call, ": objective is ", json.dump(),
          R"(, expected weights by name, as {"click": 0.7, "order": 0.3})");
  Objective objective;
  for (const auto& [name, weight] : json.members()) {
    require(weight.is_number(), call, ": objective has ", weight.dump(), " for '", name, "', expected 0 or more");
    objective[name] = weight.get<double>();
  }
  return objective;
}

}  // namespace stamp
