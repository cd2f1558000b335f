// A value that many read while one changes it: readers keep to the version that they took.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace stamp {

// Of the versions that nobody reads any more the latest is brought up to date and becomes the next one, so that a change
// costs what it changes, and not what there is. In memory are two versions, and those that somebody still reads.
template <class T, class Change>
class Versions {
 public:
  explicit Versions(std::shared_ptr<const T> first) : latest_(std::move(first)) {}

  std::shared_ptr<const T> latest() const {
    std::lock_guard lock(mutex_);
    return latest_;
  }

  // apply(value, changes) brings a value of this version, or of the one before, to the next one: it is called with the
  // changes of this call, and perhaps before that with those of the last one. One caller at a time. Where apply throws
  // nothing has changed.
  template <class Apply>
  void change(std::vector<Change> changes, const Apply& apply) {
    std::unique_ptr<T> next = idle_->take(version_ - 1);
    if (next)
      apply(*next, missed_);
    else
      next = std::make_unique<T>(*latest());
    apply(*next, changes);
    std::shared_ptr<const T> fresh(next.release(), [idle = idle_, version = version_ + 1](T* value) {
      idle->give_back(std::unique_ptr<T>(value), version);
    });
    ++version_;
    missed_ = std::move(changes);
    {
      std::lock_guard lock(mutex_);
      latest_.swap(fresh);
    }
    // The one before, if nobody reads it, becomes idle here.
  }

 private:
  class Idle {
   public:
    std::unique_ptr<T> take(std::uint64_t version) {
      std::lock_guard lock(mutex_);
      return version == version_ ? std::move(value_) : nullptr;
    }
    void give_back(std::unique_ptr<T> value, std::uint64_t version) {
      std::lock_guard lock(mutex_);
      if (value_ && version < version_) return;
      value_ = std::move(value);
      version_ = version;
    }

   private:
    std::mutex mutex_;
    std::unique_ptr<T> value_;
    std::uint64_t version_ = 0;  // of value_
  };

  const std::shared_ptr<Idle> idle_ = std::make_shared<Idle>();  // of readers, too, who may outlive this
  std::uint64_t version_ = 1;
  std::vector<Change> missed_;  // by the version before the latest

  mutable std::mutex mutex_;
  std::shared_ptr<const T> latest_;
};

}  // namespace stamp
