// Sessions: what visitors did, 4 bytes an event; the examples that prefixes make of them; batches of those.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "stamp/catalog.h"
#include "stamp/device.h"

namespace stamp {

// Columns of an event log, one value an event, in any order.
struct EventColumns {
  std::span<const std::int64_t> session;    // any numbers; equal means the same session
  std::span<const std::int32_t> item;       // catalog rows
  std::span<const std::int64_t> timestamp;  // microseconds since 1970; empty: the order of the rows
  std::span<const float> weight;            // of the example whose target the event is, 0: history only; empty: 1
  std::span<const std::uint8_t> label;      // what it leads to, see Sessions::labels; empty: nobody said
};

// Sessions laid end to end, each in the order of its clicks, sessions in the order of their last event (of their first
// row, where there are no timestamps). Copies share what they hold; nothing of it changes.
class STAMP_API Sessions {
 public:
  // Objectives that an event has labels for, beside that it is a target at all.
  static constexpr int kMostLabels = Objectives::kMost;

  Sessions() = default;
  Sessions(const Sessions&) = default;  // moving is copying, so that no Sessions is without what it shares
  Sessions& operator=(const Sessions&) = default;
  // Already grouped: session s is items[offsets[s] .. offsets[s+1]). Throws std::invalid_argument when offsets do not
  // start at 0, fall, or end elsewhere than at the number of items; when a row is below
  // Catalog::kUnknown; when a weight is negative or not finite; when a label has a bit of kMostLabels or above; when
  // timestamps, weights or labels have another length.
  Sessions(std::vector<std::int32_t> items, std::vector<std::int64_t> offsets,
           std::vector<std::int64_t> timestamps = {}, std::vector<float> weights = {},
           std::vector<std::uint8_t> labels = {});

  // Groups and sorts an event log; stable, so equal timestamps keep the order of the rows. `order`, when given,
  // receives for each event of the result the row it came from.
  static Sessions from_events(const EventColumns& events, std::vector<std::int64_t>* order = nullptr);

  std::int64_t size() const { return static_cast<std::int64_t>(offsets().size()) - 1; }
  std::int64_t events() const { return static_cast<std::int64_t>(items().size()); }
  std::int64_t length(std::int64_t session) const { return offsets()[session + 1] - offsets()[session]; }
  std::span<const std::int32_t> items() const { return columns_->items; }
  std::span<const std::int32_t> items(std::int64_t session) const;
  std::span<const std::int64_t> offsets() const { return columns_->offsets; }
  std::span<const std::int64_t> timestamps() const { return columns_->timestamps; }  // empty where unknown
  std::span<const float> weights() const { return *weights_; }                       // empty where all are 1
  // Bit k of an event: it leads to what objective k wants (leading_labels). Empty where nobody said.
  std::span<const std::uint8_t> labels() const { return columns_->labels; }
  std::int32_t max_item() const;              // -1 without events
  bool is_target(std::int64_t event) const {  // see example_targets
    return weights_->empty() || (*weights_)[event] > 0;
  }

  // Sessions first … last-1.
  Sessions slice(std::int64_t first, std::int64_t last) const;
  // Number of sessions whose last event is before `time`. Throws std::invalid_argument without timestamps.
  std::int64_t count_before(std::int64_t time) const;
  // Without the events that are Catalog::kUnknown, and without the sessions that hold nothing else.
  Sessions without_unknown() const;
  // Both, one after the other. Where only one has labels, the other's events lead to nothing.
  static Sessions concatenate(const Sessions& a, const Sessions& b);
  // Whether an event of the session has one before it and is a target.
  bool has_example(std::int64_t session) const;
  // With weights times 1 in the newest session that has an example and `oldest` in the oldest, which rise geometrically
  // with the order of those between; in the others weights stay as they are. Throws std::invalid_argument where it is
  // not above 0 or above 1.
  Sessions faded(float oldest) const;
  // 64-bit hash of everything: recognises the data a model was trained on.
  std::uint64_t fingerprint() const;

 private:
  struct Columns {
    std::vector<std::int32_t> items;
    std::vector<std::int64_t> offsets{0};
    std::vector<std::int64_t> timestamps;
    std::vector<std::uint8_t> labels;
  };
  // Of columns that fit together.
  static Sessions of(std::shared_ptr<const Columns> columns, std::vector<float> weights);

  std::shared_ptr<const Columns> columns_ = std::make_shared<Columns>();
  std::shared_ptr<const std::vector<float>> weights_ = std::make_shared<std::vector<float>>();
};

// Labels [events] by what happens later in a session. kinds[e] has bit k where event e is what objective k wants (an
// order, say); the result has bit k where an event of the same product that has it comes after event e in its session,
// or is event e. Events of no known product lead to nothing. Takes time by events, and a byte a product. Throws
// std::invalid_argument when kinds have another length than the events, or a bit of Sessions::kMostLabels or above.
STAMP_API std::vector<std::uint8_t> leading_labels(const Sessions& sessions, std::span<const std::uint8_t> kinds);

// An example predicts an event, its target, from the events of its session before it. These are the targets: every
// event of a weight above 0 that has at least min_history events before it in its session, as indices into
// Sessions::items(). An event of weight 0 is history only.
STAMP_API std::vector<std::int64_t> example_targets(const Sessions& sessions, std::int64_t min_history = 1);

// Examples laid out for a device. Those of one session share its events.
struct STAMP_API Batch {
  std::vector<std::int32_t> items;    // [L]
  std::vector<std::int32_t> begin;    // [B]
  std::vector<std::int32_t> length;   // [B]
  std::vector<std::int32_t> targets;  // [B]
  std::vector<float> weights;         // [B], summing to 1, or all 0 where nothing counts
  std::vector<float> preferences;  // [B,K] of K objectives: how much of each, the rest to clicks; empty: all to clicks
  double weight = 0;               // their sum before that

  std::int64_t B() const { return static_cast<std::int64_t>(begin.size()); }
  std::int64_t L() const { return static_cast<std::int64_t>(items.size()); }
  void clear();
  // Appends a history of its own without target (Catalog::kUnknown), as recommending does, and its preferences among K
  // objectives; empty: all for clicks.
  void add_history(std::span<const std::int32_t> history, std::span<const float> preference = {}, std::int64_t K = 0);
};

// Histories within one session, neither of whose ends falls: a batch holds what they share once, and no event that none
// of them reads.
class SharedHistories {
 public:
  // The next history is of another session, or goes into another batch.
  void restart() { loaded_ = -1; }
  // Appends begin and length of events[begin, end) to a batch, and those of its events that are not there yet.
  void add(std::span<const std::int32_t> events, std::int64_t begin, std::int64_t end, Batch& batch);

 private:
  std::int64_t loaded_ = -1;  // the next event to load; -1: none is
  std::int64_t shift_ = 0;    // from an event to its place in the batch
};

// Makes batches of examples; keeps its scratch memory.
class STAMP_API BatchBuilder {
 public:
  // history: use at most the last so many events of each history, 0 for all.
  explicit BatchBuilder(const Sessions& sessions, std::int64_t history = 0);
  // `targets`: event indices, in any order; the batch has them in ascending order.
  void build(std::span<const std::int64_t> targets, Batch& batch);

 private:
  const Sessions& sessions_;
  std::int64_t history_;
  std::vector<std::int64_t> sorted_;
};

// How a model with a catalog of V products is asked about sessions.
struct WalkOptions {
  std::int64_t V = 0;
  std::int64_t min_history = 1;        // events before a target
  bool last_only = false;              // only the last event of each session is a target
  std::int64_t history = 0;            // at most so many last known events are read; 0: all
  std::int64_t batch = 512;            // examples
  std::vector<float> preference = {};  // [K] of each example; empty: all for clicks
};

// Walks the examples of `sessions` in order. Events outside the catalog (Catalog::kUnknown, say) are skipped in
// histories, and Catalog::kUnknown as targets. take(target, known) says whether an example whose history has so many
// known events goes into a batch; answer(batch, sessions walked) gets the batches, full ones and a last, which may be
// empty, and returns whether to go on.
STAMP_API void walk_examples(const Sessions& sessions, const WalkOptions& options,
                             const std::function<bool(std::int32_t target, std::int64_t known)>& take,
                             const std::function<bool(const Batch& batch, std::int64_t done)>& answer);

}  // namespace stamp
