// For tests of the store in Bigtable: calls that wait for their answers.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <string>
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

}  // namespace server::bigtable::testing
