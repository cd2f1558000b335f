// stamp-load: asks a server for recommendations and writes events at a given rate, and prints what came as a line of
// JSON.
//
// Requests arrive by Poisson whether or not others have been answered (or, with --closed, a number in flight), and
// their times run from when they were due: what a stalled server keeps waiting counts as late, as it does for visitors.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>

#include "generator.h"

namespace {

constexpr const char* kUsage = R"(stamp-load: a load of predictions and events.

  --host 127.0.0.1 --port 8080
  --rate 1000          arrivals a second        --closed N        in place of it: N in flight
  --seconds 10         that count               --warm 2          seconds before that do not
  --writes 0.5         share of events written; 0: visitors stand at the end of their sessions
  --zone default --k 20                         --key KEY         bearer, of those who write
  --sessions FILE      a visitor and products a line, by spaces
  --products 50000     without a file: products 0 to N - 1 by Zipf's law
  --visitors 10000     that walk at once
  --inline             predictions bring events in place of a visitor
  --connections 256    at most                  --timeout-ms 10000
  --within-ms 10       what is good             --pid PID         of the server: its CPU time and memory
  --seed 1             of arrivals, and of visitors' names
)";

std::string times(const load::Histogram& time) {
  char text[256];
  std::snprintf(
      text, sizeof text,
      "\"n\": %llu, \"p50_ms\": %.4f, \"p90_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f",
      static_cast<unsigned long long>(time.count()), time.quantile_ms(0.5), time.quantile_ms(0.9),
      time.quantile_ms(0.99), time.quantile_ms(0.999), time.max_ms());
  return text;
}

std::string line(const load::Options& options, const load::Outcome& outcome) {
  const load::Counts& counts = outcome.counts;
  std::ostringstream out;
  const auto cpu_us = [&](const load::Usage& before, const load::Usage& after) {
    return 1e6 * (after.cpu_s - before.cpu_s) / static_cast<double>(std::max<std::uint64_t>(1, outcome.answered));
  };
  if (options.closed > 0)
    out << "{\"closed\": " << options.closed;
  else
    out << "{\"rate\": " << options.rate;
  out << ", \"seconds\": " << outcome.seconds << ", \"due\": " << counts.due
      << ", \"a_second\": " << static_cast<double>(outcome.answered) / outcome.seconds
      << ", \"good_a_second\": " << static_cast<double>(counts.of[0].good + counts.of[1].good) / options.seconds
      << ", \"within_ms\": " << options.within_ms << ", \"statuses\": {";
  const char* between = "";
  for (const auto& [status, n] : counts.statuses) {
    out << between << '"' << status << "\": " << n;
    between = ", ";
  }
  out << "}, \"errors\": {\"no_connection\": " << counts.no_connection << ", \"closed\": " << counts.closed
      << ", \"timeouts\": " << counts.timeouts << ", \"malformed\": " << counts.malformed
      << ", \"unsent\": " << counts.unsent << "}";
  for (const load::Kind kind : {load::Kind::predict, load::Kind::write}) {
    const auto& of = counts.of[static_cast<std::size_t>(kind)];
    out << (kind == load::Kind::predict ? ", \"predict\": {" : ", \"write\": {") << times(of.time)
        << ", \"good\": " << of.good;
    if (kind == load::Kind::predict) out << ", \"degraded\": " << of.degraded << ", \"empty\": " << of.empty;
    out << "}";
  }
  out << ", \"other\": {" << times(counts.other_time) << "}, \"late\": {" << times(counts.late) << "}"
      << ", \"own_cpu_us\": " << cpu_us(outcome.own_before, outcome.own_after)
      << ", \"own_cores\": " << (outcome.own_after.cpu_s - outcome.own_before.cpu_s) / outcome.seconds;
  if (options.pid > 0)
    out << ", \"cpu_us\": " << cpu_us(outcome.server_before, outcome.server_after)
        << ", \"cores\": " << (outcome.server_after.cpu_s - outcome.server_before.cpu_s) / outcome.seconds
        << ", \"rss_before_mib\": " << outcome.server_before.rss_mib
        << ", \"rss_after_mib\": " << outcome.server_after.rss_mib;
  out << "}";
  return out.str();
}

double number(const std::string& name, const char* text, double least) {
  char* end;
  const double value = std::strtod(text, &end);
  if (*text == 0 || *end != 0 || !(value >= least))
    throw std::invalid_argument(name + ": \"" + text + "\" cannot be; a number of " + std::to_string(least) +
                                " or more is expected");
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  load::Options options;
  std::string sessions;
  std::uint64_t products = 50000;
  std::size_t visitors = 10000;
  const auto in = [](auto& value, double least) {
    return [&value, least](const std::string& name, const char* text) {
      value = static_cast<std::remove_reference_t<decltype(value)>>(number(name, text, least));
    };
  };
  const auto text = [](std::string& value) { return [&value](const std::string&, const char* t) { value = t; }; };
  const std::map<std::string, std::function<void(const std::string&, const char*)>> known = {
      {"--host", text(options.host)},
      {"--port", in(options.port, 1)},
      {"--rate", in(options.rate, 0.001)},
      {"--closed", in(options.closed, 1)},
      {"--seconds", in(options.seconds, 0.001)},
      {"--warm", in(options.warm, 0)},
      {"--writes", in(options.writes, 0)},
      {"--zone", text(options.zone)},
      {"--key", text(options.key)},
      {"--k", in(options.k, 1)},
      {"--sessions", text(sessions)},
      {"--products", in(products, 1)},
      {"--visitors", in(visitors, 1)},
      {"--connections", in(options.connections, 1)},
      {"--timeout-ms", in(options.timeout_ms, 1)},
      {"--within-ms", in(options.within_ms, 0)},
      {"--pid", in(options.pid, 1)},
      {"--seed", in(options.seed, 0)},
  };
  try {
    for (int i = 1; i < argc; ++i) {
      const std::string name = argv[i];
      if (name == "--inline") {
        options.is_inline = true;
      } else if (name == "--help") {
        std::cout << kUsage;
        return 0;
      } else if (const auto option = known.find(name); option != known.end() && i + 1 < argc) {
        option->second(name, argv[++i]);
      } else {
        throw std::invalid_argument(name + (known.contains(name) ? ": a value is missing" : ": is no option"));
      }
    }
    load::Visitors walking = sessions.empty() ? load::Visitors::made_up(products, options.seed)
                                              : load::Visitors::from_file(sessions, options.seed);
    walking.admit(visitors, options.writes == 0);
    std::cout << line(options, load::run(options, walking)) << std::endl;
  } catch (const std::exception& error) {
    std::cerr << "stamp-load: " << error.what() << '\n';
    return 1;
  }
}
