// Many events at once, into a store that takes a few appends at a time.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "visits.h"

namespace server {

// Appends the events of each visitor, in order, and waits. Throws what the store first says instead, having begun no
// other append by then: StoreUnavailable says how many events are stored nevertheless. Not on a thread that answers.
void import_events(Visits& visits, std::vector<std::pair<std::string, std::vector<Event>>> visitors, Deadline deadline);

}  // namespace server
