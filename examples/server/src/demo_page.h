// /demo: a page to look at, demo.html, of the interface's own requests. Off unless demo.enabled says otherwise.
#pragma once

#include "http.h"

namespace server {

inline constexpr std::string_view kDemoPath = "/demo";

// With a policy under which a browser runs the page's own script and nothing else, and asks nobody but this server.
HttpResponse demo_page();

}  // namespace server
