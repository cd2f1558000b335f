// Objects that calls on many threads need for a while: each takes one that another is done with, or makes its own.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace stamp {

template <class T>
class Pool {
 public:
  // make() gives a std::unique_ptr<T>.
  template <class Make>
  std::unique_ptr<T> take(const Make& make) {
    {
      std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        auto object = std::move(idle_.back());
        idle_.pop_back();
        return object;
      }
    }
    return make();
  }

  void give_back(std::unique_ptr<T> object) {
    std::lock_guard lock(mutex_);
    idle_.push_back(std::move(object));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> idle_;
};

}  // namespace stamp
