// The queue of scans alone, over passes that the test holds: who is in which pass, in what order, on whose thread.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>

#include "stamp/scan_queue.h"
#include "tests/check.h"

using namespace stamp;

namespace {

using Sizes = std::vector<std::int64_t>;

// Requests are told apart by n, and their lists say it.
ScanRequest request_of(std::int64_t n, std::vector<Scored>& list) { return {.history = {}, .n = n, .list = &list}; }

void answer(const ScanRequest& request) { request.list->assign(1, {static_cast<std::int32_t>(request.n), 1}); }

// Passes that stop until the test lets them go, first come, first gone.
class Held {
 public:
  void pass(std::span<const ScanRequest> requests) {
    std::unique_lock lock(mutex_);
    Sizes& ids = passes_.emplace_back();
    for (const ScanRequest& request : requests) ids.push_back(request.n);
    threads_.push_back(std::this_thread::get_id());
    const std::size_t mine = passes_.size();
    changed_.notify_all();
    changed_.wait(lock, [&] { return mine <= let_go_; });
    for (const ScanRequest& request : requests) answer(request);
  }
  void let_go(std::size_t passes = 1) {
    std::lock_guard lock(mutex_);
    let_go_ += passes;
    changed_.notify_all();
  }
  // What is in pass `i`, when there is one.
  Sizes at(std::size_t i) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return passes_.size() > i; });
    return passes_[i];
  }
  std::size_t begun() {
    std::lock_guard lock(mutex_);
    return passes_.size();
  }
  std::thread::id thread(std::size_t i) {
    std::lock_guard lock(mutex_);
    return threads_[i];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Sizes> passes_;
  std::vector<std::thread::id> threads_;
  std::size_t let_go_ = 0;
};

// Callers on threads of their own.
class Callers {
 public:
  explicit Callers(ScanQueue& queue) : queue_(queue) {}
  ~Callers() {
    for (auto& thread : threads_) thread.join();
  }
  // Requests that have no list or another's, when all callers are back.
  int wrong() {
    for (auto& thread : threads_) thread.join();
    threads_.clear();
    return wrong_;
  }
  void ask(Sizes ids) {
    threads_.emplace_back([this, ids = std::move(ids)] {
      std::vector<std::vector<Scored>> lists(ids.size());
      std::vector<ScanRequest> requests;
      for (std::size_t i = 0; i < ids.size(); ++i) requests.push_back(request_of(ids[i], lists[i]));
      std::vector<std::exception_ptr> errors(ids.size());
      queue_.scan(requests, errors);
      for (std::size_t i = 0; i < ids.size(); ++i)
        if (errors[i] || lists[i].size() != 1 || lists[i][0].place != ids[i]) ++wrong_;
    });
  }
  // Into the queue, behind all that wait.
  void queue(Sizes ids) {
    const std::size_t then = queue_.waiting() + ids.size();
    ask(std::move(ids));
    while (queue_.waiting() != then) std::this_thread::yield();
  }
  std::thread::id last() { return threads_.back().get_id(); }

 private:
  ScanQueue& queue_;
  std::atomic<int> wrong_{0};
  std::vector<std::thread> threads_;
};

Sizes range(std::int64_t first, std::int64_t last) {
  Sizes ids(static_cast<std::size_t>(last - first));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

}  // namespace

TEST_CASE("whoever is alone is a pass, at once and on its own thread") {
  std::vector<std::size_t> sizes;
  ScanQueue queue(
      [&, home = std::this_thread::get_id()](std::span<const ScanRequest> requests) {
        CHECK(std::this_thread::get_id() == home);
        sizes.push_back(requests.size());
        for (const ScanRequest& request : requests) answer(request);
      },
      [] { return 1; }, 64);
  std::vector<Scored> list;
  for (int i = 0; i < 100; ++i) {
    const ScanRequest request = request_of(i, list);
    std::exception_ptr error;
    queue.scan(std::span(&request, 1), std::span(&error, 1));
    CHECK((!error && list[0].place == i));
  }
  CHECK(sizes == std::vector<std::size_t>(100, 1));
  queue.scan({}, {});
  CHECK(sizes.size() == 100);
}

TEST_CASE("while all passes run others queue, and each that is free takes its share, in order") {
  Held held;
  ScanQueue queue([&](auto requests) { held.pass(requests); }, [] { return 2; }, 6);
  Callers callers(queue);
  callers.ask({0});
  CHECK(held.at(0) == Sizes{0});
  callers.ask({1});
  CHECK(held.at(1) == Sizes{1});
  std::vector<std::thread::id> threads;
  for (std::int64_t id = 2; id < 21; ++id) {  // 19 wait
    callers.queue({id});
    threads.push_back(callers.last());
  }
  CHECK(held.begun() == 2);
  held.let_go();
  CHECK(held.at(2) == range(2, 8));  // 10 by its share, 6 at most
  CHECK(held.thread(2) == threads[0]);
  held.let_go();
  CHECK(held.at(3) == range(8, 14));  // 7 of 13, 6 at most
  held.let_go();
  CHECK(held.at(4) == range(14, 18));  // 4 of 7
  CHECK(held.thread(4) == threads[12]);
  callers.queue({21});
  held.let_go();
  CHECK(held.at(5) == Sizes{18, 19});  // 2 of 4
  held.let_go();
  CHECK(held.at(6) == Sizes{20});  // 1 of 2
  held.let_go();
  CHECK(held.at(7) == Sizes{21});
  CHECK(queue.waiting() == 0);
  held.let_go(2);
  callers.ask({22});  // nobody waits for it, as a place is free again
  CHECK(held.at(8) == Sizes{22});
  held.let_go(1);
  CHECK(callers.wrong() == 0);
}

TEST_CASE("what one caller brings stays together") {
  Held held;
  ScanQueue queue([&](auto requests) { held.pass(requests); }, [] { return 1; }, 5);
  Callers callers(queue);
  callers.ask({0});
  held.at(0);
  callers.queue({1});
  callers.queue({2, 3, 4});
  callers.queue({5, 6});
  callers.queue(range(10, 19));  // more than share one
  callers.queue({7});
  held.let_go(5);
  CHECK(held.at(1) == Sizes{1, 2, 3, 4});
  CHECK(held.at(2) == Sizes{5, 6});
  CHECK(held.at(3) == range(10, 19));
  CHECK(held.at(4) == Sizes{7});
  CHECK(callers.wrong() == 0);
}

TEST_CASE("more passes begin when there may be more, fewer when there may be fewer") {
  Held held;
  std::atomic<int> passes{1};
  ScanQueue queue([&](auto requests) { held.pass(requests); }, [&] { return passes.load(); }, 64);
  Callers callers(queue);
  callers.ask({0});
  held.at(0);
  for (std::int64_t id = 1; id < 7; ++id) callers.queue({id});
  passes = 3;
  callers.ask({7});  // it finds room for two, which take what came before it
  CHECK((held.at(1).size() + held.at(2).size() == 5 && held.begun() == 3));
  passes = 1;
  held.let_go(1);
  callers.queue({8});
  CHECK(held.begun() == 3);  // three run, and one that ends makes no room
  held.let_go(2);
  CHECK(held.at(3) == Sizes{6, 7, 8});
  held.let_go(1);
  CHECK(callers.wrong() == 0);
}

TEST_CASE("a request that fails has an error of its own") {
  Held held;
  ScanQueue queue(
      [&](std::span<const ScanRequest> requests) {
        if (requests.size() == 1 && requests[0].n == 0) return held.pass(requests);
        for (const ScanRequest& request : requests) {
          require(request.n != 3, "request ", request.n);
          answer(request);
        }
      },
      [] { return 1; }, 64);
  Callers callers(queue);
  callers.ask({0});
  held.at(0);
  callers.queue({1});
  callers.queue({2, 3, 4});
  callers.queue({5});
  std::exception_ptr error;
  std::vector<Scored> list;
  std::thread last([&] {
    const ScanRequest request = request_of(3, list);
    queue.scan(std::span(&request, 1), std::span(&error, 1));
  });
  while (queue.waiting() != 6) std::this_thread::yield();
  held.let_go();
  last.join();
  REQUIRE(error);
  CHECK_THROWS_WITH_AS(std::rethrow_exception(error), "request 3", std::invalid_argument);
  callers.ask({6});
  CHECK(callers.wrong() == 1);  // the other 3
}

TEST_CASE("from many threads each gets its own list, and runs one pass at most") {
  for (int passes : {1, 2, 5}) {
    std::mutex mutex;
    int running = 0, most_running = 0;
    std::size_t largest = 0;
    std::map<std::thread::id, int> run;
    ScanQueue queue(
        [&](std::span<const ScanRequest> requests) {
          {
            std::lock_guard lock(mutex);
            most_running = std::max(most_running, ++running);
            largest = std::max(largest, requests.size());
            ++run[std::this_thread::get_id()];
          }
          for (const ScanRequest& request : requests) answer(request);
          std::this_thread::yield();
          std::lock_guard lock(mutex);
          --running;
        },
        [&] { return passes; }, 7);
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        for (int round = 0; round < 300; ++round) {
          const auto count = static_cast<std::size_t>(1 + (round + t) % 3);
          std::vector<std::vector<Scored>> lists(count);
          std::vector<ScanRequest> requests;
          std::vector<std::exception_ptr> errors(count);
          for (std::size_t i = 0; i < count; ++i)
            requests.push_back(request_of(1000 * t + 3 * round + static_cast<std::int64_t>(i), lists[i]));
          const auto before = [&] {
            std::lock_guard lock(mutex);
            return run[std::this_thread::get_id()];
          }();
          queue.scan(requests, errors);
          for (std::size_t i = 0; i < count; ++i)
            wrong += errors[i] || lists[i].size() != 1 || lists[i][0].place != requests[i].n;
          std::lock_guard lock(mutex);
          wrong += run[std::this_thread::get_id()] > before + 1;
        }
      });
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK((most_running <= passes && largest <= 7));
    CHECK((running == 0 && queue.waiting() == 0));
  }
}

TEST_CASE("the child of a fork has a queue of its own") {
  Held held;
  const pid_t parent = getpid();
  ScanQueue queue(
      [&](std::span<const ScanRequest> requests) {
        if (getpid() == parent) return held.pass(requests);
        for (const ScanRequest& request : requests) answer(request);
      },
      [] { return 1; }, 64);
  Callers callers(queue);
  callers.ask({0});
  held.at(0);
  callers.queue({1});
  const pid_t child = fork();  // while a pass runs and somebody waits
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(20);
    std::vector<Scored> list;
    const ScanRequest request = request_of(5, list);
    std::exception_ptr error;
    queue.scan(std::span(&request, 1), std::span(&error, 1));
    _exit(!error && list.size() == 1 && list[0].place == 5 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  held.let_go(2);
  CHECK(callers.wrong() == 0);
}
