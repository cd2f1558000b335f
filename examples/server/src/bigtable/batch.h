// Several requests in one call, repeated once where the server was only passingly unable and half the time is left.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "calls.h"
#include "channels.h"
#include "complaints.h"
#include "deadlines.h"
#include "read_rows.h"
#include "rows.h"
#include "table.h"

namespace server::bigtable {

// What all calls of a store share.
struct Connection {
  const Table& table;
  Channels& channels;
  Calls& calls;
  Deadlines& deadlines;
  const Cells& cells;
  std::atomic<bool> closing{false};
  std::atomic<std::int64_t> read_calls{0};
  std::atomic<std::int64_t> write_calls{0};
  std::atomic<std::int64_t> repeated_calls{0};
  std::atomic<std::int64_t> failed_requests{0};  // by Bigtable's word, not by time
  Complaints complaints{"calls of Bigtable", std::chrono::seconds(10)};
};

enum class Kind { kRead, kWrite };

// Whether the same call may succeed in a moment. What is written here may be written twice.
bool is_passing(Kind kind, const Outcome& outcome);

class Read : public Waiting {
 public:
  Read(std::string row_key, int n, std::int64_t since, Deadline deadline, Visits::Found found)
      : Waiting(deadline, std::chrono::steady_clock::now()),
        key(std::move(row_key)),
        n(n),
        since(since),
        found_(std::move(found)) {}

  bool together_with(const Read& other) const { return n == other.n; }  // one filter serves all
  bool answer(std::vector<Event> events) {                              // false: it is answered already
    if (!claim()) return false;
    found_(std::move(events), nullptr);
    return true;
  }

  const std::string key;
  const int n;
  const std::int64_t since;

 private:
  void failed(const std::exception_ptr& error) override { found_({}, error); }
  const Visits::Found found_;
};

class Write : public Waiting {
 public:
  Write(std::string row_key, Cells::Mutations mutations, Deadline deadline, Visits::Done done)
      : Waiting(deadline, std::chrono::steady_clock::now()),
        key(std::move(row_key)),
        mutations(std::move(mutations)),
        done_(std::move(done)) {}

  bool together_with(const Write&) const { return true; }
  bool answer() {
    if (!claim()) return false;
    done_(nullptr);
    return true;
  }

  const std::string key;
  const Cells::Mutations mutations;

 private:
  void failed(const std::exception_ptr& error) override { done_(error); }
  const Visits::Done done_;
};

// Not thread-safe: goes from one callback of its calls to the next.
template <class Request>
class Batch : public std::enable_shared_from_this<Batch<Request>> {
 public:
  using Requests = std::vector<std::shared_ptr<Request>>;

  Batch(Connection& connection, Requests requests, std::function<void()> ended)
      : connection_(connection), requests_(std::move(requests)), ended_(std::move(ended)) {
    for (const auto& request : requests_) keys_.push_back(request->key);
  }
  virtual ~Batch() = default;

  void send(const Headers& cookies = {});

 protected:
  virtual void call(std::shared_ptr<Channels::Stub> stub, Deadline deadline, const Headers& cookies) = 0;

  // The call is over. Whoever has no answer yet goes into a second one, or fails by the outcome's status.
  void end(Kind kind, const Outcome& outcome);
  void fail(Request& request, const grpc::Status& status);
  void went_well();  // the call, for whoever has not failed

  Connection& connection_;
  Requests requests_;

 private:
  const std::function<void()> ended_;
  std::vector<std::string> keys_;  // of all requests, those that have ended, too
  bool repeated_ = false;
  bool refused_ = false;  // some request of it, by Bigtable's word
};

class ReadBatch : public Batch<Read> {
 public:
  ReadBatch(Connection& connection, Requests requests, std::function<void()> ended);

 private:
  void call(std::shared_ptr<Channels::Stub> stub, Deadline deadline, const Headers& cookies) override;
  bool take(Calls::ReadResponse& response);
  void answer(Row row);
  void over(Outcome outcome);

  std::unique_ptr<RowReader> reader_;
  std::string broken_;  // what was wrong with the stream
};

class WriteBatch : public Batch<Write> {
 public:
  using Batch::Batch;

 private:
  void call(std::shared_ptr<Channels::Stub> stub, Deadline deadline, const Headers& cookies) override;
  bool take(const Calls::WriteResponse& response);
  void over(Outcome outcome);

  Outcome passing_;  // of an entry that is worth a second call
};

}  // namespace server::bigtable
