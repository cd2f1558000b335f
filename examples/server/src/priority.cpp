#include "priority.h"

#include <sched.h>
#include <sys/resource.h>

namespace server {

namespace {

constexpr int kBack = 5;  // a third of a core's time where others want it: lists go on while requests pour in

}  // namespace

// On Linux it is the thread's own, whatever POSIX says.
void step_back() { setpriority(PRIO_PROCESS, 0, kBack); }

// Whoever else wakes up has the core at once: with SCHED_BATCH, at any nice, it would wait for the end of a slice, some
// milliseconds. While all cores are busy about a hundredth of one is left to it.
void step_aside() {
  const sched_param none{};
  sched_setscheduler(0, SCHED_IDLE, &none);
}

}  // namespace server
