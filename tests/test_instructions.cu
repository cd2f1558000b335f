// On a GPU, which a descriptor of wgmma may mean something else to than to the simulator; where there is none it says
// so.
#include "tests/instructions.h"
