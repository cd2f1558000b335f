// The store in Bigtable, against a server of our own: what is written is read, alone and together.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <optional>

#include "helpers.h"

using namespace server;
using namespace server::bigtable;
using namespace server::bigtable::testing;

TEST_CASE("what is written is read, by number and age, however the server says it") {
  for (const bool awkward : {false, true}) {
    CAPTURE(awkward);
    Mock mock;
    mock.awkward = awkward;
    BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
    const std::vector<Event> all = write_some(store);
    CHECK(last(store, "ann", 10, 0, in(kPlenty)).get() == all);
    CHECK(last(store, "ann", 2, 0, in(kPlenty)).get() == std::vector<Event>(all.begin() + 1, all.end()));
    CHECK(last(store, "ann", 10, 2000, in(kPlenty)).get() == std::vector<Event>(all.begin() + 1, all.end()));
    CHECK(last(store, "ann", 10, 2001, in(kPlenty)).get().empty());
    CHECK(last(store, "ann", 0, 0, in(kPlenty)).get().empty());
    CHECK(last(store, "nobody", 10, 0, in(kPlenty)).get().empty());
    // What is not asked for does not come over the wire, either.
    REQUIRE(mock.reads().size() > 1);
    CHECK(mock.reads()[1].request.filter().chain().filters(1).chain().filters(1).cells_per_row_limit_filter() == 2);

    erase(store, "ann", in(kPlenty)).get();
    CHECK(last(store, "ann", 10, 0, in(kPlenty)).get().empty());
    CHECK(last(store, "bob", 10, 0, in(kPlenty)).get().size() == 1);
  }
}

TEST_CASE("the configuration's count and age hold whatever is asked for") {
  Mock mock;
  VisitsOptions options = options_of_test();
  options.max_events = 2;
  options.max_age_s = 3600;
  BigtableVisits store(options, channels_of_test(mock.address()));
  const std::int64_t now =
      std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  append(store, "ann", {{now - 7200000, "a", ""}, {now - 1000, "b", ""}}, in(kPlenty)).get();
  CHECK(last(store, "ann", 10, 0, in(kPlenty)).get() == std::vector<Event>{{now - 1000, "b", ""}});
  append(store, "ann", {{now - 900, "c", ""}, {now - 800, "d", ""}}, in(kPlenty)).get();
  CHECK(last(store, "ann", 10, 0, in(kPlenty)).get().size() == 2);
}

TEST_CASE("columns of others are read in their place among ours") {
  Mock mock;
  mock.put("ann", "visits", "view", 1000000, "theirs");
  mock.put("ann", "visits", "view", 3000000, "theirs, later");
  mock.put("ann", "visits", "score", 9000000, "0.5");
  mock.put("ann", "profile", "view", 9000000, "of another family");
  BigtableVisits store(options_with_views(), channels_of_test(mock.address()));
  append(store, "ann", {{2000, "search", "ours"}}, in(kPlenty)).get();
  CHECK(last(store, "ann", 10, 0, in(kPlenty)).get() ==
        std::vector<Event>{{1000, "detail-page-view", "theirs"},
                           {2000, "search", "ours"},
                           {3000, "detail-page-view", "theirs, later"}});
  erase(store, "ann", in(kPlenty)).get();
  CHECK(mock.cells() == 1);  // of the other family, which is not ours to erase
}

TEST_CASE(
    "all before a time is erased, in rows of more cells and tables of more rows than a page has, and nothing else") {
  Mock mock;
  VisitsOptions options = options_with_views();
  options.max_events = 1000;
  BigtableVisits store(options, channels_of_test(mock.address()));
  for (int i = 0; i < 200; ++i) {
    const std::string visitor = "v" + std::to_string(i);
    append(store, visitor, {{1000, "a", ""}, {2000, "b", ""}}, in(kPlenty)).get();
    mock.put(visitor, "visits", "score", 1000000, "0.5");
    mock.put(visitor, "visits", "view", 500000, "theirs");
  }
  std::vector<Event> many;
  for (int i = 0; i < 600; ++i) many.push_back({1000 + i, "c", ""});
  append(store, "v100", many, in(kPlenty)).get();
  erase_before(store, 1500, in(kPlenty)).get();
  for (int i = 0; i < 200; ++i) {
    const std::size_t left = last(store, "v" + std::to_string(i), 1000, 0, in(kPlenty)).get().size();
    CHECK(left == (i == 100 ? 101u : 1u));
  }
  CHECK(mock.cells() == 200 + 200 + 100);
}

TEST_CASE("erasing all before a time goes on where the server fails once, and says so where it fails for good") {
  Mock mock;
  std::atomic<int> reads{0}, writes{0};
  mock.on_read = [&](auto&, auto&, auto&) -> std::optional<grpc::Status> {
    return reads++ % 2 == 0 ? std::optional(kAway) : std::nullopt;
  };
  mock.on_write = [&](auto&, auto& request, auto& writer) -> std::optional<grpc::Status> {
    if (writes == 0 || writes++ != 1) return ++writes, std::nullopt;
    v2::MutateRowsResponse response;
    for (int i = 0; i < request.entries_size(); ++i) {
      auto& entry = *response.add_entries();
      entry.set_index(i);
      entry.mutable_status()->set_code(grpc::UNAVAILABLE);
    }
    writer.Write(response);
    return grpc::Status::OK;
  };
  BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
  append(store, "ann", {{1000, "a", ""}, {2000, "b", ""}}, in(kPlenty)).get();
  erase_before(store, 1500, in(kPlenty)).get();
  CHECK(mock.cells() == 1);
  mock.on_read = [&](auto&, auto&, auto&) { return grpc::Status(grpc::PERMISSION_DENIED, "no"); };
  CHECK_THROWS_AS(erase_before(store, 2500, in(kPlenty)).get(), StoreUnavailable);
  CHECK(mock.cells() == 1);
}

TEST_CASE("writes that wait go together, each is answered for itself, and each is all or nothing") {
  Mock mock;
  Gate gate;
  std::atomic<int> calls{0};
  mock.on_write = [&](auto&, auto& request, auto& writer) -> std::optional<grpc::Status> {
    if (calls++ == 0) return gate.pass(), std::nullopt;
    v2::MutateRowsResponse response;
    for (int i = 0; i < request.entries_size(); ++i) {
      auto& entry = *response.add_entries();
      entry.set_index(i);
      entry.mutable_status()->set_code(request.entries(i).row_key() == "v1" ? grpc::INVALID_ARGUMENT : grpc::OK);
    }
    writer.Write(response);
    return grpc::Status::OK;
  };
  BigtableVisits store(one_call_at_a_time(), channels_of_test(mock.address()));
  auto first = append(store, "first", {{1, "a", ""}}, in(kPlenty));
  gate.wait();
  std::vector<std::future<void>> writes;
  for (int i = 0; i < 3; ++i)
    writes.push_back(append(store, "v" + std::to_string(i), {{1, "a", ""}, {2, "b", ""}}, in(kPlenty)));
  gate.open();
  first.get();
  writes[0].get();
  CHECK_THROWS_AS(writes[1].get(), StoreUnavailable);
  writes[2].get();
  REQUIRE(mock.writes().size() == 2);  // what is not passing is not repeated
  CHECK(mock.writes()[1].request.entries_size() == 3);
  CHECK(mock.writes()[1].request.entries(0).mutations_size() == 2);
}

TEST_CASE("reads of other numbers of events do not go together: one filter serves a call") {
  Mock mock;
  Gate gate;
  mock.on_read = [&](auto&, auto&, auto&) -> std::optional<grpc::Status> { return gate.pass(), std::nullopt; };
  BigtableVisits store(one_call_at_a_time(), channels_of_test(mock.address()));
  append(store, "ann", {{1000, "a", ""}, {2000, "b", ""}, {3000, "c", ""}}, in(kPlenty)).get();
  auto first = last(store, "first", 1, 0, in(kPlenty));
  gate.wait();
  auto two = last(store, "ann", 2, 0, in(kPlenty));
  auto of_two = last(store, "ann", 2, 2500, in(kPlenty));
  auto three = last(store, "ann", 3, 0, in(kPlenty));
  gate.open();
  first.get();
  CHECK(two.get().size() == 2);
  CHECK(of_two.get() == std::vector<Event>{{3000, "c", ""}});
  CHECK(three.get().size() == 3);
  CHECK(mock.reads().size() == 3);
}

TEST_CASE(
    "a stream that breaks off: rows that came are answered, those scanned past are empty, the rest is read again") {
  Mock mock;
  Gate gate;
  std::atomic<int> calls{0};
  mock.on_read = [&](auto&, auto&, auto& writer) -> std::optional<grpc::Status> {
    const int call = calls++;
    if (call == 0) return gate.pass(), std::nullopt;
    if (call > 1) return std::nullopt;
    v2::ReadRowsResponse response;
    add_cell(response, "b", 1000000, "b", true);
    add_cell(response, "d", 1000000, "torn", false);
    writer.Write(response);
    return grpc::Status(grpc::INTERNAL, "Received RST_STREAM with error code 2");
  };
  mock.put("d", "visits", "view", 1000000, "d");
  BigtableVisits store(one_call_at_a_time(options_with_views()), channels_of_test(mock.address()));
  auto first = last(store, "first", 5, 0, in(kPlenty));
  gate.wait();
  auto a = last(store, "a", 5, 0, in(kPlenty));
  auto b = last(store, "b", 5, 0, in(kPlenty));
  auto c = last(store, "c", 5, 0, in(kPlenty));
  auto d = last(store, "d", 5, 0, in(kPlenty));
  gate.open();
  CHECK(a.get().empty());
  CHECK(b.get() == std::vector<Event>{{1000, "detail-page-view", "b"}});
  CHECK(c.get().empty());
  CHECK(d.get() == std::vector<Event>{{1000, "detail-page-view", "d"}});
  REQUIRE(mock.reads().size() == 3);
  const auto again = mock.reads()[2].request.rows().row_keys();
  CHECK(std::vector<std::string>(again.begin(), again.end()) == std::vector<std::string>{"c", "d"});
}

TEST_CASE("what cannot be is refused: a configuration without a table, an event before 1970") {
  VisitsOptions options = options_of_test();
  options.bigtable.instance = "";
  CHECK_THROWS_WITH_AS(BigtableVisits{options}, doctest::Contains("visits.bigtable.instance"), std::invalid_argument);
  Mock mock;
  BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
  CHECK_THROWS_AS(append(store, "ann", {{1000, "a", ""}, {-1, "a", ""}}, in(kPlenty)).get(), std::invalid_argument);
  append(store, "ann", {}, in(kPlenty)).get();
  CHECK(mock.writes().empty());
}

TEST_CASE(
    "many threads, a server that is now well, now away, now slow: each is answered once, and what is done is there") {
  Mock mock;
  std::atomic<int> calls{0};
  std::atomic<bool> calm{false};
  const auto weather = [&]() -> std::optional<grpc::Status> {
    const int call = calls++;
    if (calm) return std::nullopt;
    if (call % 7 == 3) return kAway;
    if (call % 11 == 5) std::this_thread::sleep_for(milliseconds(30));
    return std::nullopt;
  };
  mock.on_read = [&](auto&, auto&, auto&) { return weather(); };
  mock.on_write = [&](auto&, auto&, auto&) { return weather(); };
  ChannelOptions channels = channels_of_test(mock.address());
  channels.refresh_least = channels.refresh_most = milliseconds(30);
  BigtableVisits store(options_of_test(), channels);
  constexpr int kThreads = 4, kEach = 300;
  std::array<std::atomic<int>, kThreads> answered{}, written{};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const std::string visitor = "v" + std::to_string(t);
        const milliseconds time = i % 2 ? milliseconds(40) : kPlenty;
        store.append(visitor, {{1000 + i, "a", std::to_string(i)}}, in(time), [&, t](std::exception_ptr error) {
          ++answered[t];
          if (!error) ++written[t];
        });
        store.last(visitor, 10, 0, in(time), [&, t](std::vector<Event>, std::exception_ptr) { ++answered[t]; });
        if (i % 10 == 0) std::this_thread::sleep_for(milliseconds(1));
      }
    });
  for (auto& thread : threads) thread.join();
  const auto all_answered = [&] {
    return std::all_of(answered.begin(), answered.end(), [](const auto& count) { return count == 2 * kEach; });
  };
  for (const auto until = in(2 * kPlenty); std::chrono::steady_clock::now() < until && !all_answered();)
    std::this_thread::sleep_for(milliseconds(1));
  calm = true;
  for (int t = 0; t < kThreads; ++t) {
    CHECK(answered[t] == 2 * kEach);
    CHECK(written[t] > 0);
    const auto events = last(store, "v" + std::to_string(t), 200, 0, in(kPlenty)).get();
    CHECK(static_cast<int>(events.size()) >= std::min(200, written[t].load()));
  }
}
