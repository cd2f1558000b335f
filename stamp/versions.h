// A value that many read while one changes it: readers keep to the version that they took.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace stamp {

// A version that nobody reads any more is brought up to date and becomes the next one, so that a change costs what it
// changes, and not what there is; it copies where somebody still reads all that were made lately. In memory are two
// versions, and those that somebody still reads.
template <class T, class Change>
class Versions {
 public:
  // A version that is not read yet. Where it is not published, nothing has changed.
  class Next {
   public:
    const T& value() const { return held->value; }

   private:
    friend class Versions;
    struct Held {
      T value;
      std::uint64_t version = 0;  // 0 until it is published
    };
    std::shared_ptr<Held> held;
    std::vector<Change> changes;
  };

  explicit Versions(std::shared_ptr<const T> first) : latest_(std::move(first)) {}

  std::shared_ptr<const T> latest() const {
    std::lock_guard lock(mutex_);
    return latest_;
  }

  // apply(value, changes) brings a value from a version to the next one; it is called with the changes of this call,
  // and before that perhaps with those of earlier ones. One caller at a time, until it has published.
  template <class Apply>
  Next prepare(std::vector<Change> changes, const Apply& apply) {
    Next next;
    next.changes = std::move(changes);
    std::unique_ptr<Held> held = idle_->take();
    if (held && version_ - held->version > kMissed) held.reset();
    if (!held) held.reset(new Held{*latest(), version_});
    const std::uint64_t from = std::exchange(held->version, 0);
    next.held.reset(held.release(), [idle = idle_](Held* done) {
      std::unique_ptr<Held> owned(done);
      if (owned->version > 0) idle->give_back(std::move(owned));
    });
    for (std::uint64_t version = from + 1; version <= version_; ++version)
      apply(next.held->value, changes_[version % kMissed]);
    apply(next.held->value, next.changes);
    return next;
  }

  void publish(Next next) noexcept {
    next.held->version = ++version_;
    changes_[version_ % kMissed] = std::move(next.changes);
    std::shared_ptr<const T> latest(next.held, &next.held->value);
    next.held.reset();
    {
      std::lock_guard lock(mutex_);
      latest_.swap(latest);
    }
    // The one before, if nobody reads it, becomes idle here.
  }

 private:
  using Held = typename Next::Held;
  static constexpr std::size_t kMissed = 8;  // changes that a version may lack and still be brought up to date

  // The latest of those that nobody reads.
  class Idle {
   public:
    std::unique_ptr<Held> take() {
      std::lock_guard lock(mutex_);
      return std::move(held_);
    }
    void give_back(std::unique_ptr<Held> held) {
      std::lock_guard lock(mutex_);
      if (!held_ || held_->version < held->version) held_.swap(held);
    }

   private:
    std::mutex mutex_;
    std::unique_ptr<Held> held_;
  };

  const std::shared_ptr<Idle> idle_ = std::make_shared<Idle>();  // of readers, too, who may outlive this
  std::uint64_t version_ = 1;
  std::array<std::vector<Change>, kMissed> changes_;  // the latest, that which made version v at v % kMissed

  mutable std::mutex mutex_;
  std::shared_ptr<const T> latest_;
};

}  // namespace stamp
