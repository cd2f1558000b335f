// Connections to Bigtable: opened and warmed aside, replaced before the server closes them (after an hour). Calls in
// flight keep the one that they began on, which closes when the last has ended.
#pragma once

#include <grpcpp/security/credentials.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bigtable.grpc.pb.h"
#include "complaints.h"
#include "table.h"

namespace server::bigtable {

struct ChannelOptions {
  std::string endpoint;
  bool secure = true;  // TLS, and Google's application default credentials
  int count = 2;
  // Each is replaced after a time between these: not all at once.
  std::chrono::milliseconds refresh_least = std::chrono::minutes(35);
  std::chrono::milliseconds refresh_most = std::chrono::minutes(45);
  std::chrono::milliseconds warm_timeout = std::chrono::seconds(5);
  std::chrono::milliseconds retry_after = std::chrono::seconds(10);  // a replacement or credentials that cannot be had

  // By BIGTABLE_EMULATOR_HOST or, without it, by the configuration.
  static ChannelOptions of(const BigtableOptions& options);
};

// Thread-safe.
class Channels {
 public:
  using Stub = google::bigtable::v2::Bigtable::Stub;

  // `ready` is called once, on a thread of this class, when next() has one: after the first channel is warm, or could
  // not be warmed (it connects when the server is there).
  Channels(const Table& table, ChannelOptions options, std::function<void()> ready);
  ~Channels();  // waits for credentials that are being asked for: their library cannot be interrupted

  // Each in turn; null before there is one.
  std::shared_ptr<Stub> next();

  struct Figures {
    int open = 0;
    int refreshed = 0;
    int not_warmed = 0;           // attempts that failed
    int without_credentials = 0;  // attempts, too
  };
  Figures figures() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Slot {
    std::shared_ptr<Stub> stub;
    Clock::time_point due;  // its opening or replacement
  };

  void run();
  void open(std::size_t slot);
  std::shared_ptr<grpc::ChannelCredentials> credentials() const;
  grpc::Status warm(Stub& stub);
  Clock::duration refresh_time();

  const Table& table_;
  const ChannelOptions options_;
  const std::function<void()> ready_;

  mutable std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  grpc::ClientContext* warming_ = nullptr;
  std::vector<Slot> slots_;
  std::size_t turn_ = 0;
  Figures figures_;

  // Of the thread alone.
  std::shared_ptr<grpc::ChannelCredentials> credentials_;
  Complaints complaints_;
  int serial_ = 0;
  std::mt19937 random_{std::random_device()()};
  std::thread thread_;
};

}  // namespace server::bigtable
