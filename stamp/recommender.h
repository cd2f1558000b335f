// What servers call: the shop's own ids in and out, over a bundle that can be replaced while requests are under way.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "stamp/release.h"

namespace stamp {

struct Request {
  std::vector<Id> events;                    // in order of visits, the current product last; may be empty
  std::vector<Id> bought = {};               // for the rule exclude_bought
  std::vector<Id> exclude = {};              // never to be listed
  std::optional<std::vector<Id>> only = {};  // to choose from
  std::int64_t k = 0;                        // products to list; 0: what the zone says, else 20
  std::int64_t history = 0;                  // the last events that are read; 0: what the zone says, else all
  std::string zone = {};                     // whose rules apply; empty: none's
  std::string rules = {};                    // JSON list of rules, besides the zone's (docs/rules.md); empty: none
  bool explain = false;
};

struct Recommendation {
  std::vector<Id> items;      // best first
  std::vector<float> scores;  // logits with boosts; what a fallback defines; of popular products ln(1 + clicks)
  Path path = Path::none;     // how the answer was found
  std::int64_t cluster = -1;  // id of the cluster whose model answered; -1 where none did
  std::vector<Id> unknown;    // events that the catalog does not know
  std::string reason;         // why there are fewer than k
  std::string explanation;    // JSON, where asked for
};

// Thread-safe, reload included: an answer comes whole from one release or the other.
class STAMP_API Recommender {
 public:
  // Throws std::runtime_error for a bundle that is damaged or a device that cannot be had, std::invalid_argument for
  // rules that cannot be.
  explicit Recommender(const std::filesystem::path& bundle, const ReleaseOptions& options = {});

  // Throws std::invalid_argument for k < 0, an unknown zone, an id of another kind than the catalog's, or rules that
  // cannot be, with the path of the key.
  Recommendation recommend(const Request& request) const;
  // On all cores, from one release. Each request has its own answer, or what recommend(request) would throw.
  std::vector<Answer<Recommendation>> recommend(std::span<const Request> requests) const;

  // Loads what stands at the path now, or at another one, then puts it in the place of the release at hand, which goes
  // when its last request is answered. Where it cannot be loaded the old one stays, and this throws why.
  void reload();
  void reload(const std::filesystem::path& bundle);

  std::shared_ptr<const Release> release() const;
  std::filesystem::path path() const;

 private:
  ReleaseOptions options_;
  mutable std::mutex mutex_;  // of the two below; held for a moment
  std::filesystem::path path_;
  std::shared_ptr<const Release> release_;
  std::mutex reloading_;
};

}  // namespace stamp
