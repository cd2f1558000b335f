// The contract of stores of visits, over the store in Bigtable: with a server of our own and Google's emulator.
#include <memory>
#include <string>
#include <vector>

#include "../visits_contract.h"
#include "emulator.h"
#include "helpers.h"

using namespace server;
using namespace server::bigtable::testing;

namespace {

std::unique_ptr<Visits> store_at(const std::string& address, int table, int max_events, std::int64_t max_age_s) {
  VisitsOptions options = options_of_test();
  options.bigtable.project = "shop";
  options.bigtable.table = "visits" + std::to_string(table);
  options.max_events = max_events;
  options.max_age_s = max_age_s;
  return std::make_unique<BigtableVisits>(options, channels_of_test(address));
}

}  // namespace

TEST_CASE("visits in Bigtable") {
  std::vector<std::unique_ptr<Mock>> mocks;
  contract::run([&](int max_events, std::int64_t max_age_s) {
    mocks.push_back(std::make_unique<Mock>());
    return store_at(mocks.back()->address(), 0, max_events, max_age_s);
  });
}

TEST_CASE("visits in Google's emulator") {
  const std::string program = find_emulator();
  if (program.empty()) {
    MESSAGE("SKIPPED: no cbtemulator; Google's Cloud SDK has it, or STAMP_CBTEMULATOR names one");
    return;
  }
  const Emulator emulator(program);
  int tables = 0;
  // Bigtable's rows are atomic, the emulator's are not: what it reads is a copy of the row but for the list of its
  // columns, which a write of a new one sorts in place meanwhile. A read then misses any column, old ones, too.
  contract::run(
      [&](int max_events, std::int64_t max_age_s) {
        emulator.create_table("projects/shop/instances/instance", "visits" + std::to_string(++tables), {"visits"});
        return store_at(emulator.address(), tables, max_events, max_age_s);
      },
      contract::Meanwhile::kPartial);
}
