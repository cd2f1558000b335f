// Calls in flight: threads that take their answers from completion queues, and an end that waits for all of them.
#pragma once

#include <grpcpp/completion_queue.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "bigtable.grpc.pb.h"
#include "table.h"
#include "visits.h"

namespace server::bigtable {

// How a call ended.
struct Outcome {
  grpc::Status status;
  Headers cookies;                                      // for the call that repeats it: they lead to the same server
  std::optional<std::chrono::nanoseconds> retry_after;  // the server asks to be called again, after this
};

std::optional<std::chrono::nanoseconds> retry_of(const google::bigtable::v2::Status& status);

// Thread-safe. Callbacks run on a thread of this class, of one call never two at once.
class Calls {
 public:
  using Stub = google::bigtable::v2::Bigtable::Stub;
  using ReadRequest = google::bigtable::v2::ReadRowsRequest;
  using ReadResponse = google::bigtable::v2::ReadRowsResponse;
  using WriteRequest = google::bigtable::v2::MutateRowsRequest;
  using WriteResponse = google::bigtable::v2::MutateRowsResponse;
  template <class Response>
  using Message = std::function<bool(Response&)>;  // false: no more is wanted, the call is cancelled
  using End = std::function<void(Outcome)>;

  Calls(const Table& table, int threads);
  ~Calls();  // closes

  void read(std::shared_ptr<Stub> stub, const ReadRequest& request, Deadline deadline, const Headers& cookies,
            Message<ReadResponse> message, End end);
  void write(std::shared_ptr<Stub> stub, const WriteRequest& request, Deadline deadline, const Headers& cookies,
             Message<WriteResponse> message, End end);
  // Calls `then` after a time, or at once when all is cancelled.
  void wait(std::chrono::nanoseconds time, std::function<void()> then);

  // Cancels every call and every wait, those to come, too, and waits for their ends. Not from a callback.
  void close();

 private:
  struct Step;
  template <class Response>
  class Stream;
  class Wait;

  grpc::CompletionQueue& queue();
  void enter(Step& step);
  void leave(Step& step);

  const Table& table_;
  std::vector<std::unique_ptr<grpc::CompletionQueue>> queues_;
  std::atomic<unsigned> turn_{0};
  std::mutex mutex_;
  std::condition_variable left_;
  bool cancelled_ = false;
  std::unordered_set<Step*> steps_;
  std::vector<std::thread> threads_;
};

}  // namespace server::bigtable
