// For tests of the store in Bigtable: calls that wait for their answers, servers that make them wait.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "mock.h"
#include "store.h"

namespace server::bigtable::testing {

using std::chrono::milliseconds;

inline Deadline in(milliseconds time) { return std::chrono::steady_clock::now() + time; }

constexpr milliseconds kPlenty(20000);

inline VisitsOptions options_of_test() {
  VisitsOptions options;
  options.store = "bigtable";
  options.max_age_s = 10'000'000'000;         // times of tests are small numbers
  options.bigtable.project = "shop project";  // a space, to be encoded
  options.bigtable.instance = "instance";
  options.bigtable.app_profile = "one/cluster";
  return options;
}

// What comes while the call is in flight waits for it.
inline VisitsOptions one_call_at_a_time(VisitsOptions options = options_of_test()) {
  options.bigtable.calls = 1;
  return options;
}

inline ChannelOptions channels_of_test(const std::string& address) {
  ChannelOptions channels;
  channels.endpoint = address;
  channels.secure = false;
  channels.retry_after = milliseconds(20);
  return channels;
}

inline std::future<void> append(Visits& store, std::string visitor, std::vector<Event> events, Deadline deadline) {
  auto answer = std::make_shared<std::promise<void>>();
  store.append(std::move(visitor), std::move(events), deadline,
               [answer](std::exception_ptr error) { error ? answer->set_exception(error) : answer->set_value(); });
  return answer->get_future();
}

inline std::future<std::vector<Event>> last(Visits& store, std::string visitor, int n, std::int64_t since,
                                            Deadline deadline) {
  auto answer = std::make_shared<std::promise<std::vector<Event>>>();
  store.last(std::move(visitor), n, since, deadline, [answer](std::vector<Event> events, std::exception_ptr error) {
    error ? answer->set_exception(error) : answer->set_value(std::move(events));
  });
  return answer->get_future();
}

inline std::future<void> erase(Visits& store, std::string visitor, Deadline deadline) {
  auto answer = std::make_shared<std::promise<void>>();
  store.erase(std::move(visitor), deadline,
              [answer](std::exception_ptr error) { error ? answer->set_exception(error) : answer->set_value(); });
  return answer->get_future();
}

inline std::future<void> erase_before(Visits& store, std::int64_t time, Deadline deadline) {
  auto answer = std::make_shared<std::promise<void>>();
  store.erase_before(time, deadline, [answer](std::exception_ptr error) {
    error ? answer->set_exception(error) : answer->set_value();
  });
  return answer->get_future();
}

// Four events of two visitors, and the three of "ann", oldest first.
inline std::vector<Event> write_some(Visits& store) {
  append(store, "ann", {{2000, "search", ""}, {1000, "detail-page-view", "p1"}}, in(kPlenty)).get();
  append(store, "ann", {{2000, "purchase-complete", "p2"}}, in(kPlenty)).get();
  append(store, "bob", {{3000, "detail-page-view", "p3"}}, in(kPlenty)).get();
  return {{1000, "detail-page-view", "p1"}, {2000, "search", ""}, {2000, "purchase-complete", "p2"}};
}

inline const grpc::Status kAway(grpc::UNAVAILABLE, "away");

// Until the client has had enough, or the server ends.
inline grpc::Status hang(grpc::ServerContext& context) {
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

inline void add_cell(v2::ReadRowsResponse& response, const std::string& row, std::int64_t micros, const std::string& value,
              bool commit) {
  auto& chunk = *response.add_chunks();
  chunk.set_row_key(row);
  chunk.mutable_family_name()->set_value("visits");
  chunk.mutable_qualifier()->set_value("view");
  chunk.set_timestamp_micros(micros);
  chunk.set_value(value);
  if (commit) chunk.set_commit_row(true);
}

inline VisitsOptions options_with_views() {
  VisitsOptions options = options_of_test();
  options.bigtable.other_columns = {"view=detail-page-view"};
  return options;
}

inline grpc::Status with_retry_info(grpc::StatusCode code, milliseconds delay) {
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

inline std::vector<std::string> values(const std::multimap<std::string, std::string>& headers, const std::string& name) {
  std::vector<std::string> out;
  for (auto [at, end] = headers.equal_range(name); at != end; ++at) out.push_back(at->second);
  return out;
}

inline double figure(const Visits& store, const std::string& name) {
  for (const auto& [key, value] : store.figures())
    if (key == name) return value;
  throw std::out_of_range(name);
}

inline std::string message_of(std::future<std::vector<Event>> answer) {
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

// What goes to standard error, as long as this lives.
class Said {
 public:
  Said() : file_(std::tmpfile()), before_(dup(STDERR_FILENO)) {
    if (!file_ || dup2(fileno(file_), STDERR_FILENO) < 0) throw std::runtime_error("standard error cannot be kept");
  }
  ~Said() {
    dup2(before_, STDERR_FILENO);
    close(before_);
    std::fclose(file_);
  }
  Said(const Said&) = delete;

  int lines(const std::string& with) const {
    struct stat status {};
    fstat(fileno(file_), &status);
    std::string text(status.st_size, '\0');
    text.resize(std::max<ssize_t>(pread(fileno(file_), text.data(), text.size(), 0), 0));
    std::istringstream all(text);
    int count = 0;
    for (std::string line; std::getline(all, line);) count += line.find(with) != std::string::npos;
    return count;
  }

 private:
  std::FILE* file_;
  int before_;
};

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

}  // namespace server::bigtable::testing
