// A closed loop of N requests in flight, over a model of untrained weights: each answer makes room for the next
// request.
//
//   bench_in_flight PRODUCTS DIM THREADS SECONDS N...
//
// For each N a line of JSON for each way to ask: "alone", N threads that share nothing; "shared", N threads;
// "submitted", N requests answered by callback. `cpu_us`: user and system time of the process a request; `p50_us` and
// `p99_us`: from asking to the answer.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <random>
#include <thread>

#include "stamp/recommender.h"

namespace {

using Clock = std::chrono::steady_clock;

double cpu_us() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return 1e6 * static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

// Visits of three to five events; each request in flight draws its own.
struct Visitor {
  std::mt19937 random;
  std::int64_t products;
  std::vector<double> took;  // microseconds of each answer

  stamp::Request request() {
    stamp::Request request{.events = {}, .k = 20};
    for (unsigned n = 3 + random() % 3; n > 0; --n)
      request.events.emplace_back(static_cast<std::int64_t>(random() % products));
    return request;
  }
};

using Ask = std::function<void(std::vector<Visitor>&, const std::atomic<bool>& over)>;

Ask on_threads(const stamp::Recommender& recommender) {
  return [&](std::vector<Visitor>& visitors, const std::atomic<bool>& over) {
    std::vector<std::thread> threads;
    for (Visitor& visitor : visitors)
      threads.emplace_back([&] {
        while (!over) {
          const stamp::Request request = visitor.request();
          const auto start = Clock::now();
          recommender.recommend(request);
          visitor.took.push_back(us_since(start));
        }
      });
    for (auto& thread : threads) thread.join();
  };
}

Ask by_callback(const stamp::Recommender& recommender) {
  return [&](std::vector<Visitor>& visitors, const std::atomic<bool>& over) {
    std::atomic<std::size_t> flying{visitors.size()};
    const std::function<void(Visitor&)> next = [&](Visitor& visitor) {
      if (over) {
        --flying;
        flying.notify_one();
        return;
      }
      stamp::Request request = visitor.request();
      recommender.submit(std::move(request), [&, start = Clock::now()](stamp::Answer<stamp::Recommendation> answer) {
        answer.get();
        visitor.took.push_back(us_since(start));
        next(visitor);
      });
    };
    for (Visitor& visitor : visitors) next(visitor);
    for (std::size_t left; (left = flying) > 0;) flying.wait(left);
  };
}

// Prints nothing where `way` is null, which warms up.
void measure(const char* way, const Ask& ask, std::int64_t products, std::size_t in_flight, double seconds) {
  std::vector<Visitor> visitors;
  for (std::size_t i = 0; i < in_flight; ++i)
    visitors.push_back({std::mt19937(static_cast<unsigned>(i)), products, {}});
  std::atomic<bool> over{false};
  const double before = cpu_us();
  const auto start = Clock::now();
  std::thread timer([&] {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    over = true;
  });
  ask(visitors, over);
  timer.join();
  const double cpu = cpu_us() - before, wall = us_since(start);
  std::vector<double> took;
  for (const Visitor& visitor : visitors) took.insert(took.end(), visitor.took.begin(), visitor.took.end());
  std::sort(took.begin(), took.end());
  const auto n = static_cast<double>(took.size());
  const auto at = [&](double share) { return took[static_cast<std::size_t>(share * (n - 1))]; };
  if (way)
    std::printf(R"({"way": "%s", "in_flight": %zu, "cpu_us": %.1f, "p50_us": %.1f, "p99_us": %.1f, "a_second": %.0f})"
                "\n",
                way, in_flight, cpu / n, at(0.5), at(0.99), 1e6 * n / wall);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: %s PRODUCTS DIM THREADS SECONDS N...\n", argv[0]);
    return 2;
  }
  const std::int64_t products = std::atoll(argv[1]);
  stamp::set_num_threads(std::atoi(argv[3]));
  stamp::Config config = stamp::Config::preset("official");
  config.dim = std::atoi(argv[2]);
  config.item_std = 0.1f;  // scores differ enough for a list
  stamp::Catalog catalog;
  for (std::int64_t id = 0; id < products; ++id) catalog.add(id);
  const auto folder = std::filesystem::temp_directory_path() / ("bench-in-flight-" + std::to_string(getpid()));
  stamp::save_bundle(
      folder, stamp::bundle_of(std::make_shared<stamp::Model>(config, products, stamp::open_device("cpu")), catalog,
                               std::vector<std::int64_t>(static_cast<std::size_t>(products), 1)));
  {
    const stamp::Recommender alone(folder, {.device = "cpu", .scan = {.most = 1}}), shared(folder, {.device = "cpu"});
    const std::pair<const char*, Ask> ways[] = {
        {"alone", on_threads(alone)}, {"shared", on_threads(shared)}, {"submitted", by_callback(shared)}};
    for (int i = 5; i < argc; ++i)
      for (const auto& [way, ask] : ways) {
        const auto in_flight = static_cast<std::size_t>(std::atoi(argv[i]));
        measure(nullptr, ask, products, in_flight, 0.1);
        measure(way, ask, products, in_flight, std::atof(argv[4]));
      }
  }
  std::filesystem::remove_all(folder);
}
