#include "kernels/cpu/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "stamp/device.h"

namespace stamp::cpu {
namespace {

// CPUs' worth of time that the cgroup allows, or a large number.
double cgroup_limit() {
  double quota = 0, period = 0;
  std::string word;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> word >> period && word != "max" && period > 0)
    return std::atof(word.c_str()) / period;
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (v1_quota >> quota && v1_period >> period && quota > 0 && period > 0) return quota / period;
  return 1e9;
}

int available_threads() {
  if (const char* wanted = std::getenv("STAMP_NUM_THREADS")) {
    const int threads = std::atoi(wanted);
    require(threads >= 1, "STAMP_NUM_THREADS is '", wanted, "', expected a number of threads, 1 or more");
    return threads;
  }
  cpu_set_t set;
  const int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                               : static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, static_cast<int>(std::min<double>(cpus, std::ceil(cgroup_limit()))));
}

class ThreadPool {
 public:
  ThreadPool() : threads_(available_threads()) {}

  int threads() const { return threads_; }

  void set_threads(int threads) {
    std::lock_guard lock(owner_);
    stop();
    threads_ = threads;
  }

  // False when the pool is busy: the caller then works alone.
  bool run(std::int64_t n, int helpers, const FunctionRef<void(std::int64_t)>& work) {
    std::unique_lock owner(owner_, std::try_to_lock);
    if (!owner) return false;
    start();
    helpers = std::min(helpers, static_cast<int>(workers_.size()));
    {
      std::lock_guard lock(mutex_);
      work_ = &work;
      n_ = n;
      next_ = 0;
      error_ = nullptr;
      wanted_ = helpers;
      active_ = 0;
      ++round_;
    }
    wake_.notify_all();
    drain();
    std::unique_lock lock(mutex_);
    wanted_ = 0;  // who has not begun need not
    done_.wait(lock, [&] { return active_ == 0; });
    work_ = nullptr;
    if (error_) std::rethrow_exception(error_);
    return true;
  }

  ~ThreadPool() { stop(); }

 private:
  void start() {
    if (!workers_.empty() || threads_ == 1) return;
    stopping_ = false;
    for (int i = 1; i < threads_; ++i) workers_.emplace_back([this] { work_loop(); });
  }

  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
    workers_.clear();
  }

  void work_loop() {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return stopping_ || (wanted_ > 0 && round_ != seen); });
      if (stopping_) return;
      seen = round_;
      --wanted_;
      ++active_;
      lock.unlock();
      drain();
      lock.lock();
      if (--active_ == 0) done_.notify_all();
    }
  }

  void drain() {
    for (std::int64_t i; (i = next_.fetch_add(1)) < n_;) {
      try {
        (*work_)(i);
      } catch (...) {
        std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
        next_ = n_;
      }
    }
  }

  std::atomic<int> threads_;
  std::mutex owner_;  // held by the caller whose work runs
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  const FunctionRef<void(std::int64_t)>* work_ = nullptr;
  std::int64_t n_ = 0;
  std::atomic<std::int64_t> next_{0};
  std::exception_ptr error_;
  int wanted_ = 0, active_ = 0;
  std::uint64_t round_ = 0;
  bool stopping_ = false;
};

// Threads do not survive fork: the child leaves the parent's pool alone and makes its own when it needs one.
// The pool is never destroyed: at exit its sleeping threads simply end with the process.
std::atomic<ThreadPool*> g_pool{nullptr};

ThreadPool& pool() {
  if (ThreadPool* existing = g_pool.load()) return *existing;
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { g_pool = nullptr; }); });
  auto* fresh = new ThreadPool;
  ThreadPool* expected = nullptr;
  if (g_pool.compare_exchange_strong(expected, fresh)) return *fresh;
  delete fresh;
  return *expected;
}

}  // namespace

void parallel_for(std::int64_t n, int threads, FunctionRef<void(std::int64_t)> work) {
  if (n > 1 && threads != 1) {
    ThreadPool& shared = pool();
    const int limit = threads > 0 ? std::min(threads, shared.threads()) : shared.threads();
    const int helpers = static_cast<int>(std::min<std::int64_t>(limit, n)) - 1;
    if (helpers > 0 && shared.run(n, helpers, work)) return;
  }
  for (std::int64_t i = 0; i < n; ++i) work(i);
}

void parallel_for_ranges(std::int64_t n, std::int64_t grain, int threads,
                         FunctionRef<void(std::int64_t, std::int64_t)> work) {
  parallel_for((n + grain - 1) / grain, threads,
               [&](std::int64_t i) { work(i * grain, std::min(n, (i + 1) * grain)); });
}

}  // namespace stamp::cpu

namespace stamp {

int num_threads() { return cpu::pool().threads(); }

void set_num_threads(int threads) {
  require(threads >= 1, "set_num_threads: ", threads, " threads, expected 1 or more");
  cpu::pool().set_threads(threads);
}

}  // namespace stamp
