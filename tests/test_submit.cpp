// Requests that are answered by callback: once each, on the recommender's threads, whatever becomes of them.
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <iostream>
#include <mutex>
#include <optional>
#include <thread>

#include "stamp/recommender.h"
#include "tests/check.h"
#include "tests/shop.h"

using namespace stamp;

namespace {

// What the callbacks of requests 0, 1, … were called with.
class Answers {
 public:
  Recommender::Callback of(std::size_t i) {
    return [this, i](Answer<Recommendation> answer) {
      std::unique_lock lock(mutex_);
      if (all_.size() <= i) all_.resize(i + 1);
      Called& called = all_[i];
      ++called.times;
      called.thread = std::this_thread::get_id();
      called.answer = std::move(answer);
      order_.push_back(i);
      changed_.notify_all();
    };
  }
  // The same, and the thread stays in it until let_go(i).
  Recommender::Callback held(std::size_t i) {
    return [this, i, record = of(i)](Answer<Recommendation> answer) {
      record(std::move(answer));
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return all_[i].let_go; });
    };
  }
  void let_go(std::size_t i) {
    std::lock_guard lock(mutex_);
    all_[i].let_go = true;
    changed_.notify_all();
  }
  Answer<Recommendation> at(std::size_t i) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return all_.size() > i && all_[i].times > 0; });
    return all_[i].answer;
  }
  std::thread::id thread(std::size_t i) {
    at(i);
    std::lock_guard lock(mutex_);
    return all_[i].thread;
  }
  int times(std::size_t i) {
    std::lock_guard lock(mutex_);
    return all_.size() > i ? all_[i].times : 0;
  }
  std::vector<std::size_t> order() {
    std::lock_guard lock(mutex_);
    return order_;
  }

 private:
  struct Called {
    int times = 0;
    bool let_go = false;
    std::thread::id thread;
    Answer<Recommendation> answer;
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Called> all_;
  std::vector<std::size_t> order_;
};

struct Shop {
  explicit Shop(int threads, std::uint64_t version = 1) {
    set_num_threads(threads);
    save_bundle(folder / "bundle", shop::bundle(version));
    recommender.emplace(folder / "bundle", ReleaseOptions{.device = "cpu"});
  }
  ~Shop() {
    recommender.reset();
    set_num_threads(2);
  }
  Recommender* operator->() { return &*recommender; }

  check::Folder folder;
  std::optional<Recommender> recommender;
};

Request request_of(int i) {
  return {.events = {"sku-" + std::to_string(i % 60), "sku-" + std::to_string((7 * i + 1) % 60)},
          .k = 1 + i % 9,
          .zone = i % 4 == 1 ? "red" : "",
          .rules = i % 3 == 2 ? R"([{"rule": "exclude_seen"}])" : ""};
}

const auto kPast = std::chrono::steady_clock::now() - std::chrono::hours(1);

}  // namespace

TEST_CASE("what is submitted is answered as what is asked for, on every device") {
  const check::Folder folder;
  save_bundle(folder / "bundle", shop::bundle(1));
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const int count = check::slow(*device) ? 12 : 300;
    Answers answers;
    Recommender recommender(folder / "bundle", {.device = device->name()});
    for (int i = 0; i < count; ++i) recommender.submit(request_of(i), answers.of(static_cast<std::size_t>(i)));
    for (int i = 0; i < count; ++i) {
      const Recommendation expected = recommender.recommend(request_of(i));
      const Recommendation answer = answers.at(static_cast<std::size_t>(i)).get();
      CHECK(answer.items == expected.items);
      CHECK(answer.scores == expected.scores);
      CHECK(answers.thread(static_cast<std::size_t>(i)) != std::this_thread::get_id());
    }
  }
}

TEST_CASE("a thread that is free takes its share, in order, and none is idle while somebody waits") {
  Answers answers;
  Shop shop(2);  // goes first, with all its callbacks
  shop->submit(request_of(0), answers.held(20));
  shop->submit(request_of(0), answers.held(21));
  const std::thread::id a = answers.thread(20), b = answers.thread(21);
  CHECK(a != b);
  for (std::size_t i = 0; i < 10; ++i)
    shop->submit(request_of(static_cast<int>(i)), i % 5 == 0 ? answers.held(i) : answers.of(i));
  answers.let_go(20);  // 5 of 10
  CHECK(answers.thread(0) == a);
  answers.let_go(21);  // 3 of 5
  CHECK(answers.thread(5) == b);
  answers.let_go(0);  // 1 of 2, and then the last
  for (std::size_t i : {1u, 2u, 3u, 4u, 8u, 9u}) CHECK(answers.thread(i) == a);
  answers.let_go(5);
  for (std::size_t i : {6u, 7u}) CHECK(answers.thread(i) == b);
}

TEST_CASE("deadlines that have passed, and requests that are cancelled before their turn or during it") {
  Answers answers;
  Shop shop(1);  // goes first, with all its callbacks
  const auto in_an_hour = std::chrono::steady_clock::now() + std::chrono::hours(1);
  shop->submit(request_of(0), answers.held(0));
  answers.at(0);
  const Ticket waits = shop->submit(request_of(1), answers.of(1));
  shop->submit(request_of(2), answers.of(2), kPast);
  shop->submit(request_of(3), answers.held(3), in_an_hour);
  const Ticket answered = shop->submit(request_of(4), answers.of(4));
  const Ticket late = shop->submit(request_of(5), answers.of(5), kPast);
  shop->submit(request_of(6), answers.of(6));
  CHECK((waits.cancel() && waits.cancel() && late.cancel()));
  CHECK(answers.times(1) == 0);  // not from within cancel
  answers.let_go(0);
  CHECK_THROWS_AS(answers.at(1).get(), Cancelled);
  CHECK_THROWS_WITH_AS(answers.at(2).get(), doctest::Contains("submit: the deadline passed "), DeadlineExceeded);
  CHECK_THROWS_AS(answers.at(5).get(), Cancelled);
  CHECK(answers.at(3).get().items == shop->recommend(request_of(3)).items);
  CHECK(answers.order() == std::vector<std::size_t>{0, 1, 2, 5, 3});  // what costs nothing comes first
  CHECK(answered.cancel());                                           // its list has been made, in one pass with 3
  CHECK(!waits.cancel());                                             // its callback has been called
  answers.let_go(3);
  CHECK_THROWS_WITH_AS(answers.at(4).get(), "submit: the request was cancelled", Cancelled);
  CHECK(answers.at(6).get().items == shop->recommend(request_of(6)).items);
  CHECK((!answered.cancel() && !Ticket().cancel()));
  for (std::size_t i = 0; i < 7; ++i) CHECK(answers.times(i) == 1);
}

TEST_CASE("a request that cannot be fails alone, submitted or in a batch") {
  Answers answers;
  Shop shop(1);  // goes first, with all its callbacks
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) requests.push_back(request_of(12 * i));
  requests[1].zone = "home";
  requests[2].rules = R"([{"rule": "limit"}])";
  requests[3].events.push_back(std::int64_t{7});
  requests[4].k = -1;
  shop->submit(request_of(0), answers.held(10));
  answers.at(10);
  for (std::size_t i = 0; i < 6; ++i) shop->submit(requests[i], answers.of(i));
  answers.let_go(10);
  const auto together = shop->recommend(requests);
  for (std::size_t i = 0; i < 6; ++i) {
    CAPTURE(i);
    const auto answer = answers.at(i);
    if (i == 0 || i == 5) {
      CHECK((answer && together[i]));
      CHECK(answer.get().scores == shop->recommend(requests[i]).scores);
      CHECK(together[i].get().scores == answer.get().scores);
      continue;
    }
    std::string alone;
    try {
      shop->recommend(requests[i]);
    } catch (const std::invalid_argument& error) {
      alone = error.what();
    }
    CHECK(!alone.empty());
    CHECK_THROWS_WITH_AS(answer.get(), alone.c_str(), std::invalid_argument);
    CHECK_THROWS_WITH_AS(together[i].get(), alone.c_str(), std::invalid_argument);
  }
  CHECK_THROWS_WITH_AS(shop->submit(request_of(0), nullptr), "submit: callback is empty, expected a function",
                       std::invalid_argument);
}

TEST_CASE("a callback that throws is counted, and its thread goes on; one may submit again") {
  Answers answers;
  Shop shop(1);  // goes first, with all its callbacks
  shop->submit(request_of(0), [](auto) { throw std::runtime_error("mine"); });
  shop->submit(request_of(1), [](auto) { throw 3; });
  shop->submit(request_of(2), [&](auto) { shop->submit(request_of(3), answers.of(3)); });
  CHECK(answers.at(3).get().items == shop->recommend(request_of(3)).items);
  CHECK(shop->failed_callbacks() == 2);
}

TEST_CASE(
    "when the recommender ends, what waits is cancelled, what is being answered is answered, and all are called") {
  Answers answers;
  Ticket last;
  std::thread helper;
  {
    Shop shop(1);
    shop->submit(request_of(0), answers.held(0));
    answers.at(0);
    for (std::size_t i = 1; i < 8; ++i) last = shop->submit(request_of(1), answers.of(i));
    helper = std::thread([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));  // by then the end has begun, and if not, no harm
      answers.let_go(0);
    });
    shop.recommender.reset();
    CHECK(answers.at(0));
    for (std::size_t i = 1; i < 8; ++i) {
      CHECK(answers.times(i) == 1);
      const auto answer = answers.at(i);
      if (!answer) CHECK_THROWS_AS(answer.get(), Cancelled);
    }
  }
  helper.join();
  CHECK(!last.cancel());
}

TEST_CASE("a recommender that ends takes no more requests, however often callbacks bring them") {
  Answers answers;
  std::atomic<int> accepted{0}, called{0}, refused{0};
  std::thread helper;
  {
    Shop shop(4);
    Recommender* ending = &*shop.recommender;
    std::function<void(Answer<Recommendation>)> again = [&](Answer<Recommendation> answer) {
      ++called;
      if (answer) return;
      try {
        ending->submit(request_of(1), again);  // as one would who wants an answer, come what may
        ++accepted;
      } catch (const Cancelled&) {
        ++refused;
      }
    };
    shop->submit(request_of(0), [&, held = answers.held(0)](Answer<Recommendation> answer) {
      held(std::move(answer));
      again(std::make_exception_ptr(Cancelled("so that it submits")));
    });
    answers.at(0);
    helper = std::thread([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));  // by then the end has begun, and if not, no harm
      answers.let_go(0);
    });
    shop.recommender.reset();
  }
  helper.join();
  CHECK(called == accepted + 1);
  CHECK(refused <= 1);
}

TEST_CASE("threads submit, ask and cancel while releases change: each callback once, no answer torn") {
  const check::Folder folder;
  std::vector<std::vector<float>> whole[2];
  for (std::uint64_t version : {0, 1}) {
    save_bundle(folder / std::to_string(version), shop::bundle(version));
    const Recommender recommender(folder / std::to_string(version), {.device = "cpu"});
    for (int i = 0; i < 12; ++i) whole[version].push_back(recommender.recommend(request_of(i)).scores);
  }
  set_num_threads(3);
  constexpr int kEach = 400, kThreads = 4;
  std::atomic<int> called{0}, wrong{0}, cancelled{0}, lost{0};
  {
    Recommender recommender(folder / "0", {.device = "cpu", .lazy = true, .memory = 2000});
    std::atomic<bool> done{false};
    std::thread reloading([&] {
      for (int round = 1; !done; ++round) recommender.reload(folder / std::to_string(round % 2));
    });
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          const int which = (i + t) % 12;
          const auto judge = [&, which](const Recommendation& answer) {
            const auto index = static_cast<std::size_t>(which);
            if (answer.scores != whole[0][index] && answer.scores != whole[1][index]) ++wrong;
          };
          const Ticket ticket = recommender.submit(request_of(which), [&, judge](Answer<Recommendation> answer) {
            ++called;
            if (answer) return judge(answer.get());
            try {
              answer.get();
            } catch (const Cancelled&) {
              ++cancelled;
            } catch (...) {
              ++wrong;
            }
          });
          if (i % 5 == 0 && ticket.cancel()) ++lost;
          if (i % 3 == 0) judge(recommender.recommend(request_of(which)));
        }
      });
    for (auto& thread : threads) thread.join();
    while (called < kEach * kThreads) std::this_thread::yield();
    done = true;
    reloading.join();
  }
  set_num_threads(2);
  CHECK(called == kEach * kThreads);
  CHECK(wrong == 0);
  CHECK(cancelled == lost);
}

#ifdef __SANITIZE_ADDRESS__
// A child leaves its parent's pool of threads alone, for good.
extern "C" const char* __lsan_default_suppressions() { return "leak:thread_pool.cpp"; }
#endif

#ifndef __SANITIZE_THREAD__  // which ends a child that makes threads
namespace {

// The status that `child` exits with.
template <class Child>
int status_of(const Child& child) {
  std::cout.flush();  // or the child says it again
  const pid_t id = fork();
  REQUIRE(id >= 0);
  if (id == 0) {
    alarm(60);
    child();
  }
  int status = -1;
  REQUIRE(waitpid(id, &status, 0) == id);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("the child of a fork answers its own requests, the parent its own") {
  Answers answers, others;
  Shop shop(2);
  const auto expected = shop->recommend(request_of(5)).items;
  shop->submit(request_of(0), answers.held(0));
  shop->submit(request_of(0), answers.held(1));
  answers.at(0), answers.at(1);
  shop->submit(request_of(5), answers.of(2));  // waits
  CHECK(status_of([&] {
          shop->submit(request_of(5), others.of(0));
          const bool right = others.at(0).get().items == expected && answers.times(2) == 0;
          shop.recommender.reset();  // waits for no thread of the parent's
          _exit(right ? 7 : 1);
        }) == 7);
  answers.let_go(0), answers.let_go(1);
  CHECK(answers.at(2).get().items == expected);
}

TEST_CASE("a process ends as it was told to while requests are in flight") {
  const check::Folder folder;
  save_bundle(folder / "bundle", shop::bundle(1));
  const auto load = [&](Recommender& recommender) {
    for (int i = 0; i < 2000; ++i) recommender.submit(request_of(i), [](auto) {});
  };
  for (int round = 0; round < 5; ++round) {
    CHECK(status_of([&] {  // whose recommender nobody destroys
            load(*new Recommender(folder / "bundle", {.device = "cpu"}));
            std::exit(7);
          }) == 7);
    CHECK(status_of([&] {  // one that goes at exit
            static Recommender recommender(folder / "bundle", {.device = "cpu"});
            load(recommender);
            std::exit(7);
          }) == 7);
    CHECK(status_of([&] {  // threads that are blocked in it
            auto* recommender = new Recommender(folder / "bundle", {.device = "cpu"});
            for (int t = 0; t < 6; ++t)
              std::thread([=] {
                while (true) recommender->recommend(request_of(t));
              }).detach();
            load(*recommender);
            std::exit(7);
          }) == 7);
  }
}
#endif
