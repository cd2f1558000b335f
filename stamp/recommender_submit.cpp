// Requests that are answered by callback.
#include <algorithm>

#include "stamp/internal/in_flight.h"

namespace stamp {

namespace {

template <class Error, class... Parts>
Answer<Recommendation> error_of(const Parts&... parts) {
  return Answer<Recommendation>::of([&]() -> Recommendation { throw Error(concat(parts...)); });
}

}  // namespace

bool Ticket::cancel() const {
  if (!flight_) return false;
  Flight::State state = Flight::State::open;
  flight_->state.compare_exchange_strong(state, Flight::State::cancelled);
  return state != Flight::State::called;
}

Recommender::InFlight::~InFlight() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void Recommender::InFlight::submit(std::shared_ptr<Flight> flight) {
  const auto cores = static_cast<std::size_t>(num_threads());
  Flights one;
  one.push_back(std::move(flight));
  std::lock_guard lock(mutex_);
  if (stopping_) throw Cancelled("submit: the recommender is ending and takes no more requests");
  if (waiting_.size() >= idle_ && threads_.size() < cores) {
    try {
      threads_.emplace_back([this] { work_loop(); });
    } catch (...) {
      if (threads_.empty()) throw;  // else those that there are do it
    }
  }
  waiting_.splice(waiting_.end(), one);
  wake_.notify_one();
}

void Recommender::InFlight::work_loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    wake_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    --idle_;
    if (waiting_.empty()) return;
    const Time now = std::chrono::steady_clock::now();
    const bool stopping = stopping_;
    const Flights over = stopping ? std::exchange(waiting_, {}) : take_over(now);
    const Flights share = take_share();
    lock.unlock();
    for (const auto& flight : over) {
      if (stopping) {
        call(*flight, error_of<Cancelled>("submit: the recommender ended before the request's turn came"));
      } else {  // late, unless it is cancelled, which call() sees
        call(*flight,
             error_of<DeadlineExceeded>("submit: the deadline passed before a thread was free for the request"));
      }
    }
    answer(share);
    lock.lock();
  }
}

// Of those that wait, whoever is cancelled or late.
Recommender::InFlight::Flights Recommender::InFlight::take_over(Time now) {
  Flights over;
  for (auto flight = waiting_.begin(); flight != waiting_.end();) {
    const auto next = std::next(flight);
    if ((*flight)->deadline <= now || (*flight)->state == Flight::State::cancelled)
      over.splice(over.end(), waiting_, flight);
    flight = next;
  }
  return over;
}

Recommender::InFlight::Flights Recommender::InFlight::take_share() {
  Flights share;
  if (waiting_.empty()) return share;
  const std::size_t even = (waiting_.size() - 1) / static_cast<std::size_t>(num_threads()) + 1;
  share.splice(share.end(), waiting_, waiting_.begin(),
               std::next(waiting_.begin(), static_cast<std::ptrdiff_t>(std::min(even, most_))));
  return share;
}

void Recommender::InFlight::answer(const Flights& flights) {
  if (flights.empty()) return;
  Answers answers;
  std::exception_ptr error;
  try {
    std::vector<Request> requests;
    requests.reserve(flights.size());
    for (const auto& flight : flights) requests.push_back(std::move(flight->request));
    answers = work_(requests);
  } catch (...) {
    error = std::current_exception();
  }
  std::size_t i = 0;
  for (const auto& flight : flights) call(*flight, error ? Answer<Recommendation>(error) : std::move(answers[i++]));
}

void Recommender::InFlight::call(Flight& flight, Answer<Recommendation> answer) {
  if (flight.state.exchange(Flight::State::called) == Flight::State::cancelled)
    answer = error_of<Cancelled>("submit: the request was cancelled");
  try {
    flight.callback(std::move(answer));
  } catch (...) {
    ++failed_callbacks_;
  }
  flight.callback = nullptr;  // what it holds is not kept for those who keep their tickets
}

Ticket Recommender::submit(Request request, Callback callback, Time deadline) const {
  require(callback != nullptr, "submit: callback is empty, expected a function");
  auto flight = std::make_shared<Ticket::Flight>(std::move(request), std::move(callback), deadline);
  in_flight().submit(flight);
  return Ticket(std::move(flight));
}

std::uint64_t Recommender::failed_callbacks() const { return in_flight().failed_callbacks(); }

}  // namespace stamp
