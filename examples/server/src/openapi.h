// What the server answers, for machines: openapi.json, as this server is configured.
#pragma once

#include <string>

#include "config.h"

namespace server {

std::string openapi_json(const Config& config);

}  // namespace server
