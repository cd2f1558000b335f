#include "calls.h"

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/async_stream.h>

#include <utility>

namespace server::bigtable {

namespace {

// By the clock that nobody sets.
gpr_timespec after(std::chrono::nanoseconds time) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(time.count(), GPR_TIMESPAN));
}

Headers cookies_of(const grpc::ClientContext& context) {
  Headers cookies;
  const auto take = [&](const auto& metadata) {
    for (const auto& [name, value] : metadata)
      if (name.starts_with("x-goog-cbt-cookie")) {
        std::string key(name.data(), name.size());
        std::erase_if(cookies, [&](const auto& cookie) { return cookie.first == key; });
        cookies.emplace_back(std::move(key), std::string(value.data(), value.size()));
      }
  };
  take(context.GetServerInitialMetadata());
  take(context.GetServerTrailingMetadata());
  return cookies;
}

std::optional<std::chrono::nanoseconds> retry_of(const grpc::Status& status) {
  google::bigtable::v2::Status details;
  if (status.error_details().empty() || !details.ParseFromString(status.error_details())) return std::nullopt;
  return server::bigtable::retry_of(details);
}

}  // namespace

std::optional<std::chrono::nanoseconds> retry_of(const google::bigtable::v2::Status& status) {
  for (const auto& detail : status.details()) {
    google::bigtable::v2::RetryInfo info;
    if (!detail.type_url().ends_with("/google.rpc.RetryInfo") || !info.ParseFromString(detail.value())) continue;
    return std::chrono::seconds(info.retry_delay().seconds()) + std::chrono::nanoseconds(info.retry_delay().nanos());
  }
  return std::nullopt;
}

// What a completion queue hands back.
struct Calls::Step {
  virtual ~Step() = default;
  virtual void proceed(bool ok) = 0;
  virtual void cancel() = 0;  // may come from another thread, while it is in the set of steps
};

template <class Response>
class Calls::Stream : public Step {
 public:
  using Reader = grpc::ClientAsyncReader<Response>;

  Stream(Calls& calls, std::shared_ptr<Stub> stub, Deadline deadline, const Headers& cookies, Message<Response> message,
         End end)
      : calls_(calls), stub_(std::move(stub)), message_(std::move(message)), end_(std::move(end)) {
    add_headers(context_, calls.table_.headers);
    add_headers(context_, cookies);
    context_.set_deadline(after(deadline - std::chrono::steady_clock::now()));
  }

  template <class Prepare, class Request>
  void start(Prepare prepare, const Request& request) {
    reader_ = (stub_.get()->*prepare)(&context_, request, &calls_.queue());
    calls_.enter(*this);
    reader_->StartCall(this);
  }

  void proceed(bool ok) override {
    switch (state_) {
      case State::kStarting:
        if (!ok) return finish();
        state_ = State::kReading;
        return reader_->Read(&response_, this);
      case State::kReading:
        if (!ok) return finish();
        if (!message_(response_)) {
          context_.TryCancel();
          return finish();
        }
        return reader_->Read(&response_, this);
      case State::kFinishing:
        break;
    }
    Outcome outcome{std::move(status_), {}, {}};
    if (!outcome.status.ok()) {
      outcome.cookies = cookies_of(context_);
      outcome.retry_after = retry_of(outcome.status);
    }
    end_(std::move(outcome));
    calls_.leave(*this);
  }

  void cancel() override { context_.TryCancel(); }

 private:
  enum class State { kStarting, kReading, kFinishing };

  void finish() {
    state_ = State::kFinishing;
    reader_->Finish(&status_, this);
  }

  Calls& calls_;
  const std::shared_ptr<Stub> stub_;
  const Message<Response> message_;
  const End end_;
  State state_ = State::kStarting;
  grpc::ClientContext context_;
  std::unique_ptr<Reader> reader_;
  Response response_;
  grpc::Status status_;
};

class Calls::Wait : public Step {
 public:
  Wait(Calls& calls, std::function<void()> then) : calls_(calls), then_(std::move(then)) {}

  void start(std::chrono::nanoseconds time) { alarm_.Set(&calls_.queue(), after(time), this); }
  void proceed(bool) override {
    then_();
    calls_.leave(*this);
  }
  void cancel() override { alarm_.Cancel(); }

 private:
  Calls& calls_;
  const std::function<void()> then_;
  grpc::Alarm alarm_;
};

Calls::Calls(const Table& table, int threads) : table_(table) {
  for (int i = 0; i < threads; ++i) {
    grpc::CompletionQueue& queue = *queues_.emplace_back(std::make_unique<grpc::CompletionQueue>());
    threads_.emplace_back([&queue] {
      void* tag;
      bool ok;
      while (queue.Next(&tag, &ok)) static_cast<Step*>(tag)->proceed(ok);
    });
  }
}

Calls::~Calls() {
  close();
  for (auto& queue : queues_) queue->Shutdown();
  for (std::thread& thread : threads_) thread.join();
}

void Calls::read(std::shared_ptr<Stub> stub, const ReadRequest& request, Deadline deadline, const Headers& cookies,
                 Message<ReadResponse> message, End end) {
  auto* stream =
      new Stream<ReadResponse>(*this, std::move(stub), deadline, cookies, std::move(message), std::move(end));
  stream->start(&Stub::PrepareAsyncReadRows, request);
}

void Calls::write(std::shared_ptr<Stub> stub, const WriteRequest& request, Deadline deadline, const Headers& cookies,
                  Message<WriteResponse> message, End end) {
  auto* stream =
      new Stream<WriteResponse>(*this, std::move(stub), deadline, cookies, std::move(message), std::move(end));
  stream->start(&Stub::PrepareAsyncMutateRows, request);
}

void Calls::wait(std::chrono::nanoseconds time, std::function<void()> then) {
  auto* wait = new Wait(*this, std::move(then));
  const std::lock_guard lock(mutex_);  // an alarm that is not set cannot be cancelled
  steps_.insert(wait);
  wait->start(cancelled_ ? std::chrono::nanoseconds(0) : time);
}

void Calls::close() {
  std::unique_lock lock(mutex_);
  cancelled_ = true;
  for (Step* step : steps_) step->cancel();
  left_.wait(lock, [this] { return steps_.empty(); });
}

grpc::CompletionQueue& Calls::queue() { return *queues_[turn_++ % queues_.size()]; }

void Calls::enter(Step& step) {
  const std::lock_guard lock(mutex_);
  steps_.insert(&step);
  if (cancelled_) step.cancel();
}

void Calls::leave(Step& step) {
  {
    const std::lock_guard lock(mutex_);
    steps_.erase(&step);
    if (steps_.empty()) left_.notify_all();  // under the lock: then this may be gone
  }
  delete &step;
}

}  // namespace server::bigtable
