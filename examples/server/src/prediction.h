// One zone's list: what is asked, in whatever dialect, and what comes of it.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stamp/recommender.h"

namespace server {

inline constexpr std::string_view kDefaultZone =
    "default";  // of a bundle that has no zone of the name: no zone's rules

// Product ids stand as the catalog's kind.
struct Prediction {
  std::string zone;                                   // empty: no zone's rules
  std::string visitor;                                // empty: nobody's events are read
  std::optional<std::vector<stamp::Id>> events = {};  // in place of the visitor's
  std::vector<stamp::Id> current = {};                // what is looked at now: after all other events
  std::vector<stamp::Id> bought = {};                 // besides the visitor's
  std::vector<stamp::Id> exclude = {};
  std::optional<std::vector<stamp::Id>> only = {};
  std::int64_t k = 0, history = 0;  // 0: what the zone says
  std::string rules = {};
  std::optional<double> value = {}, tail = {};     // empty: what the zone says
  std::optional<stamp::Objective> objective = {};  // likewise
  bool explain = false;
  bool with_scores = false;
  bool strict = true;          // false: the list without the request's own rules, where these leave none
  bool validate_only = false;  // check, and list nothing
};

struct Predicted {
  stamp::Recommendation list;
  std::vector<std::string> degraded =
      {};  // parts that the answer does without: "events", "diversity", "explanation", "model"
  std::string release;
  std::string experiment, arm;    // empty: in none
  std::string token;              // names this answer in events that it leads to
  std::exception_ptr error = {};  // in place of all of it
};

}  // namespace server
