// Bundles for tests of files, and what changes these behind the library's back.
#pragma once

#include <fstream>

#include "stamp/bundle.h"
#include "stamp/files.h"
#include "tests/check.h"

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Four products, of which two models know three.
inline stamp::Bundle small_bundle(const std::string& preset = "paper") {
  using namespace stamp;
  Catalog catalog(Catalog::Kind::strings);
  for (const char* id : {"shirt", "shoes", "größe 42", ""}) catalog.add(std::string_view(id));
  Bundle bundle{.catalog = catalog, .counts = {3, 2, 1, 0}, .attributes = Attributes(4), .clusters = {}};
  bundle.attributes.add(TextAttribute{.name = "category", .values = {"x", "y"}, .codes = {0, -1, 1, 1}});
  bundle.route_by = {"category"};
  bundle.rules = R"({"zones":{}})";
  Config config = Config::preset(preset);
  config.dim = 5;
  config.repeat_floors = 2;
  for (std::int64_t id : {7, 2}) {
    Cluster cluster{.id = id, .rows = id == 7 ? std::vector{0, 2} : std::vector{1}, .fingerprint = "abc"};
    config.seed = static_cast<std::uint64_t>(id);
    cluster.model = std::make_shared<Model>(config, static_cast<std::int64_t>(cluster.rows.size()), open_device("cpu"));
    cluster.model->set_floors(for_every_kind(std::vector{static_cast<float>(id), Model::kNoFloor}), {});
    bundle.clusters.push_back(std::move(cluster));
  }
  return bundle;
}

inline std::vector<std::map<std::string, std::vector<float>>> weights_of(const stamp::Bundle& bundle) {
  std::vector<std::map<std::string, std::vector<float>>> weights;
  for (const stamp::Cluster& cluster : bundle.clusters) weights.push_back(cluster.model->download());
  return weights;
}
