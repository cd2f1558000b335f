#include "openapi.h"

#include <nlohmann/json.hpp>

namespace server {

extern const char* const kOpenApi;  // openapi.json, by CMake

std::string openapi_json(const Config& config) {
  auto document = nlohmann::ordered_json::parse(kOpenApi);
  document["info"]["version"] = STAMP_SERVER_VERSION;
  document["components"]["schemas"]["K"]["maximum"] = config.predict.max_k;
  auto paths = nlohmann::ordered_json::object();
  const Config standard;
  for (auto& [path, methods] : document["paths"].items()) {
    const bool is_predict = path == standard.vertex.predict_route, is_health = path == standard.vertex.health_route;
    paths[is_predict  ? config.vertex.predict_route
          : is_health ? config.vertex.health_route
                      : path] = std::move(methods);
  }
  document["paths"] = std::move(paths);
  return document.dump();
}

}  // namespace server
