// A release of the recommender: a directory with manifest.json, catalog.safetensors, rules.json, a file for each
// cluster's model, maybe one for what is scanned of it, and one for what it falls back on (docs/data.md). A single
// model is a bundle of one cluster.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "stamp/attributes.h"
#include "stamp/baselines.h"
#include "stamp/catalog.h"
#include "stamp/scan_table.h"
#include "stamp/trainer.h"

namespace stamp {

// A model and the products that it knows.
struct STAMP_API Cluster {
  std::int64_t id = 0;
  std::vector<std::int32_t> rows = {};     // [Vc] of the catalog, ascending, in the order of the model's item table
  std::shared_ptr<Model> model = nullptr;  // null where it is not loaded
  Config config = {};                      // of the model
  TrainConfig train = {};
  std::string fingerprint = {};  // of the training data, hexadecimal; + of rows that clicks turned since
  std::string report = "{}";     // JSON: what training and evaluation said; saved as its reproducible_json
  bool scan_table = false;       // whether the bundle that it was read from has one for it
};

struct STAMP_API Bundle {
  static constexpr int kFormat = 3, kOldestFormat = 2;  // that are written, and read

  Catalog catalog;
  std::vector<std::int64_t> counts;        // [V] training clicks
  Attributes attributes;                   // of V products
  std::vector<Cluster> clusters;           // which share no product; a product may be in none
  std::vector<std::string> route_by = {};  // text attributes: where products that no model knows belong
  std::string rules = "{}";                // JSON: what may be recommended, and the zones (docs/rules.md)
  // Answers where no model does, over the whole catalog; null: nothing. Alone, without clusters, it is all there is.
  std::shared_ptr<const Baseline> fallback = nullptr;

  // Throws std::invalid_argument naming what does not fit: a product of two clusters, rows that fall or are outside
  // the catalog, a model or a fallback of another size, an id that stands twice, an unknown attribute.
  void validate() const;
  // [V] index of the cluster that each product is in, -1 for none.
  std::vector<std::int32_t> owners() const;
};

// The bundle of one model that knows the whole catalog.
STAMP_API Bundle bundle_of(std::shared_ptr<Model> model, Catalog catalog, std::vector<std::int64_t> counts);

// Products and their clicks in training, as a bundle has them: one safetensors file. std::runtime_error names what is
// wrong with it.
STAMP_API void save_catalog(const std::filesystem::path& path, const Catalog& catalog,
                            const std::vector<std::int64_t>& counts);
STAMP_API std::pair<Catalog, std::vector<std::int64_t>> load_catalog(const std::filesystem::path& path);

struct SaveOptions {
  // Also what a CPU scans, about D + 4 bytes a product: for bundles that servers load, which need not pack it then.
  bool scan_tables = false;
};

// Written aside, then exchanged with the bundle at `path`, which survives any failure (std::runtime_error). Replaced
// are an empty directory, and a bundle of any version with no other file or folder in it. Every model must be loaded,
// and the rules valid where there are to be scan tables, which hold what they leave (std::invalid_argument).
STAMP_API void save_bundle(const std::filesystem::path& path, const Bundle& bundle, const SaveOptions& options = {});

// Throws std::runtime_error where save_bundle could not write to `path`, before there is anything to save.
STAMP_API void check_bundle_target(const std::filesystem::path& path);

// An open bundle: everything but the models, which are loaded one by one, whatever has replaced the directory by then:
// each model keeps a file descriptor until it is forgotten; scan tables go by one of the directory. Formats, sizes,
// checksums and shapes are verified when a file is read; std::runtime_error names the file and the tensor that
// disagree.
class STAMP_API BundleReader {
 public:
  // all: the device on which every model will be loaded, once, where all will: their files are then verified here,
  // beside the catalog, on so many threads (0: num_threads()).
  explicit BundleReader(const std::filesystem::path& path, const std::shared_ptr<Device>& all = nullptr,
                        int threads = 0);

  const std::filesystem::path& path() const { return path_; }
  const Bundle& bundle() const { return bundle_; }
  // The bundle, which is the caller's from then on; load goes on.
  Bundle take() { return std::move(bundle_); }
  std::shared_ptr<Model> load(std::size_t cluster, std::shared_ptr<Device> device) const;
  // What the bundle has packed to scan these rows of the cluster's model. Null where the model is to be packed instead:
  // the device does not read host memory, there is no table or none of the same candidates, or the directory is gone.
  std::shared_ptr<std::byte> scan_table(std::size_t cluster, const Model& model,
                                        std::span<const std::int32_t> candidates) const;
  // Gives up the files of a model that will not be loaded again.
  void forget(std::size_t cluster);

 private:
  using OpenFile = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
  struct File {
    OpenFile open;
    std::string name, checksum;
    std::string scan_table, scan_table_checksum;  // its path in the bundle; empty where there is none
    Config config;
    std::int64_t products;
    std::shared_ptr<const MappedFile> model, mapped_scan_table;  // verified; null where they are not yet
  };

  void open(const std::filesystem::path& folder, const std::shared_ptr<Device>& all, int threads);
  std::shared_ptr<const MappedFile> verified_model(const File& file) const;
  // Null where there is none, or another bundle took this one's place.
  std::shared_ptr<const MappedFile> verified_scan_table(const File& file) const;

  std::filesystem::path path_;
  OpenFile folder_{nullptr, &std::fclose};
  Bundle bundle_;
  std::vector<File> files_;  // of the clusters
};

// With every model, on one device.
STAMP_API Bundle load_bundle(const std::filesystem::path& path, const std::shared_ptr<Device>& device);

}  // namespace stamp
