// Sends requests over a pool of kept connections when they are due, whether or not others have been answered, and
// counts what comes. One thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "histogram.h"
#include "visitors.h"

namespace load {

enum class Kind { predict, write };

struct Options {
  std::string host = "127.0.0.1";
  int port = 8080;
  double rate = 1000;      // arrivals a second, by Poisson
  int closed = 0;          // not by rate, but this many in flight
  double seconds = 10;     // that count
  double warm = 2;         // before, seconds that do not
  double writes = 0.5;     // share of requests
  int connections = 256;   // at most
  int timeout_ms = 10000;  // for an answer, from when its request is sent
  double within_ms = 10;   // good: status 200 and no later
  std::string zone = "default";
  int k = 20;
  std::string key = "";    // bearer key; empty: none
  bool is_inline = false;  // predictions bring the session's events, and name no visitor
  int pid = 0;             // the server's, to ask for its CPU time and memory; 0: none
  std::uint64_t seed = 1;
};

// Of requests that were due while it counts. Times run from when a request was due, also where it waited for a
// connection.
struct Counts {
  struct Answered {
    Histogram time;                         // status 200
    std::uint64_t good = 0;                 // of them within the limit
    std::uint64_t degraded = 0, empty = 0;  // of predictions: do without a part, list nothing
  };
  std::array<Answered, 2> of;  // by Kind
  Histogram other_time;        // other statuses
  Histogram late;              // from when a request was due to when it was sent
  std::map<int, std::uint64_t> statuses;
  std::uint64_t due = 0;
  std::uint64_t no_connection = 0, closed = 0, timeouts = 0, malformed = 0, unsent = 0;
};

// Of a process: CPU time since it began, and memory.
struct Usage {
  double cpu_s = 0;
  double rss_mib = 0;
};

struct Outcome {
  Counts counts;
  double seconds = 0;          // that counted
  std::uint64_t answered = 0;  // in these seconds, whenever they were due
  Usage own_before, own_after, server_before, server_after;
};

// Throws std::runtime_error where the server's process cannot be seen, and std::system_error where the system fails.
Outcome run(const Options& options, Visitors& visitors);

}  // namespace load
