#include "shadow.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "experiments.h"
#include "failures.h"
#include "prediction.h"
#include "priority.h"

namespace server {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostWaiting = 16;

Sum& outcome(Metrics& metrics, const char* name) {
  return metrics.counter("stamp_shadow_requests_total", "Lists that the candidate was to be asked for, by outcome.",
                         Metrics::label("outcome", name));
}

Histogram& time_of(Metrics& metrics, const char* release) {
  return metrics.histogram("stamp_shadow_list_seconds",
                           "One list, made for the comparison on a thread of low priority by each release in turn.",
                           Metrics::label("release", release));
}

// The part of the served list's products that the other has, too.
double overlap_of(const std::vector<stamp::Id>& served, const std::vector<stamp::Id>& other) {
  const auto n =
      std::ranges::count_if(served, [&](const stamp::Id& id) { return std::ranges::find(other, id) != other.end(); });
  return static_cast<double>(n) / static_cast<double>(served.size());
}

struct Timed {
  stamp::Answer<stamp::Recommendation> answer;
  Clock::duration time;
};

Timed ask(const Serving& serving, const Shadow::Asked& asked) {
  stamp::Request request = asked.request;
  request.alone = true;
  request.explain = false;
  request.zone = serving.rules_of(asked.zone);
  const auto began = Clock::now();
  auto answer = stamp::Answer<stamp::Recommendation>::of([&] { return serving.recommender.recommend(request); });
  return {std::move(answer), Clock::now() - began};
}

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

struct Shadow::Zone {
  Zone(const std::string& name, Metrics& metrics)
      : overlap(metrics.histogram("stamp_shadow_overlap", "Part of a served list's products that the candidate lists.",
                                  Metrics::label("zone", name), Histogram::kShares)),
        same_first(metrics.counter("stamp_shadow_same_first_total", "Lists of both that begin with the same product.",
                                   Metrics::label("zone", name))),
        empty_served(empty(name, "served", metrics)),
        empty_candidate(empty(name, "candidate", metrics)) {}

  static Sum& empty(const std::string& name, const char* release, Metrics& metrics) {
    return metrics.counter("stamp_shadow_empty_total", "Lists without a product.",
                           Metrics::label("zone", name) + ',' + Metrics::label("release", release));
  }

  Histogram& overlap;
  Sum &same_first, &empty_served, &empty_candidate;
};

Shadow::Shadow(const Config& config, const stamp::ReleaseOptions& options, Inventory* inventory, RecentRequests& recent,
               const Admission& admission, Metrics& metrics)
    : share_(config.shadow.share),
      admission_(admission),
      metrics_(metrics),
      candidates_(config, Releases::Role::candidate, options, inventory, recent, metrics),
      answered_(outcome(metrics, "answered")),
      failed_(outcome(metrics, "failed")),
      dropped_(outcome(metrics, "dropped")),
      served_time_(time_of(metrics, "served")),
      candidate_time_(time_of(metrics, "candidate")),
      thread_([this] { run(); }) {}

Shadow::~Shadow() { stop(); }

void Shadow::stop() {
  {
    std::deque<Asked> rest;  // each holds a candidate, which ends when nobody does
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      rest.swap(waiting_);
    }
    dropped_.add(rest.size());
  }
  some_.notify_one();
  if (thread_.joinable()) thread_.join();
  candidates_.stop();
}

// Request ids are random, or the shop's own: replicas take samples of their own.
std::shared_ptr<Serving> Shadow::candidate_for(std::string_view request_id) const {
  return bucket_of("shadow", request_id) < share_ ? candidates_.at_hand() : nullptr;
}

void Shadow::offer(Asked asked) {
  if (!admission_.is_busy()) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock && !stopping_ && waiting_.size() < kMostWaiting) {
      waiting_.push_back(std::move(asked));
      some_.notify_one();
      return;
    }
  }
  dropped_.add();
}

void Shadow::run() {
  step_aside();
  std::unique_lock lock(mutex_);
  while (true) {
    some_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    {
      const Asked asked = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      bool is_compared = false;
      try {
        is_compared = compare(asked);
      } catch (const std::exception&) {  // there is no memory
      }
      if (!is_compared) dropped_.add();
    }
    lock.lock();
  }
}

// It takes no lock that callers wait for but the library's, which are held for a moment.
bool Shadow::compare(const Asked& asked) {
  const bool candidate_first = turn_++ % 2 == 0;
  const Serving& first = candidate_first ? *asked.candidate : *asked.served;
  const Serving& second = candidate_first ? *asked.served : *asked.candidate;
  if (admission_.is_busy()) return false;
  Timed one = ask(first, asked);
  if (admission_.is_busy()) return false;
  Timed other = ask(second, asked);
  if (!candidate_first) std::swap(one, other);  // `one` is the candidate's from now on
  if (!other.answer) return false;              // which was answered before
  const std::lock_guard lock(figures_mutex_);
  if (figures_.candidate != asked.candidate->identity || figures_.served != asked.served->identity)
    figures_ = {.candidate = asked.candidate->identity,
                .served = asked.served->identity,
                .beside = asked.served->name,
                .why_failed = {}};
  if (!one.answer) {
    failed_.add();
    ++figures_.failed;
    figures_.why_failed = failure_of(one.answer.error()).message;
    return true;
  }
  answered_.add();
  ++figures_.answered;
  served_time_.observe(other.time);
  candidate_time_.observe(one.time);
  figures_.served_s += seconds(other.time);
  figures_.candidate_s += seconds(one.time);
  count(asked.zone, other.answer.get().items, one.answer.get().items);
  return true;
}

// With the figures' lock.
void Shadow::count(const std::string& name, const std::vector<stamp::Id>& served,
                   const std::vector<stamp::Id>& listed) {
  Zone& of = zone(name.empty() ? std::string(kDefaultZone) : name);
  if (listed.empty()) {
    of.empty_candidate.add();
    ++figures_.empty_candidate;
  }
  if (served.empty()) {
    of.empty_served.add();
    ++figures_.empty_served;
    return;
  }
  const double overlap = overlap_of(served, listed);
  of.overlap.observe(overlap);
  ++figures_.compared;
  figures_.overlap += overlap;
  if (!listed.empty() && listed.front() == served.front()) {
    of.same_first.add();
    ++figures_.same_first;
  }
}

Shadow::Zone& Shadow::zone(const std::string& name) {
  std::unique_ptr<Zone>& found = zones_[name];
  if (!found) found = std::make_unique<Zone>(name, metrics_);
  return *found;
}

Shadow::Status Shadow::status() const {
  Status status{.candidate = candidates_.status(), .dropped = dropped_.value(), .figures = {}};
  const std::lock_guard lock(figures_mutex_);
  if (status.candidate.current && status.candidate.current->identity == figures_.candidate) status.figures = figures_;
  return status;
}

}  // namespace server
