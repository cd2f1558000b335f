// What servers call: the shop's own ids in and out, over a bundle that can be replaced while requests are under way.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "stamp/release.h"

namespace stamp {

template <class T>
class OfProcess;

struct Request {
  std::vector<Id> events;                    // in order of visits, the current product last; may be empty
  std::vector<Id> bought = {};               // for the rule exclude_bought
  std::vector<Id> exclude = {};              // never to be listed
  std::optional<std::vector<Id>> only = {};  // to choose from
  std::int64_t k = 0;                        // products to list; 0: what the zone says, else 20
  std::int64_t history = 0;                  // the last events that are read; 0: what the zone says, else all
  std::string zone = {};                     // whose rules apply; empty: none's
  std::string rules = {};                    // JSON list of rules, besides the zone's (docs/rules.md); empty: none
  // How much what products are worth counts, and how much their popularity counts against them: 0 to 1 (docs/rules.md).
  // Empty: what the zone says, else 0.
  std::optional<double> value = {}, tail = {};
  // What the list is to serve: weights of clicks and of what the bundle's models have learnt beside them, of which only
  // the ratios count. Empty: what the zone says, else clicks alone.
  std::optional<Objective> objective = {};
  bool explain = false;
  bool diversify = true;  // false: rules that diversify are passed over, as a busy server may ask
  bool alone = false;     // its scan is shared with nobody: for a thread of low priority, whom others would wait for
};

struct Recommendation {
  std::vector<Id> items;      // best first
  std::vector<float> scores;  // as of Listing
  Path path = Path::none;     // how the answer was found
  std::int64_t cluster = -1;  // id of the cluster whose model answered; -1 where none did
  std::vector<Id> unknown;    // events that the catalog does not know
  std::string reason;         // why there are fewer than k
  std::string explanation;    // JSON, where asked for
};

// A number of a product that changes while the bundle is served: its price, or whether it can be bought.
struct ProductNumber {
  Id product;
  std::string attribute;
  float value;  // NaN: missing
};

// Why a request that was submitted has no recommendation, besides what recommend() throws.
class STAMP_API DeadlineExceeded : public std::runtime_error {
 public:
  using runtime_error::runtime_error;
};
class STAMP_API Cancelled : public std::runtime_error {
 public:
  using runtime_error::runtime_error;
};

// Of a request that was submitted. It need not be kept, and may be kept longer than the recommender.
class STAMP_API Ticket {
 public:
  Ticket() = default;  // of no request
  // True: the callback has not been called yet, and will be with Cancelled. A request whose turn has not come costs no
  // more; of one that is being answered the answer is dropped. False: the callback has been called, or is being.
  bool cancel() const;

 private:
  friend class Recommender;
  struct Flight;
  explicit Ticket(std::shared_ptr<Flight> flight) : flight_(std::move(flight)) {}

  std::shared_ptr<Flight> flight_;
};

// Thread-safe, reload included: an answer comes whole from one release or the other.
class STAMP_API Recommender {
 public:
  // Throws std::runtime_error for a bundle that is damaged or a device that cannot be had, std::invalid_argument for
  // rules that cannot be.
  explicit Recommender(const std::filesystem::path& bundle, const ReleaseOptions& options = {});
  // Requests that were submitted and whose turn has not come are cancelled; returns when every callback has been
  // called, and so not in one.
  ~Recommender();

  // Throws std::invalid_argument for k < 0, an unknown zone, a value, tail or objective that cannot be (Release::list), an
  // id of another kind than the catalog's, or rules that cannot be, with the path of the key.
  Recommendation recommend(const Request& request) const;
  // On all cores, from one release. Each request has its own answer, or what recommend(request) would throw.
  std::vector<Answer<Recommendation>> recommend(std::span<const Request> requests) const;

  using Callback = std::function<void(Answer<Recommendation>)>;
  using Time = std::chrono::steady_clock::time_point;
  static constexpr Time kNoDeadline = Time::max();

  // Answers by calling back, and blocks no thread meanwhile. The callback is called once, whatever happens, with no
  // lock held and on a thread of the recommender's, never on the caller's, though perhaps before this returns. There
  // are as many as num_threads() at most, and one that is in a callback answers nobody. What a callback throws is
  // counted, and dropped. It gets what recommend() gives or throws, DeadlineExceeded where the deadline had passed when
  // a thread was free for the request, or Cancelled. Requests wait only while no thread is free, and are taken in
  // order, several at once, by the release that is at hand then. In a child of fork() the requests of the parent are
  // the parent's. Throws std::invalid_argument for an empty callback, std::system_error where no thread can be had,
  // Cancelled where the destructor runs, as a callback may find, and then calls nobody.
  Ticket submit(Request request, Callback callback, Time deadline = kNoDeadline) const;
  std::uint64_t failed_callbacks() const;  // how many threw

  // Loads what stands at the path now, or at another one, then puts it in the place of the release at hand, which goes
  // when its last request is answered. Where it cannot be loaded the old one stays, and this throws why.
  void reload();
  void reload(const std::filesystem::path& bundle);

  // From the next request on in force in every rule (Release::set_numbers); a bundle that is loaded later has its own
  // numbers again. Returns how many are of products that the catalog does not know, and are left out. Throws
  // std::invalid_argument, and sets nothing, for an attribute that is no number of the catalog's, an id of another kind.
  std::size_t set_numbers(std::span<const ProductNumber> numbers);

  std::shared_ptr<const Release> release() const;
  std::filesystem::path path() const;

 private:
  ReleaseOptions options_;
  mutable std::mutex mutex_;  // of the two below; held for a moment
  std::filesystem::path path_;
  std::shared_ptr<Release> release_;
  std::mutex reloading_;

  class InFlight;
  InFlight& in_flight() const;
  std::unique_ptr<OfProcess<InFlight>> in_flight_;  // goes first: its threads use the others
};

}  // namespace stamp
