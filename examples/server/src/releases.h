// What is served: a release, the one before it, and a thread that looks for the next. And what may be: a candidate.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "config.h"
#include "low_priority_thread.h"
#include "metrics.h"
#include "recent_requests.h"
#include "release_source.h"
#include "serving.h"

namespace server {

// Thread-safe. A thread looks every releases.poll_ms for another release, has another one of low priority check its
// digest, load it and ask it some of the latest requests, and puts it in the place of the one at hand, which stays for
// a rollback until the next one comes. What cannot be loaded changes nothing. It is tried again when the pointer
// changes, when somebody asks for it, or, where it may still be on its way, after a pause that grows from 10 polls to
// 300. In memory are two releases, and three while one is loaded; the third goes when the last request that it answers
// has been answered.
//
// A candidate is looked for and loaded likewise, and the first one, too, is waited for by nobody. None stays when the
// next comes, and where the pointer to it, or its bundle, goes, it goes.
//
// A stamp::Recommender must not end in a callback of its own, and a request may be the last to hold a release: those
// that are done with are kept aside, and end on the thread when nobody else holds them.
class Releases {
 public:
  enum class Role { served, candidate };

  // What is to be served with `bundle` it loads, and throws what is wrong with it; else it begins without a release.
  // `recent` are requests to warm up with; it, the inventory (null: there is none) and the metrics outlive this.
  Releases(const Config& config, Role role, const stamp::ReleaseOptions& options, Inventory* inventory,
           RecentRequests& recent, Metrics& metrics);
  ~Releases();  // stops, if it has not

  // Looks no more, and returns when no request holds a release any more: nobody may ask from now on. Those who wait for
  // reload() are told. A release that is being loaded is waited for.
  void stop();

  std::shared_ptr<Serving> current() const;  // throws Error 503 where there is none yet
  std::shared_ptr<Serving> at_hand() const;  // the same; null where there is none
  void remember(const stamp::Request& request) { recent_.add(request); }

  // Looks now, whatever was refused before. done is called once, perhaps on the thread: with null where what is wanted
  // is served, else with an Error 409 that says why not.
  using Done = std::function<void(std::exception_ptr)>;
  void reload(Done done);
  // At once; loading goes on. They throw Error 409 where there is no such release.
  void rollback();  // back to the one before, and pinned to it
  void pin();       // to the one that is served: others are not loaded, and one that is being loaded is not taken
  void unpin();

  struct Refused {
    std::string release, why;
    std::int64_t at;  // ms, the latest time
  };
  struct Status {
    std::shared_ptr<Serving> current, previous;  // null where there is none
    std::int64_t since;                          // ms, when `current` took its place
    bool pinned;
    std::vector<Refused> refused;  // since then, the latest last
    std::string why_none;          // where there is no `current`
  };
  Status status() const;

 private:
  void run();
  std::exception_ptr look(bool asked);
  std::shared_ptr<Serving> load(const Wanted& wanted, int threads) const;
  std::shared_ptr<Serving> load_aside(const Wanted& wanted);
  bool has(const Wanted& wanted);             // serves it, where it is at hand
  bool take(std::shared_ptr<Serving> fresh);  // false: pinned meanwhile
  std::exception_ptr none();                  // there is none to load
  std::exception_ptr refuse(const std::string& release, const std::string& why, bool may_come);
  void retire(std::shared_ptr<Serving>& release);  // with the lock
  bool let_go();                                   // true: somebody still holds one

  const bool is_candidate_;
  const std::string called_;  // in the log
  const ReleaseSource source_;
  const std::chrono::milliseconds poll_;
  const stamp::ReleaseOptions options_;
  Sum& loads_;
  Sum& failures_;
  Inventory* const inventory_;
  RecentRequests& recent_;
  LowPriorityThread loader_;

  mutable std::mutex mutex_;  // of all that follows; held for a moment
  std::condition_variable wake_;
  bool stopping_ = false;
  std::vector<Done> asked_;  // wait for the next look
  std::shared_ptr<Serving> current_, previous_;
  std::vector<std::shared_ptr<Serving>> retired_;
  std::int64_t since_ = 0;
  bool pinned_ = false;
  std::optional<std::string> seen_;              // the source's state that was dealt with
  std::chrono::steady_clock::time_point retry_;  // when it is dealt with again
  std::chrono::milliseconds pause_{0};           // before that
  std::vector<Refused> refused_;
  std::string why_none_;
  std::thread thread_;
};

}  // namespace server
