// The store in Bigtable, where servers die, channels end, time runs out or too many wait.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <set>

#include "../temporary_directory.h"
#include "helpers.h"

using namespace server;
using namespace server::bigtable;
using namespace server::bigtable::testing;

TEST_CASE("a request is failed by its own deadline, not by that of a call that it shares or waits for") {
  Mock mock;
  Gate gate;
  mock.on_read = [&](auto&, auto&, auto&) -> std::optional<grpc::Status> { return gate.pass(), std::nullopt; };
  BigtableVisits store(one_call_at_a_time(), channels_of_test(mock.address()));
  auto patient = last(store, "ann", 1, 0, in(kPlenty));
  gate.wait();
  auto waits = last(store, "bob", 1, 0, in(milliseconds(20)));
  auto late = last(store, "bob", 1, 0, in(milliseconds(-20)));
  CHECK_THROWS_AS(waits.get(), StoreUnavailable);
  CHECK_THROWS_AS(late.get(), StoreUnavailable);
  gate.open();
  CHECK(patient.get().empty());
  CHECK(mock.reads().size() == 1);  // nobody asked for those who had gone
}

TEST_CASE("so many wait and no more") {
  Mock mock;
  Gate gate;
  mock.on_read = [&](auto&, auto&, auto&) -> std::optional<grpc::Status> { return gate.pass(), std::nullopt; };
  VisitsOptions options = options_of_test();
  options.bigtable.calls = 1;
  options.bigtable.max_waiting = 10;
  BigtableVisits store(options, channels_of_test(mock.address()));
  std::vector<std::future<std::vector<Event>>> reads;
  reads.push_back(last(store, "ann", 1, 0, in(kPlenty)));
  gate.wait();
  for (int i = 0; i < 10; ++i) reads.push_back(last(store, "ann", 1, 0, in(kPlenty)));
  CHECK(message_of(last(store, "ann", 1, 0, in(kPlenty))).find("too many") != std::string::npos);
  gate.open();
  for (auto& read : reads) CHECK(read.get().empty());
  CHECK(last(store, "ann", 1, 0, in(kPlenty)).get().empty());
}

TEST_CASE("no second call when less than half the time is left") {
  Mock mock;
  mock.on_read = [](auto&, auto&, auto&) {
    std::this_thread::sleep_for(milliseconds(600));
    return kAway;
  };
  BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
  CHECK_THROWS_AS(last(store, "ann", 1, 0, in(milliseconds(1000))).get(), StoreUnavailable);
  CHECK(mock.reads().size() == 1);
}

TEST_CASE("a store that ends before it is connected ends at once") {
  Mute mute;
  std::future<std::vector<Event>> answer;
  {
    BigtableVisits store(options_of_test(), channels_of_test(mute.address()));
    answer = last(store, "ann", 1, 0, in(kPlenty));
    CHECK_THROWS_AS(erase_before(store, 1000, in(kPlenty)).get(), StoreUnavailable);
  }
  CHECK_THROWS_AS(answer.get(), StoreUnavailable);
}

TEST_CASE("a server that dies fails what is in flight, and one that comes back is found") {
  auto mock = std::make_unique<Mock>();
  const int port = mock->port();
  mock->on_read = [](auto& context, auto&, auto&) { return hang(context); };
  BigtableVisits store(options_of_test(), channels_of_test(mock->address()));
  auto in_flight = last(store, "ann", 1, 0, in(kPlenty));
  while (mock->reads().empty()) std::this_thread::sleep_for(milliseconds(1));
  mock.reset();
  CHECK_THROWS_AS(in_flight.get(), StoreUnavailable);
  CHECK_THROWS_AS(last(store, "ann", 1, 0, in(kPlenty)).get(), StoreUnavailable);  // long before its deadline
  mock = std::make_unique<Mock>(port);
  const auto until = in(kPlenty);
  bool found = false;
  while (!found && std::chrono::steady_clock::now() < until) {
    try {
      last(store, "ann", 1, 0, in(milliseconds(200))).get();
      found = true;
    } catch (const StoreUnavailable&) {
    }
  }
  CHECK(found);
}

TEST_CASE("channels are replaced in time, after a warm call; calls in flight keep theirs") {
  Mock mock;
  Gate gate;
  std::atomic<bool> first{true};
  mock.on_read = [&](auto&, auto&, auto&) -> std::optional<grpc::Status> {
    if (first.exchange(false)) gate.pass();
    return std::nullopt;
  };
  ChannelOptions channels = channels_of_test(mock.address());
  channels.refresh_least = milliseconds(10);
  channels.refresh_most = milliseconds(20);
  BigtableVisits store(options_of_test(), channels);
  append(store, "ann", {{1000, "a", ""}}, in(kPlenty)).get();
  auto in_flight = last(store, "ann", 1, 0, in(kPlenty));
  gate.wait();
  while (figure(store, "channels_refreshed") < 6) {
    CHECK(last(store, "ann", 1, 0, in(kPlenty)).get().size() == 1);
  }
  gate.open();
  CHECK(in_flight.get().size() == 1);
  std::set<std::string> warmed, used;
  for (const auto& ping : mock.pings()) warmed.insert(ping.peer);
  for (const auto& read : mock.reads()) used.insert(read.peer);
  CHECK(warmed.size() >= 8);
  CHECK(used.size() > 2);
  CHECK(std::includes(warmed.begin(), warmed.end(), used.begin(), used.end()));
}

TEST_CASE("a channel that cannot be warmed does not replace the one there is") {
  Mock mock;
  std::atomic<int> pings{0};
  mock.on_ping = [&] {
    if (++pings > 2) std::this_thread::sleep_for(milliseconds(60));
    return grpc::Status::OK;
  };
  ChannelOptions channels = channels_of_test(mock.address());
  channels.refresh_least = channels.refresh_most = milliseconds(10);
  channels.warm_timeout = milliseconds(30);
  BigtableVisits store(options_of_test(), channels);
  while (figure(store, "channels_not_warmed") < 3) CHECK(last(store, "ann", 1, 0, in(kPlenty)).get().empty());
  std::set<std::string> used;
  for (const auto& read : mock.reads()) used.insert(read.peer);
  CHECK(used.size() <= 2);
}

TEST_CASE("an error says the status and what the server says, but no visitor") {
  Mock mock;
  mock.on_read = [](auto&, auto& request, auto&) {
    return grpc::Status(grpc::PERMISSION_DENIED,
                        request.rows().row_keys(0) == "ann" ? "row ann is not yours" : "no access");
  };
  BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
  const std::string of_ann = message_of(last(store, "ann", 1, 0, in(kPlenty)));
  CHECK(of_ann.find("7") != std::string::npos);
  CHECK(of_ann.find("ann") == std::string::npos);
  CHECK(message_of(last(store, "bob", 1, 0, in(kPlenty))).find("no access") != std::string::npos);
}

TEST_CASE("credentials that are not there are said once and counted, and looked for until they are; no secret is said") {
  const TemporaryDirectory directory;
  const std::filesystem::path file = directory.path() / "credentials.json";
  setenv("GOOGLE_APPLICATION_CREDENTIALS", file.c_str(), 1);
  setenv("HOME", directory.path().c_str(), 1);
  Mute mute;
  ChannelOptions channels = channels_of_test(mute.address());
  channels.secure = true;
  channels.warm_timeout = milliseconds(50);
  const Said said;
  BigtableVisits store(options_of_test(), channels);
  while (figure(store, "channels_without_credentials") < 3) std::this_thread::sleep_for(milliseconds(1));
  CHECK(said.lines("stamp-server: the connection to Bigtable at " + mute.address() +
                   ": fails with code 16 of gRPC: there are no application default credentials") == 1);
  CHECK(said.lines("") == 1);
  CHECK(figure(store, "channels_open") == 0);
  const auto aside = directory.path() / "aside";
  std::ofstream(aside) << R"({"type": "authorized_user", "client_id": "me", "client_secret": "s3cret",
                              "refresh_token": "t0ken"})";
  std::filesystem::rename(aside, file);
  while (figure(store, "channels_open") < 2) std::this_thread::sleep_for(milliseconds(1));
  CHECK(said.lines("fails with code 4 of gRPC") == 1);  // that server is mute
  CHECK(said.lines("") == 2);
  CHECK(said.lines("s3cret") + said.lines("t0ken") == 0);
  unsetenv("GOOGLE_APPLICATION_CREDENTIALS");
}

TEST_CASE("a server that takes no credentials is said once, and that it takes them again") {
  Mock mock;
  std::atomic<bool> takes{false};
  std::atomic<int> pings{0};
  mock.on_ping = [&] {
    ++pings;
    return takes ? grpc::Status::OK : grpc::Status(grpc::UNAUTHENTICATED, "expired");
  };
  const Said said;
  BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
  while (pings < 5) std::this_thread::sleep_for(milliseconds(1));
  CHECK(said.lines("stamp-server: ") == 1);
  CHECK(said.lines("fails with code 16 of gRPC: expired") == 1);
  takes = true;
  while (figure(store, "channels_refreshed") < 2) std::this_thread::sleep_for(milliseconds(1));
  CHECK(said.lines("well again") == 1);
  CHECK(said.lines("stamp-server: ") == 2);
}

TEST_CASE("calls that Bigtable refuses are said once and counted, without the visitor") {
  Mock mock;
  std::atomic<bool> takes{false};
  mock.on_read = [&](auto&, auto& request, auto&) -> std::optional<grpc::Status> {
    if (takes) return std::nullopt;
    return grpc::Status(grpc::PERMISSION_DENIED, "row " + request.rows().row_keys(0) + " is not yours");
  };
  const Said said;
  BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
  for (int i = 0; i < 20; ++i) CHECK(!succeeds(last(store, "ann", 1, 0, in(kPlenty))));
  CHECK(figure(store, "failed_requests") == 20);
  CHECK(said.lines("stamp-server: calls of Bigtable: fails with code 7 of gRPC") == 1);
  CHECK(said.lines("stamp-server: ") == 1);
  CHECK(said.lines("ann") == 0);
}

TEST_CASE("what fails and is well by turns is said, but not more often than may be") {
  const Said said;
  const grpc::Status away(grpc::UNAVAILABLE, "away"), no(grpc::PERMISSION_DENIED, "no");
  Complaints none("it", milliseconds(0));
  none.note(grpc::Status::OK);
  CHECK(said.lines("it") == 0);
  for (const auto& status : {away, away, no, grpc::Status::OK, grpc::Status::OK, away}) none.note(status);
  CHECK(said.lines("it: fails with code 14 of gRPC: away") == 2);
  CHECK(said.lines("it: fails with code 7 of gRPC: no") == 1);
  CHECK(said.lines("it: well again") == 1);
  Complaints seldom("that", std::chrono::hours(1));
  for (const auto& status : {away, grpc::Status::OK, no, grpc::Status::OK}) seldom.note(status);
  CHECK(said.lines("that") == 1);
}
