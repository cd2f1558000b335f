// What every store of visits does, whatever it is made of: called in a test case of each.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <barrier>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <random>
#include <thread>

#include "clock.h"
#include "visits.h"

namespace contract {

using server::Event;
using server::Visits;

// An empty store of its own for each call.
using Make = std::function<std::unique_ptr<Visits>(int max_events, std::int64_t max_age_s)>;

inline server::Deadline soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(10); }

// These wait for the answer, and throw what went wrong.
inline void wait(const std::function<void(Visits::Done)>& call) {
  std::promise<std::exception_ptr> answer;
  call([&](std::exception_ptr wrong) { answer.set_value(wrong); });
  if (const std::exception_ptr wrong = answer.get_future().get()) std::rethrow_exception(wrong);
}
inline void append(Visits& visits, const std::string& visitor, const std::vector<Event>& events) {
  wait([&](Visits::Done done) { visits.append(visitor, events, soon(), std::move(done)); });
}
inline void erase(Visits& visits, const std::string& visitor) {
  wait([&](Visits::Done done) { visits.erase(visitor, soon(), std::move(done)); });
}
inline void erase_before(Visits& visits, std::int64_t time) {
  wait([&](Visits::Done done) { visits.erase_before(time, soon(), std::move(done)); });
}
inline std::vector<Event> last(Visits& visits, const std::string& visitor, int n = 1000, std::int64_t since = 0) {
  std::vector<Event> events;
  wait([&](Visits::Done done) {
    visits.last(visitor, n, since, soon(), [&, done](std::vector<Event> found, std::exception_ptr wrong) {
      events = std::move(found);
      done(wrong);
    });
  });
  return events;
}
// "a b c": what was looked at, in order.
inline std::string items(const std::vector<Event>& events) {
  std::string text;
  for (const Event& event : events) text += (text.empty() ? "" : " ") + event.item;
  return text;
}
inline std::string last_items(Visits& visits, const std::string& visitor, int n = 1000, std::int64_t since = 0) {
  return items(last(visits, visitor, n, since));
}

// The same with lists that are searched from end to end.
class Model {
 public:
  Model(int max_events, std::int64_t max_age_s) : max_events_(max_events), max_age_ms_(1000 * max_age_s) {}

  void append(const std::string& visitor, const std::vector<Event>& events) {
    for (const Event& event : events) all_.push_back({visitor, event});
  }
  void erase(const std::string& visitor) {
    std::erase_if(all_, [&](const Entry& entry) { return entry.visitor == visitor; });
  }
  void erase_before(std::int64_t time) {
    std::erase_if(all_, [&](const Entry& entry) { return entry.event.time < time; });
  }
  std::vector<Event> last(const std::string& visitor, int n, std::int64_t since) const {
    std::vector<Event> events;
    for (const Entry& entry : all_)
      if (entry.visitor == visitor) events.push_back(entry.event);
    std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.time < b.time; });
    since = std::max(since, server::now_ms() - max_age_ms_);
    const std::size_t kept = std::min<std::size_t>(events.size(), std::min(n, max_events_));
    events.erase(events.begin(), events.end() - static_cast<std::ptrdiff_t>(kept));
    std::erase_if(events, [&](const Event& event) { return event.time < since; });
    return events;
  }

 private:
  struct Entry {
    std::string visitor;
    Event event;
  };
  const int max_events_;
  const std::int64_t max_age_ms_;
  std::vector<Entry> all_;
};

inline const std::vector<std::string>& visitors() {
  static const std::vector<std::string> kVisitors{"a",
                                                  "ab",
                                                  "abc",
                                                  "b",
                                                  "\x01",
                                                  "\x7f",
                                                  "ünïcødé",
                                                  "訪問者",
                                                  "🛒",
                                                  "🛒🛒",
                                                  std::string(128, 'x'),
                                                  std::string(127, 'x'),
                                                  "with blank",
                                                  "a/b",
                                                  "a#b",
                                                  "%00"};
  return kVisitors;
}

inline void run_model(Visits& visits, int max_events, unsigned seed) {
  constexpr std::int64_t kMaxAge = 3600;
  const std::int64_t now = server::now_ms();
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  // Few moments, so that many events share one; some in the future, some too old to be read.
  const auto moment = [&] { return now + 60000 * (below(40) - 30) - (below(16) == 0 ? 2 * 1000 * kMaxAge : 0); };
  Model model(max_events, kMaxAge);
  int number = 0;
  for (int step = 0; step < 4000; ++step) {
    const std::string& visitor = visitors()[below(static_cast<int>(visitors().size()))];
    const int what = below(400);
    if (what < 200) {
      std::vector<Event> events(1 + below(4));
      for (Event& event : events)
        event = {moment(), below(2) ? "detail-page-view" : "add-to-cart", below(9) ? std::to_string(++number) : ""};
      append(visits, visitor, events);
      model.append(visitor, events);
    } else if (what < 396) {
      const int n = below(2) ? 1000 : below(5);
      const std::int64_t since = below(2) ? 0 : moment();
      CAPTURE(step);
      CAPTURE(visitor);
      REQUIRE(last(visits, visitor, n, since) == model.last(visitor, n, since));
    } else if (what < 399) {
      erase(visits, visitor);
      model.erase(visitor);
    } else {
      const std::int64_t time = moment();
      erase_before(visits, time);
      model.erase_before(time);
    }
  }
  for (const std::string& visitor : visitors()) CHECK(last(visits, visitor) == model.last(visitor, 1000, 0));
}

// What a read of a visitor sees while another caller's event of that visitor is being written.
enum class Meanwhile {
  kWhole,    // all that was written before
  kPartial,  // perhaps less, until it is written
};

inline void run(const Make& make, Meanwhile meanwhile = Meanwhile::kWhole) {
  const std::int64_t now = server::now_ms();
  const std::int64_t day = 86400;

  SUBCASE("a visitor nobody has seen has no events") { CHECK(last(*make(10, day), "a").empty()); }

  SUBCASE("events come back as they were written, oldest first") {
    const auto visits = make(10, day);
    const std::vector<Event> events{{now - 2, "detail-page-view", "p1"},
                                    {now - 1, "search", ""},
                                    {now, std::string(64, 't'), std::string(1500, 'i') + "é\n\"\\"}};
    append(*visits, "a", events);
    CHECK(last(*visits, "a") == events);
  }

  SUBCASE("by time, whatever the order they come in") {
    const auto visits = make(10, day);
    append(*visits, "a", {{now - 10, "t", "3"}, {now - 30, "t", "1"}});
    append(*visits, "a", {{now - 20, "t", "2"}});
    append(*visits, "a", {{now + 60000, "t", "5"}});  // the clock has stepped back since
    append(*visits, "a", {{now, "t", "4"}});
    CHECK(last_items(*visits, "a") == "1 2 3 4 5");
  }

  SUBCASE("those of one millisecond are all kept, in the order they were appended, equal ones too") {
    const auto visits = make(20, day);
    append(*visits, "a", {{now, "t", "1"}, {now, "t", "2"}});
    append(*visits, "a", {{now, "t", "0"}});
    append(*visits, "a", {{now, "t", "0"}, {now - 1, "t", "9"}, {now, "t", "1"}});
    CHECK(last_items(*visits, "a") == "9 1 2 0 0 1");
    CHECK(last_items(*visits, "a", 2) == "0 1");
  }

  SUBCASE("n and since") {
    const auto visits = make(10, day);
    append(*visits, "a", {{now - 3, "t", "1"}, {now - 2, "t", "2"}, {now - 1, "t", "3"}});
    CHECK(last_items(*visits, "a", 2) == "2 3");
    CHECK(last_items(*visits, "a", 3) == "1 2 3");
    CHECK(last_items(*visits, "a", 0).empty());
    CHECK(last_items(*visits, "a", 10, now - 2) == "2 3");
    CHECK(last_items(*visits, "a", 1, now - 2) == "3");
    CHECK(last_items(*visits, "a", 10, now).empty());
    CHECK(last_items(*visits, "a", std::numeric_limits<int>::max(), now - 3) == "1 2 3");
  }

  SUBCASE("what is too old or one too many is not read") {
    const auto visits = make(3, 60);
    append(*visits, "a", {{now - 120000, "t", "old"}, {now - 50000, "t", "1"}});
    CHECK(last_items(*visits, "a") == "1");
    append(*visits, "a", {{now - 3, "t", "2"}, {now - 2, "t", "3"}, {now - 1, "t", "4"}});
    CHECK(last_items(*visits, "a") == "2 3 4");
    append(*visits, "a", {{now - 4, "t", "late"}});
    CHECK(last_items(*visits, "a") == "2 3 4");
  }

  SUBCASE("visitors are told apart") {
    const auto visits = make(10, day);
    for (const std::string& visitor : visitors()) append(*visits, visitor, {{now, "t", "of " + visitor}});
    for (const std::string& visitor : visitors()) CHECK(last_items(*visits, visitor) == "of " + visitor);
    erase(*visits, "a");
    CHECK(last(*visits, "a").empty());
    for (const std::string& visitor : visitors())
      if (visitor != "a") CHECK(last_items(*visits, visitor) == "of " + visitor);
  }

  SUBCASE("an erased visitor begins anew, with events of before, too") {
    const auto visits = make(3, day);
    append(*visits, "a", {{now - 3, "t", "1"}, {now - 2, "t", "2"}, {now - 1, "t", "3"}});
    erase(*visits, "a");
    erase(*visits, "nobody");
    append(*visits, "a", {{now - 9, "t", "4"}});
    CHECK(last_items(*visits, "a") == "4");
  }

  SUBCASE("all before a time, and not what comes later, whatever its time") {
    const auto visits = make(10, day);
    append(*visits, "a", {{now - 30, "t", "1"}, {now - 20, "t", "2"}, {now - 10, "t", "3"}});
    append(*visits, "b", {{now - 30, "t", "4"}});
    erase_before(*visits, now - 20);
    CHECK(last_items(*visits, "a") == "2 3");
    CHECK(last(*visits, "b").empty());
    append(*visits, "a", {{now - 40, "t", "5"}, {now - 30, "t", "6"}});
    CHECK(last_items(*visits, "a") == "5 6 2 3");
    erase_before(*visits, now - 30);
    CHECK(last_items(*visits, "a") == "6 2 3");
    erase_before(*visits, now - 50);
    CHECK(last_items(*visits, "a") == "6 2 3");
  }

  SUBCASE("threads that append to one visitor lose nothing, and each reads what it wrote") {
    constexpr int kThreads = 8, kEvents = 200;
    const auto visits = make(kThreads * kEvents, day);
    std::atomic<int> unseen = 0;
    std::barrier all(kThreads);  // where reads are partial meanwhile, all write and then all read
    const auto turn = [&] {
      if (meanwhile == Meanwhile::kPartial) all.arrive_and_wait();
    };
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread)
      threads.emplace_back([&, thread] {
        for (int i = 0; i < kEvents; ++i) {
          const Event event{now + i / 50, "t", std::to_string(thread) + "." + std::to_string(i)};
          append(*visits, "a", {event});
          turn();
          const std::vector<Event> read = last(*visits, "a", 2 * kThreads * kEvents);
          turn();
          unseen += i + 1 - std::count_if(read.begin(), read.end(), [&](const Event& one) {
            return one.item.starts_with(std::to_string(thread) + ".");
          });
        }
      });
    for (std::thread& thread : threads) thread.join();
    CHECK(unseen == 0);
    const std::vector<Event> events = last(*visits, "a", 2 * kThreads * kEvents);
    CHECK(events.size() == kThreads * kEvents);
    std::vector<int> next(kThreads, 0);  // each thread's own are in its order
    for (const Event& event : events) {
      const std::size_t dot = event.item.find('.');
      CHECK(std::stoi(event.item.substr(dot + 1)) == next[std::stoi(event.item.substr(0, dot))]++);
    }
  }

  SUBCASE("random calls answer as lists that are searched from end to end") {
    for (const unsigned seed : {1u, 2u}) {
      const int max_events = seed == 1 ? 7 : 1000;
      run_model(*make(max_events, 3600), max_events, seed);
    }
  }
}

}  // namespace contract
