// A saved model: a directory with manifest.json, catalog.safetensors and model.safetensors (docs/data.md).
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "stamp/catalog.h"
#include "stamp/trainer.h"

namespace stamp {

struct Bundle {
  static constexpr int kFormat = 1;

  Catalog catalog;
  std::vector<std::int64_t> counts;  // [V] training clicks
  std::shared_ptr<Model> model;
  TrainConfig train;
  std::string fingerprint;    // of the training data, hexadecimal
  std::string report = "{}";  // JSON: what training and evaluation said
};

// Products and their clicks in training, as a bundle has them: one safetensors file. std::runtime_error names what is
// wrong with it.
STAMP_API void save_catalog(const std::filesystem::path& path, const Catalog& catalog,
                            const std::vector<std::int64_t>& counts);
STAMP_API std::pair<Catalog, std::vector<std::int64_t>> load_catalog(const std::filesystem::path& path);

// Written aside, then exchanged with the bundle at `path`, which survives any failure (std::runtime_error); a directory
// that holds anything else is refused.
STAMP_API void save_bundle(const std::filesystem::path& path, const Bundle& bundle);
// Checksums, shapes and format are verified; std::runtime_error names the file and the tensor that disagree.
STAMP_API Bundle load_bundle(const std::filesystem::path& path, std::shared_ptr<Device> device);

}  // namespace stamp
