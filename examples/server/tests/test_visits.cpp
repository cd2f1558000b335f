// The contract of stores of visits, over those that need nothing but this machine.
#include <memory>

#include "temporary_directory.h"
#include "visits_contract.h"
#include "visits_embedded.h"
#include "visits_memory.h"

TEST_CASE("visits in memory") {
  contract::run([](int max_events, std::int64_t max_age_s) {
    return std::make_unique<server::MemoryVisits>(max_events, 1000 * max_age_s);
  });
}

TEST_CASE("visits on disk") {
  int stores = 0;
  const TemporaryDirectory directory;
  contract::run([&](int max_events, std::int64_t max_age_s) {
    server::VisitsOptions options;
    options.path = directory.path() / std::to_string(++stores);
    options.max_events = max_events;
    options.max_age_s = max_age_s;
    return std::make_unique<server::EmbeddedVisits>(options);
  });
}
