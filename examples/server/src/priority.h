// Which of the server's threads goes first where there are more of them than cores.
#pragma once

namespace server {

// From now on the calling thread leaves a core to those of the process that have not stepped back. Threads that make
// lists do: else those that read requests wait for them, what is asked piles up in sockets where nobody counts it, and
// too much of it is let in too late.
void step_back();

// To all of them, and to what has stepped back: for work that nobody waits for. Threads that it starts inherit this.
void step_aside();

}  // namespace server
