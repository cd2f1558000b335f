// Requests that were submitted, and the threads that answer them: as many as cores, made when they are first needed.
//
// A thread that is free takes its share of what waits, as a pass over a table does (scan_queue.h), answers it in one
// call and calls back; what is late or cancelled by then is told so first, and costs nothing. Nothing is timed: who
// waits while a thread is free waits for a wake-up, and who waits while none is for the next that is.
#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "stamp/recommender.h"

namespace stamp {

// What a ticket and the queue share of one request.
struct Ticket::Flight {
  enum class State { open, cancelled, called };

  Request request;
  Recommender::Callback callback;
  Recommender::Time deadline;
  std::atomic<State> state{State::open};
};

class Recommender::InFlight {
 public:
  using Flight = Ticket::Flight;
  using Answers = std::vector<Answer<Recommendation>>;
  using Work = std::function<Answers(std::span<const Request>)>;

  InFlight(Work work, std::size_t most) : work_(std::move(work)), most_(most) {}
  ~InFlight();  // cancels what waits; returns when every callback has been called

  void submit(std::shared_ptr<Flight> flight);
  std::uint64_t failed_callbacks() const { return failed_callbacks_; }

 private:
  using Flights = std::list<std::shared_ptr<Flight>>;  // moved from list to list without memory

  void work_loop();
  Flights take_over(Time now);
  Flights take_share();
  void answer(const Flights& flights);
  void call(Flight& flight, Answer<Recommendation> answer);

  const Work work_;
  const std::size_t most_;
  std::atomic<std::uint64_t> failed_callbacks_{0};
  std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  Flights waiting_;
  std::vector<std::thread> threads_;
  std::size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace stamp
