// What the configuration file says. One description of every key (config.cpp) reads it, lets the environment override
// it, and makes its schema.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "admission.h"
#include "exposure_log.h"
#include "http.h"

namespace server {

struct AdminOptions {
  std::string address = "127.0.0.1";
  int port = 8081;
};

struct BigtableOptions {
  std::string project;
  std::string instance;
  std::string table = "visits";
  std::string app_profile = "default";
  std::string endpoint = "bigtable.googleapis.com:443";
  std::string row_key = "{visitor}";
  std::string family = "visits";
  std::string column = "event";
  std::vector<std::string> other_columns;
  int channels = 2;
  int threads = 2;
  int calls = 4;
  int rows_per_call = 16;
  int max_waiting = 4096;
};

struct VisitsOptions {
  std::string store = "embedded";
  std::string path = "visits";
  std::int64_t max_age_s = 2592000;
  int max_events = 200;
  int session_gap_s = 1800;
  int clock_skew_s = 300;
  int sync_ms = 100;
  int cache_mb = 64;
  int timeout_ms = 20;
  std::vector<std::string> bought_types{"purchase-complete"};
  BigtableOptions bigtable;
};

struct PredictOptions {
  int deadline_ms = 250;
  int max_k = 100;
};

struct ReleasesOptions {
  std::string path;
  int poll_ms = 1000;
};

struct InventoryOptions {
  std::string path;
  std::string available = "available";
  std::string price = "price";
  std::int64_t max_products = 1000000;
};

struct KeysOptions {
  std::string file;
};

struct ShadowOptions {
  std::string bundle;
  int share = 0;  // of 10,000 requests; 0: nobody looks for a candidate
};

struct ArmOptions {
  std::string name;
  int share = 0;           // of 10,000 visitors
  std::string zone;        // whose rules apply in place of those of the zone that was asked for; empty: the same
  std::string bundle;      // that answers in place of the one that is served; empty: the same
  double explore = 0;      // strength of exploration, in units of scores; 0: none
  int explore_among = 50;  // the best, which are reordered
};

struct ExperimentOptions {
  std::string name;
  std::string salt;                // empty: the name
  std::vector<std::string> zones;  // empty: all of them
  std::vector<ArmOptions> arms;
};

struct DemoOptions {
  bool enabled = false;
};

// The paths that Vertex AI is told of, or tells: a container finds them in AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE.
struct VertexOptions {
  std::string predict_route = "/vertex/predict";
  std::string health_route = "/vertex/health";
};

struct Config {
  std::string bundle;
  std::string secret_file;
  ReleasesOptions releases;
  ShadowOptions shadow;
  HttpOptions http;
  AdminOptions admin;
  VisitsOptions visits;
  PredictOptions predict;
  AdmissionOptions admission;
  std::vector<ExperimentOptions> experiments;
  ExposureOptions exposures;
  InventoryOptions inventory;
  KeysOptions keys;
  VertexOptions vertex;
  DemoOptions demo;
};

// Throws std::invalid_argument with the key and what would be right: for a file that is no JSON, an unknown key, a
// value that cannot be, or one of `bundle` and `releases.path` too many or too few, a shadow of nothing, in the file or
// in the environment (STAMP_SERVER_HTTP_PORT for http.port; in a container of Vertex AI AIP_HTTP_PORT,
// AIP_PREDICT_ROUTE, AIP_HEALTH_ROUTE and AIP_STORAGE_URI, which is the bundle).
Config read_config(const std::string& path);
Config default_config();  // of the environment alone

std::string config_schema();                    // JSON Schema 2020-12
std::string config_text(const Config& config);  // as a file would say it

}  // namespace server
