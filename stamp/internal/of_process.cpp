#include "stamp/internal/of_process.h"

#include <pthread.h>

#include <mutex>

namespace stamp {

namespace {

std::atomic<std::uint64_t> g_forks{0};

}  // namespace

std::uint64_t forks() {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { ++g_forks; }); });
  return g_forks.load();
}

}  // namespace stamp
