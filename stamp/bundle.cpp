#include "stamp/bundle.h"

#include <nlohmann/json.hpp>
#include <ostream>

#include "stamp/files.h"

namespace stamp {

namespace {

constexpr const char* kManifest = "manifest.json";
constexpr const char* kCatalogFile = "catalog.safetensors";
constexpr const char* kModelFile = "model.safetensors";

using Json = nlohmann::ordered_json;

Json described(const std::filesystem::path& file) {
  return {{"bytes", std::filesystem::file_size(file)}, {"checksum", file_checksum(file)}};
}

Json read_manifest(const std::filesystem::path& path) {
  const auto file = path / kManifest;
  if (!std::filesystem::exists(file))
    fail("load_bundle: ", path.string(), " holds no ", kManifest, ": not a saved model");
  Json manifest;
  try {
    manifest = Json::parse(read_file(file));
  } catch (const Json::exception& error) {
    fail("load_bundle: ", file.string(), " is not JSON: ", error.what());
  }
  if (!manifest.is_object() || manifest.value("format", Json()) != "stamp-bundle")
    fail("load_bundle: ", file.string(), " is not the manifest of a stamp bundle");
  const Json version = manifest.value("version", Json());
  if (version != Bundle::kFormat)
    fail("load_bundle: ", file.string(), " has format version ", version.dump(), ", this library reads ",
         Bundle::kFormat);
  return manifest;
}

void verify(const std::filesystem::path& file, const Json& expected) {
  if (!std::filesystem::exists(file)) fail("load_bundle: ", file.string(), " is missing");
  const std::uintmax_t bytes = std::filesystem::file_size(file);
  if (expected.at("bytes") != bytes)
    fail("load_bundle: ", file.string(), " has ", bytes, " bytes, its manifest says ", expected.at("bytes").dump());
  const std::string sum = file_checksum(file);
  if (expected.at("checksum") != sum)
    fail("load_bundle: ", file.string(), " has checksum ", sum, ", its manifest says ", expected.at("checksum").dump());
}

}  // namespace

void save_catalog(const std::filesystem::path& path, const Catalog& catalog, const std::vector<std::int64_t>& counts) {
  auto tensors = catalog.tensors();
  tensors.insert_or_assign("counts",
                           TensorSource({DType::i64, {static_cast<std::int64_t>(counts.size())}}, counts.data()));
  write_safetensors(path, tensors);
}

std::pair<Catalog, std::vector<std::int64_t>> load_catalog(const std::filesystem::path& path) {
  const Safetensors file(path);
  Catalog catalog = Catalog::from(file);
  const auto counts = file.i64("counts");
  if (static_cast<std::int64_t>(counts.size()) != catalog.size())
    fail("load_catalog: ", path.string(), " has ", catalog.size(), " ids and ", counts.size(), " counts");
  return {std::move(catalog), {counts.begin(), counts.end()}};
}

void save_bundle(const std::filesystem::path& path, const Bundle& bundle) {
  write_directory(path, kManifest, [&](const std::filesystem::path& folder) {
    save_catalog(folder / kCatalogFile, bundle.catalog, bundle.counts);

    std::map<std::string, TensorSource> tensors;
    bundle.model->weights().save(tensors, "");
    write_safetensors(folder / kModelFile, tensors);

    const Json manifest{
        {"format", "stamp-bundle"},
        {"version", Bundle::kFormat},
        {"library", STAMP_VERSION},
        {"products", bundle.catalog.size()},
        {"config", Json::parse(to_json(bundle.model->config()))},
        {"train", Json::parse(to_json(bundle.train))},
        {"fingerprint", bundle.fingerprint},
        {"report", Json::parse(bundle.report)},
        {"files", {{kCatalogFile, described(folder / kCatalogFile)}, {kModelFile, described(folder / kModelFile)}}}};
    write_file(folder / kManifest, [&](std::ostream& out) { out << manifest.dump(2) << '\n'; });
  });
}

Bundle load_bundle(const std::filesystem::path& path, std::shared_ptr<Device> device) {
  const Json manifest = read_manifest(path);
  try {
    for (const char* name : {kCatalogFile, kModelFile}) verify(path / name, manifest.at("files").at(name));
    auto [catalog, counts] = load_catalog(path / kCatalogFile);
    const std::int64_t V = catalog.size();
    if (manifest.at("products") != V)
      fail("load_bundle: ", (path / kCatalogFile).string(), " has ", V, " ids, the manifest says ",
           manifest.at("products").dump(), " products");

    const Safetensors file(path / kModelFile);
    auto model = std::make_shared<Model>(config_from_json(manifest.at("config").dump()), V, std::move(device), file);
    const auto shapes = model->shapes();
    for (const auto& [name, tensor] : file.tensors())
      if (!shapes.count(name))
        fail("load_bundle: ", (path / kModelFile).string(), " holds tensor '", name, "', which its config has not");
    return {.catalog = std::move(catalog),
            .counts = std::move(counts),
            .model = std::move(model),
            .train = train_config_from_json(manifest.at("train").dump()),
            .fingerprint = manifest.at("fingerprint"),
            .report = manifest.at("report").dump()};
  } catch (const Json::exception& error) {
    fail("load_bundle: ", (path / kManifest).string(), " lacks something: ", error.what());
  } catch (const std::invalid_argument& error) {
    fail("load_bundle: ", (path / kManifest).string(), ": ", error.what());
  }
}

}  // namespace stamp
