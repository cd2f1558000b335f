// What the server tells those who run it: few lines on standard error, each written whole whatever other threads write.
#pragma once

#include <string_view>

namespace server {

// "stamp-server: text". No secrets, no visitors' names.
void log(std::string_view text);

}  // namespace server
