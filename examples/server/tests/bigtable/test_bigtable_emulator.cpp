// The store in Bigtable, against Google's emulator where there is one: what is asked of the server is what it
// understands.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <thread>

#include "emulator.h"
#include "helpers.h"

using namespace server;
using namespace server::bigtable;
using namespace server::bigtable::testing;

namespace {

const char kInstance[] = "projects/shop/instances/instance";

std::unique_ptr<Emulator> started(int port = 0) {
  const std::string program = find_emulator();
  if (program.empty()) {
    MESSAGE("SKIPPED: no cbtemulator; Google's Cloud SDK has it, or STAMP_CBTEMULATOR names one");
    return nullptr;
  }
  auto emulator = std::make_unique<Emulator>(program, port);
  emulator->create_table(kInstance, "visits", {"visits", "profile"});
  return emulator;
}

VisitsOptions options_of_emulator() {
  VisitsOptions options = options_of_test();
  options.bigtable.project = "shop";
  options.bigtable.row_key = "{hash:4}#{visitor}";
  return options;
}

}  // namespace

TEST_CASE("emulator: what is written is read, by number and age, and erased") {
  auto emulator = started();
  if (!emulator) return;
  VisitsOptions options = options_of_emulator();
  options.bigtable.other_columns = {"search=search"};
  setenv("BIGTABLE_EMULATOR_HOST", emulator->address().c_str(), 1);
  BigtableVisits store(options);
  unsetenv("BIGTABLE_EMULATOR_HOST");
  const std::vector<Event> all = write_some(store);
  CHECK(last(store, "ann", 10, 0, in(kPlenty)).get() == all);
  CHECK(last(store, "ann", 2, 0, in(kPlenty)).get() == std::vector<Event>(all.begin() + 1, all.end()));
  CHECK(last(store, "ann", 10, 2001, in(kPlenty)).get().empty());
  CHECK(last(store, "nobody", 10, 0, in(kPlenty)).get().empty());
  erase_before(store, 1500, in(kPlenty)).get();
  CHECK(last(store, "ann", 10, 0, in(kPlenty)).get() == std::vector<Event>(all.begin() + 1, all.end()));
  erase(store, "ann", in(kPlenty)).get();
  CHECK(last(store, "ann", 10, 0, in(kPlenty)).get().empty());
  CHECK(last(store, "bob", 10, 0, in(kPlenty)).get().size() == 1);

  std::vector<std::future<std::vector<Event>>> reads;
  for (int i = 0; i < 60; ++i) append(store, "v" + std::to_string(i), {{1000 + i, "a", ""}}, in(kPlenty)).get();
  for (int i = 0; i < 60; ++i) reads.push_back(last(store, "v" + std::to_string(i), 5, 0, in(kPlenty)));
  for (int i = 0; i < 60; ++i) CHECK(reads[i].get() == std::vector<Event>{{1000 + i, "a", ""}});
}

TEST_CASE("emulator: two servers see what the other wrote") {
  auto emulator = started();
  if (!emulator) return;
  BigtableVisits one(options_of_emulator(), channels_of_test(emulator->address()));
  BigtableVisits two(options_of_emulator(), channels_of_test(emulator->address()));
  for (int i = 0; i < 20; ++i) {
    append(i % 2 ? one : two, "ann", {{1000, "a", std::to_string(i)}}, in(kPlenty)).get();
    const auto seen = last(i % 2 ? two : one, "ann", 100, 0, in(kPlenty)).get();
    REQUIRE(static_cast<int>(seen.size()) == i + 1);
    for (int j = 0; j <= i; ++j) CHECK(seen[j].item == std::to_string(j));
  }
}

TEST_CASE("emulator: a table or a family that is not there") {
  auto emulator = started();
  if (!emulator) return;
  VisitsOptions options = options_of_emulator();
  options.bigtable.table = "elsewhere";
  BigtableVisits no_table(options, channels_of_test(emulator->address()));
  CHECK_THROWS_AS(last(no_table, "ann", 1, 0, in(kPlenty)).get(), StoreUnavailable);
  options = options_of_emulator();
  options.bigtable.family = "elsewhere";
  BigtableVisits no_family(options, channels_of_test(emulator->address()));
  CHECK_THROWS_AS(append(no_family, "ann", {{1000, "a", ""}}, in(kPlenty)).get(), StoreUnavailable);
}

TEST_CASE("emulator: stopped, gone and back again under load, every request is answered by its deadline") {
  auto emulator = started();
  if (!emulator) return;
  BigtableVisits store(options_of_emulator(), channels_of_test(emulator->address()));
  append(store, "ann", {{1000, "a", ""}}, in(kPlenty)).get();
  std::atomic<int> asked{0}, answered{0}, good{0};
  const auto ask = [&](int count) {
    for (int i = 0; i < count; ++i) {
      ++asked;
      store.last("ann", 5, 0, in(milliseconds(50)), [&](std::vector<Event> events, std::exception_ptr error) {
        if (!error && events.size() == 1) ++good;
        ++answered;
      });
      std::this_thread::sleep_for(milliseconds(1));
    }
    for (const auto until = in(kPlenty); std::chrono::steady_clock::now() < until && answered < asked;)
      std::this_thread::sleep_for(milliseconds(1));
    CHECK(answered == asked);
  };
  const auto until_good = [&] {
    const int before = good;
    for (const auto until = in(kPlenty); std::chrono::steady_clock::now() < until && good == before;) ask(1);
    CHECK(good > before);
  };
  until_good();
  emulator->stop();
  ask(20);
  int before = good;
  ask(100);
  CHECK(good == before);
  emulator->go_on();
  until_good();
  emulator->kill();
  ask(20);
  before = good;
  ask(100);
  CHECK(good == before);
  const int port = emulator->port();
  emulator.reset();
  emulator = started(port);
  for (const auto until = in(kPlenty); std::chrono::steady_clock::now() < until;) {
    try {
      append(store, "ann", {{1000, "a", ""}}, in(kPlenty)).get();
      break;
    } catch (const StoreUnavailable&) {
    }
  }
  CHECK(last(store, "ann", 5, 0, in(kPlenty)).get().size() >= 1);
}
