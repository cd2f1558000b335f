// What those who run the server should know of Bigtable: that something of it fails, by what status, and that it is
// well again. Once each, however many calls fail, or fail by turns.
#pragma once

#include <grpcpp/support/status.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <utility>

namespace server::bigtable {

// Thread-safe.
class Complaints {
 public:
  // What may fail, as "the connection to Bigtable". There are no two lines of the log within `pause`,
  // and it is well again when nothing has failed for as long.
  Complaints(std::string of, std::chrono::milliseconds pause) : of_(std::move(of)), pause_(pause) {}

  // How it went just now. The message goes to the log: no secret, no visitor.
  void note(const grpc::Status& status);

 private:
  using Clock = std::chrono::steady_clock;

  const std::string of_;
  const std::chrono::milliseconds pause_;
  std::atomic<grpc::StatusCode> said_{grpc::OK};
  std::mutex mutex_;
  Clock::time_point next_, failed_;
};

}  // namespace server::bigtable
