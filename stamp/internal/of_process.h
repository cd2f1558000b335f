// What belongs to one process: threads, and what they hold, do not survive fork. The child leaves its parent's object
// alone, as if it were not there, and makes its own when it needs one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace stamp {

// How many forks lie between this process and the one that loaded the library.
std::uint64_t forks();

template <class T>
class OfProcess {
 public:
  OfProcess() = default;
  OfProcess(const OfProcess&) = delete;
  OfProcess& operator=(const OfProcess&) = delete;
  ~OfProcess() {
    if (Made* made = made_.load(); made && made->in == forks()) delete made;
  }

  // This process's object, made on first use.
  template <class... Arguments>
  T& get(Arguments&&... arguments) {
    Made* made = made_.load(std::memory_order_acquire);
    const std::uint64_t here = forks();
    if (made && made->in == here) return made->object;
    auto fresh = std::make_unique<Made>(here, std::forward<Arguments>(arguments)...);
    if (made_.compare_exchange_strong(made, fresh.get())) return fresh.release()->object;
    return made->object;  // another thread was faster
  }

 private:
  struct Made {
    template <class... Arguments>
    explicit Made(std::uint64_t process, Arguments&&... arguments)
        : in(process), object(std::forward<Arguments>(arguments)...) {}
    const std::uint64_t in;
    T object;
  };

  std::atomic<Made*> made_{nullptr};
};

}  // namespace stamp
