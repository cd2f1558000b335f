#include "complaints.h"

#include "log.h"

namespace server::bigtable {

void Complaints::note(const grpc::Status& status) {
  if (status.ok() && said_ == grpc::OK) return;
  {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    if (!status.ok()) failed_ = now;
    if (status.error_code() == said_ || now < next_ || (status.ok() && now < failed_ + pause_)) return;
    said_ = status.error_code();
    next_ = now + pause_;
  }
  if (status.ok()) return log(of_ + ": well again");
  std::string text = of_ + ": fails with code " + std::to_string(status.error_code()) + " of gRPC";
  if (!status.error_message().empty()) text += ": " + status.error_message();
  log(text);
}

}  // namespace server::bigtable
