// What a read and a write cost the server that asks: CPU time by getrusage, of this process alone; Bigtable is a server
// of our own in another. One visitor after the other, then so many at once that calls take several.
//
//     measure_bigtable [reads, 20000] [events a visitor, 20]
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "helpers.h"

using namespace server;
using namespace server::bigtable::testing;

namespace {

double cpu_us() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& time) {
    return 1e6 * static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec);
  };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

double figure(const Visits& store, const std::string& name) {
  for (const auto& [key, value] : store.figures())
    if (key == name) return value;
  return 0;
}

// So many calls, as many at once as said; `call` begins one and tells when it is done.
template <class Call>
void all(int calls, int at_once, Call call) {
  std::mutex mutex;
  std::condition_variable changed;
  int flying = 0, failed = 0;
  for (int i = 0; i < calls; ++i) {
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return flying < at_once; });
      ++flying;
    }
    call(i, [&](std::exception_ptr error) {
      const std::lock_guard lock(mutex);
      --flying;
      if (error) ++failed;
      changed.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return flying == 0; });
  if (failed > 0) std::printf("%d of %d failed\n", failed, calls);
}

void measure(const std::string& address, int reads, int events, int calls, int at_once) {
  constexpr int kVisitors = 500, kRounds = 5;
  VisitsOptions options = options_of_test();
  options.bigtable.calls = calls;
  BigtableVisits store(options, channels_of_test(address));
  const std::string mark = std::to_string(calls) + "." + std::to_string(at_once) + ".";
  std::vector<double> read_us, write_us, rows;
  all(kVisitors, 16, [&](int i, Visits::Done done) {
    std::vector<Event> written;
    for (int e = 0; e < events; ++e)
      written.push_back({1700000000000 + e, "detail-page-view", "product-" + std::to_string(e)});
    store.append(mark + std::to_string(i), written, in(kPlenty), std::move(done));
  });
  for (int round = 0; round < kRounds; ++round) {
    const double before_calls = figure(store, "read_calls");
    double before = cpu_us();
    all(reads / kRounds, at_once, [&](int i, Visits::Done done) {
      store.last(mark + std::to_string(i % kVisitors), events, 0, in(kPlenty),
                 [done, events](std::vector<Event> found, std::exception_ptr error) {
                   if (!error && static_cast<int>(found.size()) != events) std::abort();
                   done(error);
                 });
    });
    read_us.push_back((cpu_us() - before) / (reads / kRounds));
    rows.push_back((reads / kRounds) / (figure(store, "read_calls") - before_calls));
    before = cpu_us();
    all(reads / kRounds, at_once, [&](int i, Visits::Done done) {
      store.append("w" + mark + std::to_string(i), {{1700000000000, "detail-page-view", "product-1"}}, in(kPlenty),
                   std::move(done));
    });
    write_us.push_back((cpu_us() - before) / (reads / kRounds));
  }
  const auto median = [](std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  };
  std::printf("%5d %8d %13.1f %10.1f %11.1f\n", calls, at_once, median(rows), median(read_us), median(write_us));
}

}  // namespace

int main(int count, char** words) {
  const int reads = count > 1 ? std::atoi(words[1]) : 20000;
  const int events = count > 2 ? std::atoi(words[2]) : 20;
  int port_pipe[2], end_pipe[2];
  if (pipe(port_pipe) != 0 || pipe(end_pipe) != 0) return 1;
  const pid_t child = fork();
  if (child == 0) {
    close(end_pipe[1]);
    Mock mock;
    const int port = mock.port();
    if (write(port_pipe[1], &port, sizeof port) != sizeof port) return 1;
    char byte;
    return read(end_pipe[0], &byte, 1) == 0 ? 0 : 1;  // until the parent has gone
  }
  close(end_pipe[0]);
  int port = 0;
  if (read(port_pipe[0], &port, sizeof port) != sizeof port) return 1;
  const std::string address = "127.0.0.1:" + std::to_string(port);
  std::printf("CPU us of %d events a read, one event a write; median of 5 rounds\n", events);
  std::printf("calls  at once  rows per call   us a read  us a write\n");
  measure(address, reads, events, 4, 1);
  measure(address, reads, events, 4, 32);
  measure(address, reads, events, 2, 34);
  measure(address, reads, events, 4, 68);
  close(end_pipe[1]);
  waitpid(child, nullptr, 0);
}
