// A candidate for release beside what is served: how its lists differ, and how long they take, before callers see any.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "admission.h"
#include "config.h"
#include "metrics.h"
#include "recent_requests.h"
#include "releases.h"

namespace server {

// Thread-safe. A thread of low priority (priority.h) asks both releases for a list that was answered, one after the
// other and each first in turn, so that their times can be compared: alone, as recommend() does it. What it asks waits
// in a short queue, and is dropped where that is full, or where the cores are busy with lists that somebody waits for.
class Shadow {
 public:
  // A list that was answered, in full.
  struct Asked {
    stamp::Request request;
    std::string zone;                 // as it was asked for: each release has its own idea of "default"
    std::shared_ptr<Serving> served;  // which answered
    std::shared_ptr<Serving> candidate;
  };

  // The candidate is that of config.shadow. Inventory (null: there is none), `recent`, admission and metrics outlive
  // this.
  Shadow(const Config& config, const stamp::ReleaseOptions& options, Inventory* inventory, RecentRequests& recent,
         const Admission& admission, Metrics& metrics);
  ~Shadow();  // stops, if it has not

  std::shared_ptr<Serving> candidate_for(std::string_view request_id) const;  // null: none, or it is not in the sample
  void offer(Asked asked);                                                    // waits for nobody
  void stop();  // drops what waits; what is offered from now on is dropped, too

  struct Figures {                  // of one candidate beside one release
    std::string candidate, served;  // as Serving::identity
    std::string beside;             // name of what is served
    std::uint64_t answered = 0, failed = 0;
    std::uint64_t compared = 0, same_first = 0;  // lists that are served with products; of these
    double overlap = 0;                          // the sum of their overlaps
    std::uint64_t empty_served = 0, empty_candidate = 0;
    double served_s = 0, candidate_s = 0;  // for all that are answered
    std::string why_failed;                // the latest
  };
  struct Status {
    Releases::Status candidate;
    std::uint64_t dropped;  // since the server began
    Figures figures;        // of the candidate at hand, or of none
  };
  Status status() const;

 private:
  struct Zone;  // metrics of one
  void run();
  bool compare(const Asked& asked);  // false: dropped
  void count(const std::string& zone, const std::vector<stamp::Id>& served, const std::vector<stamp::Id>& listed);
  Zone& zone(const std::string& name);

  const int share_;
  const Admission& admission_;
  Metrics& metrics_;
  Releases candidates_;
  Sum &answered_, &failed_, &dropped_;
  Histogram &served_time_, &candidate_time_;
  std::map<std::string, std::unique_ptr<Zone>> zones_;  // of the thread
  std::uint64_t turn_ = 0;                              // likewise

  mutable std::mutex figures_mutex_;
  Figures figures_;

  std::mutex mutex_;  // of what follows
  std::condition_variable some_;
  std::deque<Asked> waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace server
