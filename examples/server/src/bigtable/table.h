// The table's names, and the headers that its calls carry.
#pragma once

#include <grpcpp/client_context.h>

#include <string>
#include <utility>
#include <vector>

#include "config.h"

namespace server::bigtable {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Table {
  // Throws std::invalid_argument with the key of what is missing.
  explicit Table(const BigtableOptions& options);

  std::string name;      // projects/…/instances/…/tables/…
  std::string instance;  // projects/…/instances/…
  std::string app_profile;
  Headers headers;           // of calls to the table
  Headers instance_headers;  // of calls to the instance
};

void add_headers(grpc::ClientContext& context, const Headers& headers);

}  // namespace server::bigtable
