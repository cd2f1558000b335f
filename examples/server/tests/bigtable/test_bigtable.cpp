// The store in Bigtable, against a server of our own: its answers, and the cases that Google's tests of clients have
// (https://github.com/googleapis/cloud-bigtable-clients-test), by their names there.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "helpers.h"

using namespace server;
using namespace server::bigtable;
using namespace server::bigtable::testing;

namespace {

const grpc::Status kAway(grpc::UNAVAILABLE, "away");

// Until the client has had enough, or the server ends.
grpc::Status hang(grpc::ServerContext& context) {
  while (!context.IsCancelled()) std::this_thread::sleep_for(milliseconds(1));
  return grpc::Status::CANCELLED;
}

// Calls wait here until it is opened.
class Gate {
 public:
  void wait(int count = 1) {  // until so many have come
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return came_ >= count; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    ++came_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int came_ = 0;
  bool open_ = false;
};

void add_cell(v2::ReadRowsResponse& response, const std::string& row, std::int64_t micros, const std::string& value,
              bool commit) {
  auto& chunk = *response.add_chunks();
  chunk.set_row_key(row);
  chunk.mutable_family_name()->set_value("visits");
  chunk.mutable_qualifier()->set_value("view");
  chunk.set_timestamp_micros(micros);
  chunk.set_value(value);
  if (commit) chunk.set_commit_row(true);
}

VisitsOptions options_with_views() {
  VisitsOptions options = options_of_test();
  options.bigtable.other_columns = {"view=detail-page-view"};
  return options;
}

grpc::Status with_retry_info(grpc::StatusCode code, milliseconds delay) {
  v2::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(delay.count() / 1000);
  info.mutable_retry_delay()->set_nanos(static_cast<int>(delay.count() % 1000 * 1000000));
  v2::Status details;
  details.set_code(code);
  auto& any = *details.add_details();
  any.set_type_url("type.googleapis.com/google.rpc.RetryInfo");
  any.set_value(info.SerializeAsString());
  return grpc::Status(code, "later", details.SerializeAsString());
}

std::vector<std::string> values(const std::multimap<std::string, std::string>& headers, const std::string& name) {
  std::vector<std::string> out;
  for (auto [at, end] = headers.equal_range(name); at != end; ++at) out.push_back(at->second);
  return out;
}

double figure(const Visits& store, const std::string& name) {
  for (const auto& [key, value] : store.figures())
    if (key == name) return value;
  throw std::out_of_range(name);
}

std::string message_of(std::future<std::vector<Event>> answer) {
  try {
    answer.get();
  } catch (const StoreUnavailable& error) {
    return error.what();
  }
  return "";
}

template <class Answer>
bool succeeds(std::future<Answer> answer) {
  try {
    answer.get();
    return true;
  } catch (const StoreUnavailable&) {
    return false;
  }
}

// A port that takes connections and says nothing, ever.
class Mute {
 public:
  Mute() : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(socket_, 64) != 0 ||
        getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("cannot listen");
    port_ = ntohs(address.sin_port);
  }
  ~Mute() { close(socket_); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  const int socket_;
  int port_;
};

}  // namespace

TEST_CASE("what is written is read, by number and age, however the server says it") {
  for (const bool awkward : {false, true}) {
    CAPTURE(awkward);
    Mock mock;
    mock.awkward = awkward;
    BigtableVisits store(options_of_test(), channels_of_test(mock.address()));
    append(store, "ann", {{2000, "search", ""}, {1000, "detail-page-view", "p1"}}, in(kPlenty)).get();
    append(store, "ann", {{2000, "purchase-complete", "p2"}}, in(kPlenty)).get();
    append(store, "bob", {{3000, "detail-page-view", "p3"}}, in(kPlenty)).get();
    const std::vector<Event> all{
        {1000, "detail-page-view", "p1"}, {2000, "search", ""}, {2000, "purchase-complete", "p2"}};
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

TEST_CASE("a request is failed by its own deadline, not by that of a call that it shares or waits for") {
  Mock mock;
  Gate gate;
  mock.on_read = [&](auto&, auto&, auto&) -> std::optional<grpc::Status> { return gate.pass(), std::nullopt; };
  VisitsOptions options = options_of_test();
  options.bigtable.calls = 1;
  BigtableVisits store(options, channels_of_test(mock.address()));
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
  VisitsOptions options = options_of_test();
  options.bigtable.calls = 1;
  BigtableVisits store(options, channels_of_test(mock.address()));
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
  VisitsOptions options = options_of_test();
  options.bigtable.calls = 1;
  BigtableVisits store(options, channels_of_test(mock.address()));
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
  VisitsOptions options = options_with_views();
  options.bigtable.calls = 1;
  BigtableVisits store(options, channels_of_test(mock.address()));
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
  VisitsOptions options = options_of_test();
  options.bigtable.calls = 1;
  BigtableVisits store(options, channels_of_test(mock.address()));
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
