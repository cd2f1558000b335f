#include "stamp/bundle.h"

#include <sys/stat.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <ostream>
#include <set>

#include "kernels/cpu/thread_pool.h"
#include "stamp/files.h"
#include "stamp/internal/json.h"
#include "stamp/rules.h"

namespace stamp {

namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kCatalogFile = "catalog.safetensors";
constexpr const char* kRulesFile = "rules.json";
constexpr const char* kFallbackFile = "fallback.safetensors";
constexpr const char* kClusters = "clusters";

std::string file_of(const Cluster& cluster) { return concat(kClusters, '/', cluster.id, ".safetensors"); }
std::string scan_table_of(const Cluster& cluster) { return concat(kClusters, '/', cluster.id, ".scan.safetensors"); }

Json described(const fs::path& path) {
  const MappedFile file(path);
  return Json{{"bytes", file.bytes().size()}, {"checksum", checksum(file.bytes())}};
}

// Also of a file that cannot be looked at, which reading it says.
bool is_there(const fs::path& file) {
  std::error_code ignored;
  return fs::status(file, ignored).type() != fs::file_type::not_found;
}

// `folder` is where the files are read, `path` what messages name.
Json read_manifest(const fs::path& folder, const fs::path& path) {
  const auto file = path / kManifest;
  if (!is_there(folder / kManifest))
    fail("load_bundle: ", path.string(), " holds no ", kManifest, ": not a saved model");
  Json manifest;
  try {
    manifest = Json::parse(read_file(folder / kManifest, file.string()));
  } catch (const JsonError& error) {
    fail("load_bundle: ", file.string(), " is not JSON: ", error.what());
  }
  if (!manifest.is_object() || manifest.value("format", Json()) != "stamp-bundle")
    fail("load_bundle: ", file.string(), " is not the manifest of a stamp bundle");
  const Json version = manifest.value("version", Json());
  if (version != Bundle::kFormat && version != Bundle::kOldestFormat)
    fail("load_bundle: ", file.string(), " has format version ", version.dump(), ", this library reads ",
         Bundle::kOldestFormat, " and ", Bundle::kFormat);
  return manifest;
}

// Whether it is the file that the manifest describes. Of large files the size tells.
bool is_as_described(const fs::path& file, const std::string& name, const Json& described) {
  const std::uintmax_t bytes = fs::file_size(file);
  if (described.value("bytes", bytes) != bytes) return false;
  const Json* expected = described.find("checksum");
  if (name != kRulesFile || !expected) return true;
  return expected->is_string() && expected->text() == checksum(MappedFile(file).bytes(), expected->text());
}

// What in `folder` is not of a bundle of any version: all but its manifest, the files that this lists, as it describes
// them, and the folder of the clusters.
std::string foreign_to_bundle(const fs::path& folder) {
  Json files = Json::object();
  std::set<std::string> folders;
  std::map<std::string, const char*> others;  // and why they are
  if (fs::is_regular_file(fs::symlink_status(folder / kManifest))) {
    Json manifest;
    try {
      manifest = Json::parse(read_file(folder / kManifest));
    } catch (const JsonError&) {  // so it is somebody else's
    }
    const bool ours = manifest.value("format", Json()) == "stamp-bundle" && manifest.value("files", Json()).is_object();
    if (!ours) return concat(kManifest, ", which is not that of a saved model");
    files = manifest.at("files");
    files[kManifest] = Json();  // which does not describe itself
    folders.insert(kClusters);
  }
  for (fs::recursive_directory_iterator entry(folder), end; entry != end; ++entry) {
    const std::string name = entry->path().lexically_relative(folder).generic_string();
    const fs::file_type type = entry->symlink_status().type();
    const Json* listed = type == fs::file_type::regular ? files.find(name) : nullptr;
    if (listed) {
      if (!is_as_described(entry->path(), name, *listed)) others[name] = "has changed since the model was saved";
    } else if (type != fs::file_type::directory || !folders.contains(name)) {
      others[name] = "is not of a saved model";
      entry.disable_recursion_pending();
    }
  }
  return others.empty() ? "" : concat(others.begin()->first, ", which ", others.begin()->second);
}

// `name` is what messages call the file.
void verify_size(const fs::path& file, const std::string& name, const Json& expected) {
  if (!is_there(file)) fail("load_bundle: ", name, " is missing");
  std::error_code error;
  const std::uintmax_t bytes = fs::file_size(file, error);
  if (error) fail("load_bundle: cannot read ", name, ": ", error.message());
  if (expected.at("bytes") != bytes)
    fail("load_bundle: ", name, " has ", bytes, " bytes, its manifest says ", expected.at("bytes").dump());
}

void verify_checksum(const MappedFile& file, const std::string& expected) {
  const std::string sum = checksum(file.bytes(), expected);
  if (expected != sum) fail("load_bundle: ", file.name(), " has checksum ", sum, ", its manifest says ", expected);
}

std::string open_path(std::FILE* file) { return concat("/proc/self/fd/", fileno(file)); }

std::map<std::string, TensorSource> catalog_tensors(const Catalog& catalog, const std::vector<std::int64_t>& counts) {
  auto tensors = catalog.tensors();
  tensors.insert_or_assign("counts",
                           TensorSource({DType::i64, {static_cast<std::int64_t>(counts.size())}}, counts.data()));
  return tensors;
}

// The catalog and the counts of file `name`.
std::pair<Catalog, std::vector<std::int64_t>> read_catalog(const Safetensors& file, const std::string& name) {
  Catalog catalog = Catalog::from(file);
  const auto counts = file.i64("counts");
  if (static_cast<std::int64_t>(counts.size()) != catalog.size())
    fail("load_catalog: ", name, " has ", catalog.size(), " ids and ", counts.size(), " counts");
  return {std::move(catalog), {counts.begin(), counts.end()}};
}

}  // namespace

void Bundle::validate() const {
  const std::int64_t V = catalog.size();
  require(static_cast<std::int64_t>(counts.size()) == V, "Bundle: counts of ", counts.size(), " products, expected ",
          V);
  for (std::int64_t count : counts) require(count >= 0, "Bundle: counts hold ", count, ", expected 0 or more");
  require(attributes.V() == V, "Bundle: attributes of ", attributes.V(), " products, expected ", V);
  for (const std::string& name : route_by)
    require(attributes.find_text(name) >= 0, "Bundle: route_by names '", name, "', expected text attributes of ",
            attributes.names());
  if (fallback)
    require(fallback->V() == V, "Bundle: the fallback knows a catalog of ", fallback->V(), " products, expected ", V);
  std::vector<std::int64_t> owner(static_cast<std::size_t>(V), -1);
  std::set<std::int64_t> ids;
  for (const Cluster& cluster : clusters) {
    require(cluster.id >= 0 && ids.insert(cluster.id).second, "Bundle: cluster id ", cluster.id,
            " stands twice or is negative");
    require(!cluster.rows.empty(), "Bundle: cluster ", cluster.id, " has no product");
    require(std::is_sorted(cluster.rows.begin(), cluster.rows.end()), "Bundle: the rows of cluster ", cluster.id,
            " are not ascending");
    for (std::int32_t row : cluster.rows) {
      require(row >= 0 && row < V, "Bundle: cluster ", cluster.id, " holds row ", row, ", expected 0 to ", V - 1);
      if (owner[row] >= 0)  // only then is there anything to say of the product
        require(false, "Bundle: product ", to_string(catalog.id(row)), " is claimed by clusters ", owner[row], " and ",
                cluster.id);
      owner[row] = cluster.id;
    }
    if (cluster.model)
      require(cluster.model->V() == static_cast<std::int64_t>(cluster.rows.size()), "Bundle: the model of cluster ",
              cluster.id, " has ", cluster.model->V(), " products, its rows are ", cluster.rows.size());
  }
}

std::vector<std::int32_t> Bundle::owners() const {
  std::vector<std::int32_t> owner(static_cast<std::size_t>(catalog.size()), -1);
  for (std::size_t c = 0; c < clusters.size(); ++c)
    for (std::int32_t row : clusters[c].rows) owner[row] = static_cast<std::int32_t>(c);
  return owner;
}

Bundle bundle_of(std::shared_ptr<Model> model, Catalog catalog, std::vector<std::int64_t> counts) {
  Cluster cluster;
  cluster.rows.resize(static_cast<std::size_t>(catalog.size()));
  std::iota(cluster.rows.begin(), cluster.rows.end(), 0);
  cluster.config = model->config();
  cluster.model = std::move(model);
  Bundle bundle;
  bundle.attributes = Attributes(catalog.size());
  bundle.catalog = std::move(catalog);
  bundle.counts = std::move(counts);
  bundle.clusters.push_back(std::move(cluster));
  return bundle;
}

void save_catalog(const fs::path& path, const Catalog& catalog, const std::vector<std::int64_t>& counts) {
  write_safetensors(path, catalog_tensors(catalog, counts));
}

std::pair<Catalog, std::vector<std::int64_t>> load_catalog(const fs::path& path) {
  return read_catalog(Safetensors(path), path.string());
}

void check_bundle_target(const fs::path& path) { check_directory(path, foreign_to_bundle); }

void save_bundle(const fs::path& path, const Bundle& bundle, const SaveOptions& options) {
  bundle.validate();
  for (const Cluster& cluster : bundle.clusters)
    require(cluster.model != nullptr, "save_bundle: the model of cluster ", cluster.id, " is not loaded");
  std::vector<std::uint8_t> listed;  // [V]
  if (options.scan_tables)
    listed = recommendable(build_rules(bundle.rules, bundle.catalog, bundle.attributes), bundle.attributes);
  write_directory(path, foreign_to_bundle, [&](const fs::path& folder) {
    Json files;
    const auto written = [&](const std::string& name) { files[name] = described(folder / name); };

    auto catalog = catalog_tensors(bundle.catalog, bundle.counts);
    catalog.merge(bundle.attributes.tensors());
    const auto owner = bundle.owners();
    catalog.insert_or_assign("cluster", TensorSource({DType::i32, {bundle.catalog.size()}}, owner.data()));
    write_safetensors(folder / kCatalogFile, catalog);
    written(kCatalogFile);
    const char* end = bundle.rules.ends_with('\n') ? "" : "\n";
    write_file(folder / kRulesFile, [&](std::ostream& out) { out << bundle.rules << end; });
    written(kRulesFile);
    if (bundle.fallback) {
      save_baseline(folder / kFallbackFile, *bundle.fallback);
      written(kFallbackFile);
    }

    fs::create_directory(folder / kClusters);
    Json clusters = Json::array();
    for (const Cluster& cluster : bundle.clusters) {
      std::map<std::string, TensorSource> tensors;
      cluster.model->save(tensors, "");
      write_safetensors(folder / file_of(cluster), tensors);
      written(file_of(cluster));
      Json entry{{"id", cluster.id},
                 {"file", file_of(cluster)},
                 {"products", cluster.rows.size()},
                 {"config", Json::parse(to_json(cluster.model->config()))},
                 {"train", Json::parse(to_json(cluster.train))},
                 {"fingerprint", cluster.fingerprint},
                 {"report", Json::parse(reproducible_json(cluster.report))}};
      std::vector<std::int32_t> candidates;
      for (std::size_t i = 0; options.scan_tables && i < cluster.rows.size(); ++i)
        if (listed[cluster.rows[i]]) candidates.push_back(static_cast<std::int32_t>(i));
      if (!candidates.empty()) {
        // Of the file, as the model itself may be on another device.
        const Model model(cluster.model->config(), cluster.model->V(), open_device("cpu"),
                          Safetensors(folder / file_of(cluster)));
        save_scan_table(folder / scan_table_of(cluster), model, candidates,
                        files.at(file_of(cluster)).at("checksum").text());
        written(scan_table_of(cluster));
        entry["scan_table"] = scan_table_of(cluster);
      }
      clusters.push_back(std::move(entry));
    }
    Json manifest{{"format", "stamp-bundle"},          {"version", Bundle::kFormat},  {"library", STAMP_VERSION},
                  {"products", bundle.catalog.size()}, {"route_by", bundle.route_by}, {"clusters", clusters}};
    if (bundle.fallback) manifest["fallback"] = kFallbackFile;
    manifest["files"] = files;
    write_file(folder / kManifest, [&](std::ostream& out) { out << manifest.dump(2) << '\n'; });
  });
}

// Everything is read through one descriptor of the directory, so that all of it is of one bundle. Where another bundle
// has taken its place meanwhile, its files may be gone: then that one is opened.
BundleReader::BundleReader(const fs::path& path, const std::shared_ptr<Device>& all, int threads) : path_(path) {
  for (;;) {
    folder_.reset(std::fopen(path.c_str(), "re"));
    if (!folder_)
      fail("load_bundle: ", path.string(), " holds no ", kManifest, ": not a saved model (", std::strerror(errno), ")");
    try {
      open(open_path(folder_.get()), all, threads);
      return;
    } catch (const std::runtime_error&) {
      struct stat opened, now;
      const bool same =
          fstat(fileno(folder_.get()), &opened) != 0 || stat(path.c_str(), &now) != 0 || opened.st_ino == now.st_ino;
      if (same) throw;
      bundle_ = Bundle();
      files_.clear();
    }
  }
}

void BundleReader::open(const fs::path& folder, const std::shared_ptr<Device>& all, int threads) {
  const Json manifest = read_manifest(folder, path_);
  const auto named = [&](const std::string& file) { return (path_ / file).string(); };
  try {
    const Json& files = manifest.at("files");
    const auto verify = [&](const std::string& name) {
      verify_size(folder / name, named(name), files.at(name));
      auto file = std::make_shared<const MappedFile>(folder / name, named(name));
      verify_checksum(*file, files.at(name).at("checksum").text());
      return file;
    };
    for (const Json& described : manifest.at("clusters").elements()) {
      const std::string& name = described.at("file").text();
      verify_size(folder / name, named(name), files.at(name));
      const Config config = config_from_json(described.at("config").dump());
      files_.push_back({.open = {std::fopen((folder / name).c_str(), "rbe"), &std::fclose},
                        .name = named(name),
                        .checksum = files.at(name).at("checksum").text(),
                        .scan_table = {},
                        .scan_table_checksum = {},
                        .config = config,
                        .products = described.at("products").get<std::int64_t>(),
                        .model = nullptr,
                        .mapped_scan_table = nullptr});
      if (!files_.back().open)
        fail("load_bundle: cannot read ", named(name), ": ", std::strerror(errno),
             errno == EMFILE ? "; each model takes a file descriptor until it is loaded (ulimit -n)" : "");
      Cluster& cluster = bundle_.clusters.emplace_back();
      cluster.id = described.at("id").get<std::int64_t>();
      cluster.config = config;
      cluster.train = train_config_from_json(described.at("train").dump());
      cluster.fingerprint = described.at("fingerprint").text();
      cluster.report = described.at("report").dump();
      if (const Json* scan_table = described.find("scan_table")) {
        cluster.scan_table = true;
        File& of = files_.back();
        of.scan_table = scan_table->text();
        of.scan_table_checksum = files.at(of.scan_table).at("checksum").text();
        verify_size(folder / of.scan_table, named(of.scan_table), files.at(of.scan_table));
      }
    }
    const std::string catalog_path = named(kCatalogFile);
    std::optional<Safetensors> catalog;
    std::vector<std::function<void()>> tasks{[&] {
      catalog.emplace(verify(kCatalogFile));
      std::tie(bundle_.catalog, bundle_.counts) = read_catalog(*catalog, catalog_path);
      const std::int64_t V = bundle_.catalog.size();
      if (manifest.at("products") != V)
        fail("load_bundle: ", catalog_path, " has ", V, " ids, the manifest says ", manifest.at("products").dump(),
             " products");
      bundle_.attributes = Attributes::from(*catalog, V);
    }};
    for (File& file : files_) {
      if (!all) break;
      tasks.emplace_back([&] { file.model = verified_model(file); });
      if (all->reads_host_memory()) tasks.emplace_back([&] { file.mapped_scan_table = verified_scan_table(file); });
    }
    cpu::parallel_for(static_cast<std::int64_t>(tasks.size()), threads, [&](std::int64_t task) { tasks[task](); });

    verify(kRulesFile);
    bundle_.rules = read_file(folder / kRulesFile, named(kRulesFile));
    for (const Json& name : manifest.at("route_by").elements()) bundle_.route_by.push_back(name.text());
    if (const Json* fallback = manifest.find("fallback")) {
      const std::string& name = fallback->text();
      verify(name);
      bundle_.fallback = load_baseline(folder / name, named(name));
    }
    const std::int64_t V = bundle_.catalog.size();
    const auto owner = catalog->i32("cluster", {V});
    const auto clusters = static_cast<std::int32_t>(bundle_.clusters.size());
    for (std::int64_t row = 0; row < V; ++row) {
      if (owner[row] < -1 || owner[row] >= clusters)
        fail("load_bundle: ", catalog_path, " puts product ", row, " into cluster ", owner[row], " of ", clusters);
      if (owner[row] >= 0) bundle_.clusters[owner[row]].rows.push_back(static_cast<std::int32_t>(row));
    }
    for (std::size_t c = 0; c < bundle_.clusters.size(); ++c) {
      const Json& products = manifest.at("clusters")[c].at("products");
      if (products != bundle_.clusters[c].rows.size())
        fail("load_bundle: ", catalog_path, " has ", bundle_.clusters[c].rows.size(), " products of cluster ",
             bundle_.clusters[c].id, ", the manifest says ", products.dump());
    }
    bundle_.validate();
  } catch (const JsonError& error) {
    fail("load_bundle: ", named(kManifest), " lacks something: ", error.what());
  } catch (const std::invalid_argument& error) {
    fail("load_bundle: ", named(kManifest), ": ", error.what());
  }
}

void BundleReader::forget(std::size_t cluster) {
  files_[cluster].open.reset();
  files_[cluster].model.reset();
  files_[cluster].mapped_scan_table.reset();
}

std::shared_ptr<const MappedFile> BundleReader::verified_model(const File& file) const {
  // By its descriptor: another release may stand at the path by now.
  auto mapped = std::make_shared<const MappedFile>(open_path(file.open.get()), file.name);
  verify_checksum(*mapped, file.checksum);
  return mapped;
}

std::shared_ptr<const MappedFile> BundleReader::verified_scan_table(const File& file) const {
  if (file.scan_table.empty()) return nullptr;
  const fs::path open_file = fs::path(open_path(folder_.get())) / file.scan_table;
  std::shared_ptr<const MappedFile> mapped;
  try {
    mapped = std::make_shared<const MappedFile>(open_file, (path_ / file.scan_table).string());
  } catch (const std::runtime_error&) {
    if (is_there(open_file)) throw;
    return nullptr;
  }
  verify_checksum(*mapped, file.scan_table_checksum);
  return mapped;
}

std::shared_ptr<Model> BundleReader::load(std::size_t cluster, std::shared_ptr<Device> device) const {
  const File& file = files_[cluster];
  Safetensors tensors(file.model ? file.model : verified_model(file));
  const auto held = tensors.tensors();
  auto model = std::make_shared<Model>(file.config, file.products, std::move(device), std::move(tensors));
  std::map<std::string, TensorSource> known;
  model->save(known, "");
  for (const auto& [name, tensor] : held)
    if (!known.count(name)) fail("load_bundle: ", file.name, " holds tensor '", name, "', which its config has not");
  return model;
}

std::shared_ptr<std::byte> BundleReader::scan_table(std::size_t cluster, const Model& model,
                                                    std::span<const std::int32_t> candidates) const {
  const File& file = files_[cluster];
  if (candidates.empty() || !model.device()->reads_host_memory()) return nullptr;
  auto mapped = file.mapped_scan_table ? file.mapped_scan_table : verified_scan_table(file);
  if (!mapped) return nullptr;
  return mapped_scan_table(Safetensors(std::move(mapped)), model, candidates, file.checksum, file.name);
}

Bundle load_bundle(const fs::path& path, const std::shared_ptr<Device>& device) {
  BundleReader reader(path);
  Bundle bundle = reader.take();
  for (std::size_t c = 0; c < bundle.clusters.size(); ++c) bundle.clusters[c].model = reader.load(c, device);
  return bundle;
}

}  // namespace stamp
