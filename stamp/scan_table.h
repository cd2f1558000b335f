// A model's candidates as its device scans them. What a CPU scans may lie in a file of the bundle, mapped by all
// processes that serve it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "stamp/model.h"

namespace stamp {

class STAMP_API ScanTable {
 public:
  // candidates: rows of the model, which outlives this, ascending. device: a handle on the model's, for the work that
  // this takes. packed: mapped_scan_table of the same; null: it is packed here.
  ScanTable(const Model& model, const std::shared_ptr<Device>& device, std::span<const std::int32_t> candidates,
            std::shared_ptr<std::byte> packed = nullptr);

  bool holds_all() const { return rows_.empty(); }  // all rows of the model
  ItemRows items() const;                           // the candidates
  const Array<std::byte>& packed() const { return packed_; }

 private:
  const Model& model_;
  Array<std::int32_t> rows_;    // on the device; empty where they are all
  Array<float> inverse_norms_;  // of the candidates, where they are normalized
  Array<std::byte> packed_;
};

// Writes what a CPU scans of `candidates`, of which there are some, of a model that is on one. weights: checksum of the
// model's file, by which the table is known to be its.
STAMP_API void save_scan_table(const std::filesystem::path& path, const Model& model,
                               std::span<const std::int32_t> candidates, const std::string& weights);

// What `file` has packed, for a model on a CPU. Null where it is of other candidates or another layout, which says
// nothing against it. std::runtime_error where it lacks something, or is of other weights than `weights`, the checksum
// of `weights_file`.
STAMP_API std::shared_ptr<std::byte> mapped_scan_table(const Safetensors& file, const Model& model,
                                                       std::span<const std::int32_t> candidates,
                                                       const std::string& weights, const std::string& weights_file);

}  // namespace stamp
