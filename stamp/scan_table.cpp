#include "stamp/scan_table.h"

namespace stamp {

namespace {

// Of kernels/cpu/int8_table.h. Another layout has another name, and then tables of this one are packed anew.
constexpr const char* kLayout = "cpu-int8-1";
constexpr const char* kPacked = "packed";
constexpr std::uintptr_t kAlignment = 64;  // of a device's memory

// What a table depends on beside the weights.
Metadata described(const Model& model, std::span<const std::int32_t> candidates) {
  return {{"layout", kLayout},
          {"candidates", checksum(std::as_bytes(candidates))},
          {"dim", std::to_string(model.config().dim)},
          {"score", model.config().score == Score::cosine ? "cosine" : "dot"}};
}

}  // namespace

ScanTable::ScanTable(const Model& model, const std::shared_ptr<Device>& device,
                     std::span<const std::int32_t> candidates, std::shared_ptr<std::byte> packed)
    : model_(model) {
  const std::int64_t D = model.config().dim, n = static_cast<std::int64_t>(candidates.size());
  if (n == 0) return;
  rows_ = Array<std::int32_t>(device, 0);
  if (n < model.V()) rows_.upload(candidates);
  if (items().normalize) {
    inverse_norms_ = Array<float>(device, n);
    device->inverse_norms(n, D, items(), inverse_norms_.data());
  }
  if (packed) {
    packed_ = Array<std::byte>(device, std::move(packed), device->packed_size(n, D));
  } else {
    packed_ = Array<std::byte>(device, device->packed_size(n, D));
    device->pack_items(n, D, items(), packed_.data());
  }
  device->synchronize();  // requests read it through handles of their own
}

ItemRows ScanTable::items() const {
  ItemRows items = model_.item_rows(rows_.data());
  items.inverse_norms = inverse_norms_.data();
  return items;
}

void save_scan_table(const std::filesystem::path& path, const Model& model, std::span<const std::int32_t> candidates,
                     const std::string& weights) {
  Metadata metadata = described(model, candidates);
  metadata["weights"] = weights;
  const ScanTable table(model, model.device(), candidates);
  write_safetensors(path,
                    {{kPacked, TensorSource({DType::u8, {table.packed().size()}},
                                            [&](std::size_t first, std::span<std::byte> block) {
                                              table.packed().read(first, block);
                                            })}},
                    metadata);
}

std::shared_ptr<std::byte> mapped_scan_table(const Safetensors& file, const Model& model,
                                             std::span<const std::int32_t> candidates, const std::string& weights,
                                             const std::string& weights_file) {
  const auto said = [&](const std::string& key) {
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end()) fail(file.name(), " has no '", key, "' in its metadata");
    return found->second;
  };
  if (said("weights") != weights)
    fail(file.name(), " was packed from other weights, of checksum ", said("weights"), ", than those of ", weights_file,
         ", ", weights);
  for (const auto& [key, value] : described(model, candidates))
    if (said(key) != value) return nullptr;
  const auto expected = model.device()->packed_size(static_cast<std::int64_t>(candidates.size()), model.config().dim);
  auto packed = file.mapped_u8(kPacked, {expected});
  // A tool that wrote it anew may have laid it elsewhere.
  return reinterpret_cast<std::uintptr_t>(packed.get()) % kAlignment == 0 ? packed : nullptr;
}

}  // namespace stamp
