// The store in Bigtable: the cases that Google's tests of clients have
// (https://github.com/googleapis/cloud-bigtable-clients-test), by their names there.
#include <doctest/doctest.h>

#include <atomic>
#include <set>
#include <optional>

#include "helpers.h"

using namespace server;
using namespace server::bigtable;
using namespace server::bigtable::testing;

TEST_CASE("Generic_Headers: every call says what table it is for, who asks and what is understood") {
  Mock mock;
  BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
  append(store, "ann", {{1000, "a", ""}}, in(kPlenty)).get();
  last(store, "ann", 1, 0, in(kPlenty)).get();
  const std::string table = "projects/shop project/instances/instance/tables/visits";
  const std::string encoded = "projects%2Fshop%20project%2Finstances%2Finstance";
  const auto check = [&](const auto& call, const std::string& params) {
    CHECK(values(call.headers, "x-goog-request-params") == std::vector{params + "&app_profile_id=one%2Fcluster"});
    REQUIRE(values(call.headers, "x-goog-api-client").size() == 1);
    CHECK(values(call.headers, "x-goog-api-client")[0].find("grpc/") != std::string::npos);
    // Fields 4, 6 and 7 are true.
    CHECK(values(call.headers, "bigtable-features") == std::vector<std::string>{"IAEwATgB"});
    CHECK(call.request.app_profile_id() == "one/cluster");
  };
  REQUIRE(mock.reads().size() == 1);
  REQUIRE(mock.writes().size() == 1);
  check(mock.reads()[0], "table_name=" + encoded + "%2Ftables%2Fvisits");
  check(mock.writes()[0], "table_name=" + encoded + "%2Ftables%2Fvisits");
  CHECK(mock.reads()[0].request.table_name() == table);
  CHECK(mock.reads()[0].request.rows_limit() == 1);
  CHECK(mock.writes()[0].request.table_name() == table);
  REQUIRE(!mock.pings().empty());
  check(mock.pings()[0], "name=" + encoded);
  CHECK(mock.pings()[0].request.name() == "projects/shop project/instances/instance");
}

TEST_CASE("DeadlineExceeded: a server that hangs in a call, and one that never speaks") {
  Mock mock;
  mock.on_read = [](auto& context, auto&, auto&) { return hang(context); };
  mock.on_write = [](auto& context, auto&, auto&) { return hang(context); };
  Mute mute;
  for (const std::string& address : {mock.address(), mute.address()}) {
    ChannelOptions channels = channels_of_test(address);
    channels.warm_timeout = milliseconds(100);
    BigtableVisits store(options_of_test(), channels);
    std::vector<std::future<std::vector<Event>>> reads;
    std::vector<std::future<void>> writes;
    for (int i = 0; i < 100; ++i) {
      reads.push_back(last(store, "v" + std::to_string(i), 1, 0, in(milliseconds(50))));
      writes.push_back(append(store, "v" + std::to_string(i), {{1, "a", ""}}, in(milliseconds(50))));
    }
    for (auto& read : reads) CHECK_THROWS_AS(read.get(), StoreUnavailable);
    for (auto& write : writes) CHECK_THROWS_AS(write.get(), StoreUnavailable);
    CHECK(figure(store, "unanswered") == 0);  // nothing is kept of them
  }
}

TEST_CASE("MultiStreams: calls in flight are bounded, and what comes meanwhile goes in one") {
  Mock mock;
  Gate gate;
  std::atomic<int> calls{0};
  mock.on_read = [&](auto&, auto&, auto&) -> std::optional<grpc::Status> {
    if (calls++ < 2) gate.pass();
    return std::nullopt;
  };
  VisitsOptions options = options_of_test();
  options.bigtable.calls = 2;
  options.bigtable.rows_per_call = 16;
  BigtableVisits store(options, channels_of_test(mock.address()));
  for (int i = 0; i < 40; ++i) append(store, "v" + std::to_string(i), {{1000 + i, "a", ""}}, in(kPlenty)).get();
  std::vector<std::future<std::vector<Event>>> reads;
  const auto read = [&](int i) { reads.push_back(last(store, "v" + std::to_string(i), 5, 0, in(kPlenty))); };
  read(0);
  read(1);
  gate.wait(2);
  for (int i = 2; i < 40; ++i) read(i);
  read(39);  // one visitor, twice in a call
  gate.open();
  for (int i = 0; i < 40; ++i) CHECK(reads[i].get() == std::vector<Event>{{1000 + i, "a", ""}});
  CHECK(reads[40].get() == std::vector<Event>{{1039, "a", ""}});
  std::multiset<int> sizes;
  std::set<std::string> peers;
  for (const auto& call : mock.reads()) {
    sizes.insert(call.request.rows().row_keys_size());
    CHECK(call.request.rows_limit() == call.request.rows().row_keys_size());
    peers.insert(call.peer);
  }
  CHECK(sizes == std::multiset<int>{1, 1, 6, 16, 16});
  CHECK(peers.size() == 2);  // each channel is a connection of its own
}

TEST_CASE("CommitInSeparateChunk: a row that is complete only with its last chunk") {
  Mock mock;
  mock.on_read = [](auto&, auto&, auto& writer) {
    v2::ReadRowsResponse first, second;
    add_cell(first, "ann", 2000000, "b", false);
    add_cell(second, "ann", 1000000, "a", true);
    writer.Write(first);
    writer.Write(second);
    return grpc::Status::OK;
  };
  BigtableVisits store(options_with_views(), channels_of_test(mock.address()));
  CHECK(last(store, "ann", 5, 0, in(kPlenty)).get() ==
        std::vector<Event>{{1000, "detail-page-view", "a"}, {2000, "detail-page-view", "b"}});
}

TEST_CASE("OutOfOrder: keys that do not increase, an end within a row, a piece missing: nothing of it is an answer") {
  Mock mock;
  for (const int fault : {0, 1, 2}) {
    CAPTURE(fault);
    mock.on_read = [fault](auto&, auto&, auto& writer) {
      v2::ReadRowsResponse response;
      add_cell(response, "bob", 1000000, "b", fault != 1);
      if (fault == 0) add_cell(response, "ann", 1000000, "a", true);
      if (fault == 2) response.mutable_chunks(0)->set_value_size(9);
      writer.Write(response);
      return grpc::Status::OK;
    };
    BigtableVisits store(options_with_views(), channels_of_test(mock.address()));
    CHECK(message_of(last(store, "ann", 5, 0, in(kPlenty))).find("broken") != std::string::npos);
  }
  CHECK(mock.reads().size() == 3);
}

TEST_CASE("ErrorAfterLastRow: a row that came whole is answered whatever follows") {
  Mock mock;
  mock.on_read = [](auto&, auto&, auto& writer) {
    v2::ReadRowsResponse response;
    add_cell(response, "ann", 1000000, "a", true);
    writer.Write(response);
    return grpc::Status(grpc::PERMISSION_DENIED, "too late");
  };
  BigtableVisits store(options_with_views(), channels_of_test(mock.address()));
  CHECK(last(store, "ann", 5, 0, in(kPlenty)).get().size() == 1);
}

TEST_CASE("TransientErrors: what is passing is repeated, once, and nothing else is") {
  struct Case {
    grpc::StatusCode code;
    const char* message;
    bool read, write;  // repeated
  };
  for (const Case& one : {Case{grpc::UNAVAILABLE, "", true, true}, Case{grpc::DEADLINE_EXCEEDED, "", true, true},
                          Case{grpc::ABORTED, "", true, false}, Case{grpc::CANCELLED, "", true, false},
                          Case{grpc::INTERNAL, "RST_STREAM", true, false}, Case{grpc::INTERNAL, "other", false, false},
                          Case{grpc::NOT_FOUND, "table", false, false}}) {
    CAPTURE(one.code);
    Mock mock;
    std::atomic<int> reads{0}, writes{0};
    mock.on_read = [&](auto&, auto&, auto&) -> std::optional<grpc::Status> {
      return reads++ == 0 ? std::optional(grpc::Status(one.code, one.message)) : std::nullopt;
    };
    mock.on_write = [&](auto&, auto&, auto&) -> std::optional<grpc::Status> {
      return writes++ == 0 ? std::optional(grpc::Status(one.code, one.message)) : std::nullopt;
    };
    BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
    auto write = append(store, "ann", {{1000, "a", ""}}, in(kPlenty));
    CHECK(succeeds(std::move(write)) == one.write);
    auto read = last(store, "ann", 1, 0, in(kPlenty));
    CHECK(succeeds(std::move(read)) == one.read);
    CHECK(mock.writes().size() == (one.write ? 2 : 1));
    CHECK(mock.reads().size() == (one.read ? 2 : 1));
    if (one.write) CHECK(mock.writes()[0].request.SerializeAsString() == mock.writes()[1].request.SerializeAsString());

    mock.on_read = [&](auto&, auto&, auto&) { return kAway; };
    const std::size_t before = mock.reads().size();
    CHECK(message_of(last(store, "ann", 1, 0, in(kPlenty))).find("away") != std::string::npos);
    CHECK(mock.reads().size() == before + 2);
  }
}

TEST_CASE("MutateRows: only the entries that failed in passing are written again") {
  Mock mock;
  Gate gate;
  std::atomic<int> calls{0};
  mock.on_write = [&](auto&, auto& request, auto& writer) -> std::optional<grpc::Status> {
    const int call = calls++;
    if (call == 0) return gate.pass(), std::nullopt;
    if (call > 1) return std::nullopt;
    for (int i = request.entries_size() - 1; i >= 0; --i) {
      v2::MutateRowsResponse response;
      auto& entry = *response.add_entries();
      entry.set_index(i);
      entry.mutable_status()->set_code(i % 2 ? grpc::UNAVAILABLE : grpc::OK);
      if (i < 3) writer.Write(response);  // of the last it says nothing
    }
    return grpc::Status::OK;
  };
  BigtableVisits store(one_call_at_a_time(), channels_of_test(mock.address()));
  auto first = append(store, "first", {{1, "a", ""}}, in(kPlenty));
  gate.wait();
  std::vector<std::future<void>> writes;
  for (int i = 0; i < 4; ++i) writes.push_back(append(store, "v" + std::to_string(i), {{1, "a", ""}}, in(kPlenty)));
  gate.open();
  first.get();
  for (auto& write : writes) write.get();
  REQUIRE(mock.writes().size() == 3);
  const auto again = mock.writes()[2].request;
  REQUIRE(again.entries_size() == 2);
  CHECK(again.entries(0).row_key() == "v1");
  CHECK(again.entries(1).row_key() == "v3");
}

TEST_CASE("RoutingCookie: what the server gives to the call that failed comes with the one that repeats it") {
  Mock mock;
  std::atomic<int> reads{0}, writes{0};
  const auto fail = [](grpc::ServerContext& context) {
    context.AddInitialMetadata("x-goog-cbt-cookie-a", "first");
    context.AddInitialMetadata("x-goog-cbt-cookie-b", "replaced");
    context.AddTrailingMetadata("x-goog-cbt-cookie-b", "second");
    context.AddTrailingMetadata("x-other", "no");
    return kAway;
  };
  mock.on_read = [&](auto& context, auto&, auto& writer) -> std::optional<grpc::Status> {
    if (reads++) return std::nullopt;
    const auto status = fail(context);
    writer.SendInitialMetadata();
    return status;
  };
  mock.on_write = [&](auto& context, auto&, auto& writer) -> std::optional<grpc::Status> {
    if (writes++) return std::nullopt;
    const auto status = fail(context);
    writer.SendInitialMetadata();
    return status;
  };
  BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
  append(store, "ann", {{1000, "a", ""}}, in(kPlenty)).get();
  last(store, "ann", 1, 0, in(kPlenty)).get();
  const auto check = [&](const auto& calls) {
    REQUIRE(calls.size() == 2);
    CHECK(values(calls[0].headers, "x-goog-cbt-cookie-a").empty());
    CHECK(values(calls[1].headers, "x-goog-cbt-cookie-a") == std::vector<std::string>{"first"});
    CHECK(values(calls[1].headers, "x-goog-cbt-cookie-b") == std::vector<std::string>{"second"});
    CHECK(values(calls[1].headers, "x-other").empty());
  };
  check(mock.reads());
  check(mock.writes());
  last(store, "ann", 1, 0, in(kPlenty)).get();
  CHECK(values(mock.reads()[2].headers, "x-goog-cbt-cookie-a").empty());  // another request
}

TEST_CASE(
    "RetryInfo: a server that asks for time gets it, whatever its status, or no second call where there is none") {
  Mock mock;
  std::atomic<int> reads{0};
  std::chrono::steady_clock::time_point first, second;
  milliseconds delay(1100);
  mock.on_read = [&](auto&, auto&, auto&) -> std::optional<grpc::Status> {
    if (reads++) return second = std::chrono::steady_clock::now(), std::nullopt;
    first = std::chrono::steady_clock::now();
    return with_retry_info(grpc::RESOURCE_EXHAUSTED, delay);
  };
  BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
  CHECK(last(store, "ann", 1, 0, in(kPlenty)).get().empty());
  CHECK(second - first >= delay);
  reads = 0;
  delay = 2 * kPlenty;
  CHECK(message_of(last(store, "ann", 1, 0, in(kPlenty))).find("later") != std::string::npos);
  CHECK(reads == 1);
}

TEST_CASE("CloseClient: whoever is in flight, waits, or is about to be repeated is told, and nothing is left behind") {
  Mock mock;
  std::atomic<int> reads{0};
  mock.on_read = [&](auto& context, auto&, auto&) {
    return reads++ == 0 ? with_retry_info(grpc::UNAVAILABLE, milliseconds(900)) : hang(context);
  };
  VisitsOptions options = options_of_test();
  options.bigtable.calls = 3;
  std::vector<std::future<std::vector<Event>>> answers;
  {
    BigtableVisits store(options, channels_of_test(mock.address()));
    answers.push_back(last(store, "v", 1, 0, in(kPlenty)));
    while (figure(store, "repeated_calls") == 0) std::this_thread::sleep_for(milliseconds(1));
    for (int i = 0; i < 50; ++i) answers.push_back(last(store, "v", 1 + i % 2, 0, in(kPlenty)));
    while (reads < 3) std::this_thread::sleep_for(milliseconds(1));
  }
  for (auto& answer : answers) {
    REQUIRE(answer.wait_for(milliseconds(0)) == std::future_status::ready);
    CHECK_THROWS_AS(answer.get(), StoreUnavailable);
  }
}
