#include "channels.h"

#include <grpc/support/log.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

namespace server::bigtable {

namespace {

// gRPC has lines of its own for every attempt that fails. What fails is said once (complaints.h).
void silence_grpc() {
  if (!std::getenv("GRPC_VERBOSITY")) gpr_set_log_function([](gpr_log_func_args*) {});
}

}  // namespace

ChannelOptions ChannelOptions::of(const BigtableOptions& options) {
  ChannelOptions channels;
  channels.endpoint = options.endpoint;
  channels.count = options.channels;
  if (const char* emulator = std::getenv("BIGTABLE_EMULATOR_HOST"); emulator && *emulator) {
    channels.endpoint = emulator;
    channels.secure = false;
  }
  return channels;
}

Channels::Channels(const Table& table, ChannelOptions options, std::function<void()> ready)
    : table_(table),
      options_(std::move(options)),
      ready_(std::move(ready)),
      slots_(options_.count),
      complaints_("the connection to Bigtable at " + options_.endpoint, std::chrono::milliseconds(0)) {
  silence_grpc();
  thread_ = std::thread([this] { run(); });
}

Channels::~Channels() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    if (warming_) warming_->TryCancel();
  }
  stopped_.notify_all();
  thread_.join();
}

std::shared_ptr<Channels::Stub> Channels::next() {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[turn_++ % slots_.size()];
    if (slot.stub) return slot.stub;
  }
  return nullptr;
}

Channels::Figures Channels::figures() const {
  const std::lock_guard lock(mutex_);
  return figures_;
}

void Channels::run() {
  bool told = false;
  while (true) {
    std::size_t slot;
    {
      std::unique_lock lock(mutex_);
      const auto first =
          std::min_element(slots_.begin(), slots_.end(), [](const Slot& a, const Slot& b) { return a.due < b.due; });
      if (stopped_.wait_until(lock, first->due, [this] { return stop_; })) return;
      slot = first - slots_.begin();
    }
    open(slot);
    if (!told && slots_[slot].stub) {
      told = true;
      ready_();
    }
  }
}

void Channels::open(std::size_t slot) {
  const auto later = [&] {
    const std::lock_guard lock(mutex_);
    slots_[slot].due = Clock::now() + options_.retry_after;
  };
  if (!credentials_ && !(credentials_ = credentials())) {
    complaints_.note({grpc::UNAUTHENTICATED,
                      "there are no application default credentials: neither in the file that "
                      "GOOGLE_APPLICATION_CREDENTIALS names, nor gcloud's, nor of a metadata server; "
                      "GRPC_VERBOSITY=ERROR says more"});
    {
      const std::lock_guard lock(mutex_);
      ++figures_.without_credentials;
    }
    return later();
  }
  grpc::ChannelArguments arguments;
  // A connection of its own: channels with the same arguments share one.
  arguments.SetInt("stamp.channel", ++serial_);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  // A server that was away is found again soon; gRPC's own waits grow to two minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetMaxReceiveMessageSize(64 << 20);  // some calls ask for more than gRPC's own 4 MB
  // Retries are the store's, which knows what time is left.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, options_.secure ? 1 : 0);
  std::shared_ptr<Stub> stub =
      google::bigtable::v2::Bigtable::NewStub(grpc::CreateCustomChannel(options_.endpoint, credentials_, arguments));
  const grpc::Status status = warm(*stub);
  const bool warmed = status.ok();
  if (status.error_code() != grpc::CANCELLED) complaints_.note(status);
  {
    const std::lock_guard lock(mutex_);
    const bool first = !slots_[slot].stub;
    if (!warmed) ++figures_.not_warmed;
    if (warmed || first) {
      first ? ++figures_.open : ++figures_.refreshed;
      slots_[slot].stub.swap(stub);
      slots_[slot].due = Clock::now() + (warmed ? refresh_time() : options_.retry_after);
      return;  // what was there goes after the lock
    }
  }
  later();
}

std::shared_ptr<grpc::ChannelCredentials> Channels::credentials() const {
  return options_.secure ? grpc::GoogleDefaultCredentials() : grpc::InsecureChannelCredentials();
}

grpc::Status Channels::warm(Stub& stub) {
  grpc::ClientContext context;
  {
    const std::lock_guard lock(mutex_);
    if (stop_) return grpc::Status::CANCELLED;
    warming_ = &context;
  }
  add_headers(context, table_.instance_headers);
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + options_.warm_timeout);
  google::bigtable::v2::PingAndWarmRequest request;
  request.set_name(table_.instance);
  request.set_app_profile_id(table_.app_profile);
  google::bigtable::v2::PingAndWarmResponse response;
  const grpc::Status status = stub.PingAndWarm(&context, request, &response);
  {
    const std::lock_guard lock(mutex_);
    warming_ = nullptr;
  }
  // Older emulators do not know it: the connection stands all the same.
  return status.error_code() == grpc::UNIMPLEMENTED ? grpc::Status::OK : status;
}

Channels::Clock::duration Channels::refresh_time() {
  return std::chrono::milliseconds(std::uniform_int_distribution<std::int64_t>(options_.refresh_least.count(),
                                                                               options_.refresh_most.count())(random_));
}

}  // namespace server::bigtable
