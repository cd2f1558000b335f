// Scan tables of bundles: what they list to the bit, when they are used, and those that are refused.
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <ostream>
#include <string>

#include "stamp/files.h"
#include "stamp/release.h"
#include "tests/check.h"

using namespace stamp;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kProducts = 900, kClusters = 2, kDim = 33;
constexpr const char* kRed = R"({"build": [{"rule": "only_values", "attribute": "colour", "values": ["red"]}]})";

// Cluster c knows the products of remainder c; every third product is blue, the others are red.
Bundle bundle_of(Score score, const std::string& rules = "{}", const check::DevicePtr& device = open_device("cpu"),
                 std::uint64_t seed = 1) {
  Bundle bundle;
  TextAttribute colour{.name = "colour", .values = {"red", "blue"}, .codes = {}};
  for (std::int64_t i = 0; i < kProducts; ++i) {
    bundle.catalog.add(i);
    bundle.counts.push_back(i % 13);
    colour.codes.push_back(static_cast<std::int32_t>(i % 3 == 0));
  }
  bundle.attributes = Attributes(kProducts);
  bundle.attributes.add(colour);
  bundle.rules = rules;
  for (std::int64_t c = 0; c < kClusters; ++c) {
    Cluster cluster;
    cluster.id = 5 + c;
    for (std::int64_t row = c; row < kProducts; row += kClusters)
      cluster.rows.push_back(static_cast<std::int32_t>(row));
    Config config = Config::preset("official");
    config.dim = kDim;
    config.item_std = 0.4f;
    config.weight_std = 0.2f;
    config.score = score;
    config.seed = seed * 10 + static_cast<std::uint64_t>(c);
    cluster.model = std::make_shared<Model>(config, static_cast<std::int64_t>(cluster.rows.size()), device);
    bundle.clusters.push_back(std::move(cluster));
  }
  return bundle;
}

using Listed = std::vector<std::pair<std::vector<std::int32_t>, std::vector<float>>>;

Listed lists_of(const Release& release) {
  Listed lists;
  for (std::int32_t event = 0; event < 40; ++event) {
    const std::vector<std::int32_t> events{event, event + static_cast<std::int32_t>(2 * kClusters)};
    const Listing listing = release.list({.events = events});
    CHECK(listing.path == Path::anchor);
    lists.emplace_back(listing.items, listing.scores);
  }
  return lists;
}

Listed lists_of(const fs::path& path, const ReleaseOptions& options = {.device = "cpu"}) {
  return lists_of(Release(path, options));
}

// Rows of the model of cluster c that red leaves.
std::vector<std::int32_t> red_rows(std::int64_t c) {
  std::vector<std::int32_t> rows;
  for (std::int64_t row = c; row < kProducts; row += kClusters)
    if (row % 3 != 0) rows.push_back(static_cast<std::int32_t>(row / kClusters));
  return rows;
}

std::vector<std::int32_t> all_rows() {
  std::vector<std::int32_t> rows(kProducts / kClusters);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

// Whether the bundle's table of cluster c is used for these rows.
bool is_used(const fs::path& path, std::size_t c, const std::vector<std::int32_t>& rows) {
  const BundleReader reader(path);
  const auto model = reader.load(c, open_device("cpu"));
  return reader.scan_table(c, *model, rows) != nullptr;
}

void write_bytes(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// Makes the manifest say what the files are.
void describe_anew(const fs::path& path) {
  auto manifest = nlohmann::json::parse(read_file(path / "manifest.json"));
  for (auto& [name, described] : manifest["files"].items()) {
    const std::string bytes = read_file(path / name);
    described = {{"bytes", bytes.size()}, {"checksum", checksum(std::as_bytes(std::span(bytes)))}};
  }
  write_bytes(path / "manifest.json", manifest.dump());
}

constexpr const char* kTable = "clusters/5.scan.safetensors";

// Writes the table of cluster 0 with other metadata or another size.
void rewrite_table(const fs::path& path, const std::function<void(Metadata&, std::vector<std::uint8_t>&)>& change) {
  std::vector<std::uint8_t> packed;
  Metadata metadata;
  {
    const Safetensors file(path / kTable);
    packed.assign(file.u8("packed").begin(), file.u8("packed").end());
    metadata = file.metadata();
  }
  change(metadata, packed);
  write_safetensors(path / kTable,
                    {{"packed", TensorSource({DType::u8, {static_cast<std::int64_t>(packed.size())}}, packed.data())}},
                    metadata);
  describe_anew(path);
}

}  // namespace

TEST_CASE("a bundle with scan tables lists what one without does, to the bit") {
  const check::Folder folder;
  for (const Score score : {Score::dot, Score::cosine})
    for (const std::string rules : {"{}", kRed}) {
      CAPTURE(rules);
      const Bundle bundle = bundle_of(score, rules);
      save_bundle(folder / "with", bundle, {.scan_tables = true});
      save_bundle(folder / "without", bundle);
      CHECK(!fs::exists(folder / "without" / kTable));
      const Listed expected = lists_of(Release(bundle));
      CHECK(lists_of(folder / "without") == expected);
      for (const auto& device : check::devices())
        for (const ReleaseOptions& options :
             {ReleaseOptions{}, ReleaseOptions{.lazy = true}, ReleaseOptions{.memory = 1}}) {
          if (check::slow(*device) && (score == Score::dot || !options.lazy)) continue;  // it reads none of the tables
          ReleaseOptions on = options;
          on.device = device->name();
          if (device->name() == "cpu") CHECK(lists_of(folder / "with", on) == expected);
          CHECK(lists_of(folder / "with", on) == lists_of(folder / "without", on));
        }
    }
}

TEST_CASE("a scan table holds what the device packs, in the pages of its file") {
  const check::Folder folder;
  const fs::path path = folder / "bundle";
  for (const auto& device : check::devices())
    for (const Score score : {Score::dot, Score::cosine})
      for (const std::string rules : {"{}", kRed}) {
        CAPTURE(device->name());
        CAPTURE(rules);
        save_bundle(path, bundle_of(score, rules, device), {.scan_tables = true});
        const BundleReader reader(path);
        CHECK(reader.bundle().clusters[1].scan_table);
        const auto rows = rules == "{}" ? all_rows() : red_rows(1);
        const auto on_device = reader.load(1, device);
        CHECK((reader.scan_table(1, *on_device, rows) != nullptr) == device->reads_host_memory());
        const auto cpu = open_device("cpu");
        const std::shared_ptr<const Model> model = reader.load(1, cpu);
        const auto packed = reader.scan_table(1, *model, rows);
        REQUIRE(packed);
        const auto expected = ScanTable(*model, model->device(), rows).packed().download();
        CHECK(std::vector<std::byte>(packed.get(), packed.get() + expected.size()) == expected);
        // Whoever scans them reads them there.
        const ScanTable mapped(*model, model->device(), rows, packed);
        CHECK(mapped.packed().data() == packed.get());
        CHECK(mapped.packed().size() == static_cast<std::int64_t>(expected.size()));
      }
}

TEST_CASE("the layout of scan tables is that of their name") {
  // Where this fails the CPU packs otherwise: the layout in stamp/scan_table.cpp needs another name.
  Config config;
  config.dim = 6;
  const auto model = std::make_shared<Model>(config, 70, open_device("cpu"));
  auto values = model->download();
  for (std::size_t i = 0; i < values["items"].size(); ++i) values["items"][i] = static_cast<float>(i % 127) - 63;
  model->upload(values);
  std::vector<std::int32_t> rows(70);
  std::iota(rows.begin(), rows.end(), 0);
  CHECK(checksum(ScanTable(*model, model->device(), rows).packed().download()) == "fnv64x8:bd39b982a2b908d9");
}

TEST_CASE("a scan table of other rows or another layout is not used, and lists are right") {
  const check::Folder folder;
  const fs::path path = folder / "bundle";
  const Bundle bundle = bundle_of(Score::cosine), red = bundle_of(Score::cosine, kRed);
  save_bundle(path, bundle, {.scan_tables = true});
  CHECK(is_used(path, 0, all_rows()));
  CHECK(!is_used(path, 0, red_rows(0)));
  write_bytes(path / "rules.json", kRed);
  describe_anew(path);
  CHECK(lists_of(path) == lists_of(Release(red)));

  for (const char* key : {"layout", "score", "dim", "candidates"}) {
    CAPTURE(key);
    save_bundle(path, bundle, {.scan_tables = true});
    rewrite_table(path, [&](Metadata& metadata, auto& packed) {
      metadata.at(key) = "another";
      packed.assign(packed.size(), 0);  // which would list something else
    });
    CHECK(!is_used(path, 0, all_rows()));
    CHECK(is_used(path, 1, all_rows()));
    CHECK(lists_of(path) == lists_of(Release(bundle)));
  }

  // Tables are scanned where their memory is aligned.
  save_bundle(path, bundle, {.scan_tables = true});
  std::string file = read_file(path / kTable);
  file.insert(8 + static_cast<unsigned char>(file[0]) + 256 * static_cast<unsigned char>(file[1]), " ");
  ++file[0];
  REQUIRE(file[0] != 0);
  write_bytes(path / kTable, file);
  describe_anew(path);
  CHECK(!is_used(path, 0, all_rows()));
  CHECK(lists_of(path) == lists_of(Release(bundle)));
}

TEST_CASE("a scan table that is damaged, lacks something or is of other weights is refused") {
  const check::Folder folder;
  const fs::path path = folder / "bundle";
  const Bundle bundle = bundle_of(Score::dot);
  const auto refused = [&](const std::string& why) {
    for (const bool lazy : {false, true}) {
      CAPTURE(lazy);
      CHECK_THROWS_WITH_AS(lists_of(path, {.device = "cpu", .lazy = lazy}), doctest::Contains(why.c_str()),
                           std::runtime_error);
    }
  };
  const auto anew = [&] { save_bundle(path, bundle, {.scan_tables = true}); };
  anew();
  const std::string name = (path / kTable).string();
  std::string whole = read_file(path / kTable), damaged = whole;
  damaged[whole.size() / 2] ^= 1;
  write_bytes(path / kTable, damaged);
  refused(name + " has checksum");
  write_bytes(path / kTable, whole.substr(0, whole.size() - 1));
  refused(concat(name, " has ", whole.size() - 1, " bytes"));
  fs::remove(path / kTable);
  refused(name + " is missing");

  anew();
  save_bundle(folder / "other", bundle_of(Score::dot, "{}", open_device("cpu"), 2));
  const std::string weights = "clusters/5.safetensors";
  write_bytes(path / weights, read_file(folder / "other" / weights));
  describe_anew(path);
  refused(name + " was packed from other weights");
  refused((path / weights).string());

  for (const char* key : {"weights", "layout", "candidates", "score", "dim"}) {
    anew();
    rewrite_table(path, [&](Metadata& metadata, auto&) { metadata.erase(key); });
    refused(concat(name, " has no '", key, "' in its metadata"));
  }
  anew();
  rewrite_table(path, [](Metadata&, auto& packed) { packed.pop_back(); });
  refused(name + ": tensor 'packed' has shape");
}

TEST_CASE("a release that loads late packs for itself where its bundle was replaced") {
  const check::Folder folder;
  const fs::path path = folder / "bundle";
  const Bundle bundle = bundle_of(Score::dot);
  save_bundle(path, bundle, {.scan_tables = true});
  const Release release(path, {.device = "cpu", .lazy = true});
  const Release early(path, {.device = "cpu"});
  save_bundle(path, bundle_of(Score::dot, "{}", open_device("cpu"), 2), {.scan_tables = true});
  const Listed expected = lists_of(Release(bundle));
  CHECK(lists_of(release) == expected);
  CHECK(lists_of(early) == expected);
  fs::remove_all(path);
  CHECK(lists_of(early) == expected);
}

TEST_CASE("weights that are no numbers are listed the same with a table, and never") {
  const check::Folder folder;
  for (const Score score : {Score::dot, Score::cosine}) {
    const Bundle bundle = bundle_of(score);
    auto values = bundle.clusters[0].model->download();
    auto& items = values.at("items");
    std::vector<std::int32_t> odd;
    for (std::int64_t row = 60; row < 450; row += 37) {  // beyond what is asked about
      items[row * kDim + row % kDim] = row % 2 ? std::numeric_limits<float>::quiet_NaN() : 1e38f;
      if (row % 2) odd.push_back(static_cast<std::int32_t>(row * kClusters));
    }
    bundle.clusters[0].model->upload(values);
    save_bundle(folder / "bundle", bundle, {.scan_tables = true});
    CHECK(is_used(folder / "bundle", 0, all_rows()));
    const Listed lists = lists_of(folder / "bundle");
    CHECK(lists == lists_of(Release(bundle)));
    for (const auto& [listed, scores] : lists)
      for (std::int32_t row : odd) CHECK(std::find(listed.begin(), listed.end(), row) == listed.end());
  }
}

TEST_CASE("rules that cannot be are refused before a table is written, and where they leave nothing there is none") {
  const check::Folder folder;
  CHECK_THROWS_WITH_AS(save_bundle(folder / "bundle", bundle_of(Score::dot, "["), {.scan_tables = true}),
                       doctest::Contains("rules.json is not JSON"), std::invalid_argument);
  CHECK(!fs::exists(folder / "bundle"));
  const char* none = R"({"build": [{"rule": "only_values", "attribute": "colour", "values": ["green"]}]})";
  save_bundle(folder / "bundle", bundle_of(Score::dot, none), {.scan_tables = true});
  CHECK(!fs::exists(folder / "bundle" / kTable));
  const std::vector<std::int32_t> events{1};
  CHECK(Release(folder / "bundle", {.device = "cpu"}).list({.events = events}).items.empty());
}
