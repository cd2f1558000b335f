#include "priority.h"

#include <sched.h>
#include <sys/resource.h>

namespace server {

namespace {

constexpr int kBack = 5;  // a third of a core's time where others want it: lists go on while requests pour in
constexpr int kAside = 10;

}  // namespace

// On Linux it is the thread's own, whatever POSIX says.
void step_back() { setpriority(PRIO_PROCESS, 0, kBack); }

void step_aside() {
  const sched_param none{};
  sched_setscheduler(0, SCHED_BATCH, &none);  // which does not take a core from others when it wakes up
  setpriority(PRIO_PROCESS, 0, kAside);
}

}  // namespace server
