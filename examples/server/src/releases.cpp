#include "releases.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "clock.h"
#include "error.h"
#include "log.h"
#include "prediction.h"
#include "release_digest.h"

namespace server {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kFirstPause = 10, kLastPause = 300;  // polls between tries
constexpr std::size_t kMostRefused = 10;
constexpr std::int64_t kMadeUp = 32;   // requests to warm up with where nobody has asked yet
constexpr milliseconds kHeldPoll{50};  // between looks at who holds what is done with

// Looks at products from all over the catalog, in each zone in turn.
std::vector<stamp::Request> made_up_requests(const Serving& serving) {
  const stamp::Catalog& catalog = serving.recommender.release()->catalog();
  std::vector<stamp::Request> requests;
  for (std::int64_t i = 0; i < std::min(kMadeUp, catalog.size()); ++i) {
    stamp::Request& request = requests.emplace_back();
    request.events = {catalog.id(static_cast<std::int32_t>(i * catalog.size() / kMadeUp % catalog.size()))};
    if (!serving.zones.empty()) request.zone = serving.zones[static_cast<std::size_t>(i) % serving.zones.size()];
  }
  return requests;
}

ReleaseSource source_of(const Config& config, bool is_candidate) {
  const std::string& bundle = is_candidate ? config.shadow.bundle : config.bundle;
  if (!bundle.empty()) return ReleaseSource::bundle(bundle);
  return is_candidate ? ReleaseSource::candidate(config.releases.path) : ReleaseSource::current(config.releases.path);
}

std::exception_ptr pinned_to(const std::string& name) {
  return std::make_exception_ptr(Error(409, "release \"" + name + "\" is pinned; POST /release:unpin first"));
}

}  // namespace

Releases::Releases(const Config& config, Role role, const stamp::ReleaseOptions& options, Inventory* inventory,
                   RecentRequests& recent, Metrics& metrics)
    : is_candidate_(role == Role::candidate),
      called_(is_candidate_ ? "candidate" : "release"),
      source_(source_of(config, is_candidate_)),
      poll_(config.releases.poll_ms),
      options_(options),
      loads_(is_candidate_ ? metrics.counter("stamp_shadow_reloads_total", "Candidates that were loaded.")
                           : metrics.counter("stamp_reloads_total", "Releases that were loaded and served.")),
      failures_(is_candidate_
                    ? metrics.counter("stamp_shadow_reload_failures_total", "Candidates that could not be, each time.")
                    : metrics.counter("stamp_reload_failures_total", "Releases that could not be loaded, each time.")),
      inventory_(inventory),
      recent_(recent),
      why_none_(source_.watched().string() + " has not been looked at yet") {
  if (!is_candidate_ && !config.bundle.empty()) {
    seen_ = source_.state();
    retry_ = Clock::time_point::max();
    take(load(source_.wanted(*seen_), 0));
  }
  const std::string prefix = is_candidate_ ? "stamp_shadow_" : "stamp_";
  const std::string subject = is_candidate_ ? "The candidate at hand" : "The release that is served";
  metrics.gauges(prefix + "release_info", subject + ".", [this] {
    const std::lock_guard lock(mutex_);
    return current_ ? Metrics::Samples{{Metrics::label("release", current_->name), 1}} : Metrics::Samples{};
  });
  metrics.gauges(prefix + "release_loaded_seconds", subject + ": when it took its place, since 1970.", [this] {
    const std::lock_guard lock(mutex_);
    return current_ ? Metrics::Samples{{"", 1e-3 * static_cast<double>(since_)}} : Metrics::Samples{};
  });
  metrics.gauge(prefix + "releases_in_memory", subject + ", the one before, and those that requests hold.", [this] {
    const std::lock_guard lock(mutex_);
    return static_cast<double>((current_ != nullptr) + (previous_ != nullptr) + retired_.size());
  });
  if (!is_candidate_)
    metrics.gauge("stamp_release_pinned", "1 while the release that is served is pinned.", [this] {
      const std::lock_guard lock(mutex_);
      return pinned_ ? 1. : 0.;
    });
  thread_ = std::thread([this] { run(); });
}

Releases::~Releases() { stop(); }

void Releases::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
  for (const Done& done : std::exchange(asked_, {})) done(std::make_exception_ptr(Error(503, "the server is ending")));
  retire(current_);
  retire(previous_);
  while (let_go()) std::this_thread::sleep_for(milliseconds(1));
}

std::shared_ptr<Serving> Releases::at_hand() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

std::shared_ptr<Serving> Releases::current() const {
  const std::lock_guard lock(mutex_);
  if (!current_) throw Error(503, "no release yet: " + why_none_);
  return current_;
}

void Releases::reload(Done done) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) throw Error(503, "the server is ending");
    asked_.push_back(std::move(done));
  }
  wake_.notify_all();
}

void Releases::rollback() {
  std::string name;
  {
    const std::lock_guard lock(mutex_);
    if (!previous_) throw Error(409, "there is no release before the one that is served");
    std::swap(current_, previous_);
    since_ = now_ms();
    pinned_ = true;
    name = current_->name;
  }
  log("back to release " + name + ", which is pinned");
}

void Releases::pin() {
  std::string name;
  {
    const std::lock_guard lock(mutex_);
    if (!current_) throw Error(409, "there is no release yet");
    pinned_ = true;
    name = current_->name;
  }
  log("release " + name + " is pinned");
}

void Releases::unpin() {
  {
    const std::lock_guard lock(mutex_);
    pinned_ = false;
    seen_.reset();  // what came meanwhile was not dealt with
  }
  wake_.notify_all();
  log("no release is pinned any more");
}

Releases::Status Releases::status() const {
  const std::lock_guard lock(mutex_);
  return {current_, previous_, since_, pinned_, refused_, current_ ? "" : why_none_};
}

void Releases::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    const std::vector<Done> asked = std::exchange(asked_, {});
    lock.unlock();
    const std::exception_ptr outcome = look(!asked.empty());
    for (const Done& done : asked) done(outcome);
    const bool held = let_go();
    lock.lock();
    wake_.wait_for(lock, held ? std::min(poll_, kHeldPoll) : poll_,
                   [this] { return stopping_ || !asked_.empty() || (!seen_ && !pinned_); });
    if (stopping_) return;
  }
}

std::exception_ptr Releases::look(bool asked) {
  std::string state, trouble;
  try {
    state = source_.state();
  } catch (const std::exception& error) {
    trouble = error.what();
  }
  {
    const std::lock_guard lock(mutex_);
    if (pinned_) return asked ? pinned_to(current_->name) : nullptr;
    const bool is_new = seen_ != state + trouble;
    if (!asked && !is_new && Clock::now() < retry_) return nullptr;
    if (asked || is_new) pause_ = milliseconds(0);
    seen_ = state + trouble;
    retry_ = Clock::time_point::max();
  }
  std::string name = source_.watched().filename();
  try {
    if (!trouble.empty()) throw std::runtime_error(trouble);
    if (state.empty()) return none();
    const Wanted wanted = source_.wanted(state);
    name = wanted.name;
    if (has(wanted)) return nullptr;
    std::shared_ptr<Serving> fresh = load_aside(wanted);
    return take(std::move(fresh)) ? nullptr : asked ? pinned_to(current()->name) : nullptr;
  } catch (const std::invalid_argument& error) {  // cannot become right where it stands
    return refuse(name, error.what(), false);
  } catch (const std::exception& error) {
    return refuse(name, error.what(), true);
  }
}

bool Releases::has(const Wanted& wanted) {
  {
    const std::lock_guard lock(mutex_);
    const auto is_wanted = [&](const auto& release) { return release && release->identity == wanted.identity; };
    if (!is_wanted(current_) && (pinned_ || !is_wanted(previous_))) {
      why_none_ = "release \"" + wanted.name + "\" is being loaded";
      return false;
    }
    refused_.clear();
    if (is_wanted(current_)) return true;
    std::swap(current_, previous_);
    since_ = now_ms();
  }
  log("release " + wanted.name + " is served again");
  return true;
}

// The thread that loads takes no lock that requests wait for: it may be kept waiting with it. And it does all of the
// work itself: the library's own threads are of no low priority. The first release, which everybody waits for, is
// loaded on all cores.
std::shared_ptr<Serving> Releases::load_aside(const Wanted& wanted) {
  if (!is_candidate_ && !at_hand()) return load(wanted, 0);
  std::shared_ptr<Serving> serving;
  loader_.run([&] { serving = load(wanted, 1); });
  return serving;
}

std::shared_ptr<Serving> Releases::load(const Wanted& wanted, int threads) const {
  if (!wanted.digest.empty()) {
    const std::string digest = release_digest(wanted.path);
    if (digest != wanted.digest)
      throw std::invalid_argument(wanted.path.string() + ": the digest of its files is " + digest + ", and " +
                                  source_.watched().filename().string() + " says " + wanted.digest);
  }
  stamp::ReleaseOptions options = options_;
  options.threads = threads;
  std::shared_ptr<Serving> serving = load_serving(wanted, options, inventory_);
  if (wanted.digest.empty() && source_.state() != wanted.identity)  // and the name may be the other one's
    throw std::runtime_error(wanted.path.string() + ": changed while it was being loaded");
  std::vector<stamp::Request> requests = recent_.all();
  if (requests.empty()) requests = made_up_requests(*serving);
  for (const stamp::Request& request : requests) {
    try {
      serving->recommender.recommend(request);
    } catch (const std::invalid_argument&) {  // of a zone or an attribute that went with the old release
    }
  }
  return serving;
}

bool Releases::take(std::shared_ptr<Serving> fresh) {
  const std::string name = fresh->name;
  {
    const std::lock_guard lock(mutex_);
    if (pinned_) {
      retire(fresh);
      seen_.reset();
      return false;
    }
    retire(is_candidate_ ? current_ : previous_);
    if (current_) previous_ = std::move(current_);
    current_ = std::move(fresh);
    since_ = now_ms();
    refused_.clear();
  }
  loads_.add();
  log(called_ + ' ' + name + (is_candidate_ ? " is asked, too" : " is served"));
  return true;
}

std::exception_ptr Releases::none() {
  const std::string why = source_.watched().string() + ": does not exist";
  if (!is_candidate_) return refuse(source_.watched().filename(), why, false);
  std::string name;
  {
    const std::lock_guard lock(mutex_);
    if (current_) name = current_->name;
    retire(current_);
    refused_.clear();
    why_none_ = why;
  }
  if (!name.empty()) log("candidate " + name + " is asked no more");
  return nullptr;
}

std::exception_ptr Releases::refuse(const std::string& release, const std::string& why, bool may_come) {
  const auto error = std::make_exception_ptr(Error(409, release + ": " + why));
  {
    const std::lock_guard lock(mutex_);
    why_none_ = why;
    if (!current_ && seen_ == "") return error;  // not refused: it has not come
    if (may_come) {
      pause_ = std::clamp(2 * pause_, kFirstPause * poll_, kLastPause * poll_);
      retry_ = Clock::now() + pause_;
    }
    std::erase_if(refused_, [&](const Refused& known) { return known.release == release && known.why == why; });
    if (refused_.size() == kMostRefused) refused_.erase(refused_.begin());
    refused_.push_back({release, why, now_ms()});
  }
  failures_.add();
  log(called_ + " refused: " + release + ": " + why);
  return error;
}

void Releases::retire(std::shared_ptr<Serving>& release) {
  if (release) retired_.push_back(std::exchange(release, nullptr));
}

bool Releases::let_go() {
  std::vector<std::shared_ptr<Serving>> gone;
  bool some_stay;
  {
    const std::lock_guard lock(mutex_);
    for (auto& release : retired_)
      if (release.use_count() == 1) gone.push_back(std::move(release));
    std::erase(retired_, nullptr);
    some_stay = !retired_.empty();
  }
  if (!gone.empty()) loader_.run([&] { gone.clear(); });  // it takes as long as giving back the memory does
  return some_stay;
}

}  // namespace server
