#include "priority.h"

#include <sys/resource.h>

namespace server {

namespace {

constexpr int kNice = 5;  // a third of a core's time where others want it: lists go on while requests pour in

}  // namespace

// On Linux it is the thread's own, whatever POSIX says.
void step_back() { setpriority(PRIO_PROCESS, 0, kNice); }

}  // namespace server
