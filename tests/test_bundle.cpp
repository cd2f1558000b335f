// The format of bundles: contents, checksums, versions, catalogs, and damage that is named.
#include <nlohmann/json.hpp>
#include <span>

#include "stamp/popularity.h"
#include "tests/bundles.h"

using namespace stamp;

namespace {

// What docs/data.md says of checksums, byte by byte.
std::string described_checksum(const std::string& bytes) {
  const auto step = [](std::uint64_t h, std::uint64_t x) {
    h = (h ^ x) * 0x100000001b3;
    return h ^ h / (std::uint64_t{1} << 32);
  };
  const std::size_t whole = bytes.size() / 64 * 64;
  std::vector<std::uint64_t> hashes(9, 0xcbf29ce484222325);
  for (std::size_t first = 0; first < whole; first += 8) {
    std::uint64_t word = 0;
    for (std::size_t i = 8; i-- > 0;) word = word << 8 | static_cast<unsigned char>(bytes[first + i]);
    hashes[first / 8 % 8] = step(hashes[first / 8 % 8], word);
  }
  for (std::size_t j = 0; j < 8; ++j) hashes[8] = step(hashes[8], hashes[j]);
  for (std::size_t i = whole; i < bytes.size(); ++i) hashes[8] = step(hashes[8], static_cast<unsigned char>(bytes[i]));
  char text[32];
  std::snprintf(text, sizeof text, "fnv64x8:%016llx", static_cast<unsigned long long>(step(hashes[8], bytes.size())));
  return text;
}

std::string checksum_of(const std::string& bytes, const std::string& like = "") {
  return checksum(std::as_bytes(std::span(bytes)), like);
}

// Writes the manifest anew: of `version`, with checksums in the form of `like`.
void rewrite_manifest(const std::filesystem::path& bundle, int version, const std::string& like) {
  auto manifest = nlohmann::json::parse(read_file(bundle / "manifest.json"));
  manifest["version"] = version;
  for (auto& [name, described] : manifest["files"].items())
    described["checksum"] = checksum_of(read_file(bundle / name), like);
  write_bytes(bundle / "manifest.json", manifest.dump());
}

}  // namespace

TEST_CASE("a bundle comes back as it was saved, and damage is named") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  const Bundle bundle = small_bundle();
  save_bundle(path, bundle);
  const Bundle loaded = load_bundle(path, open_device("cpu"));
  CHECK(weights_of(loaded) == weights_of(bundle));
  CHECK(loaded.counts == bundle.counts);
  CHECK(loaded.route_by == bundle.route_by);
  CHECK(loaded.rules.find("zones") != std::string::npos);
  CHECK(loaded.attributes.texts()[0].codes == bundle.attributes.texts()[0].codes);
  CHECK(to_string(loaded.catalog.id(2)) == "größe 42");
  CHECK(loaded.catalog.find(std::string_view("")) == 3);
  for (std::size_t c = 0; c < 2; ++c) {
    CHECK(loaded.clusters[c].id == bundle.clusters[c].id);
    CHECK(loaded.clusters[c].rows == bundle.clusters[c].rows);
    CHECK(loaded.clusters[c].fingerprint == "abc");
    CHECK(to_json(loaded.clusters[c].config) == to_json(bundle.clusters[c].model->config()));
  }

  for (const char* name :
       {"clusters/2.safetensors", "clusters/7.safetensors", "catalog.safetensors", "rules.json", "manifest.json"}) {
    CAPTURE(name);
    const std::string whole = read_file(path / name);
    for (std::size_t size : {std::size_t{0}, whole.size() / 2, whole.size() - 2}) {
      write_bytes(path / name, whole.substr(0, size));
      CHECK_THROWS_AS(load_bundle(path, open_device("cpu")), std::runtime_error);
    }
    std::string flipped = whole;
    flipped[whole.size() / 2] ^= 1;
    write_bytes(path / name, flipped);
    if (std::string(name) != "manifest.json")  // which holds the checksums, and none of itself
      CHECK_THROWS_WITH_AS(load_bundle(path, open_device("cpu")), doctest::Contains(name), std::runtime_error);
    std::filesystem::remove(path / name);
    CHECK_THROWS_AS(load_bundle(path, open_device("cpu")), std::runtime_error);
    // What cannot be read is called as the caller called it, though it is read through an open folder.
    const std::string called = (path / name).string();
    std::filesystem::create_symlink(std::filesystem::path(name).filename(), path / name);  // a loop
    CHECK_THROWS_WITH_AS(load_bundle(path, open_device("cpu")), doctest::Contains(called.c_str()), std::runtime_error);
    std::filesystem::remove(path / name);
    std::filesystem::create_directory(path / name);
    CHECK_THROWS_WITH_AS(load_bundle(path, open_device("cpu")), doctest::Contains(called.c_str()), std::runtime_error);
    std::filesystem::remove(path / name);
    write_bytes(path / name, whole);
  }
  CHECK_THROWS_AS(load_bundle(folder / "nothing", open_device("cpu")), std::runtime_error);
}

TEST_CASE("a manifest's numbers are whole and fit") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  save_bundle(path, small_bundle());
  const std::string manifest = read_file(path / "manifest.json"), id = "\"id\": 7";
  for (const char* number : {"1.5", "1e300", "-1e300", "18446744073709551615", "9223372036854775808"}) {
    CAPTURE(number);
    std::string changed = manifest;
    write_bytes(path / "manifest.json", changed.replace(changed.find(id), id.size(), concat("\"id\": ", number)));
    CHECK_THROWS_WITH_AS(load_bundle(path, open_device("cpu")), doctest::Contains("expected a whole one that fits"),
                         std::runtime_error);
  }
}

TEST_CASE("checksums are those of the description, and of FNV-1a where that is asked for") {
  const auto sequence = [](std::size_t size) {
    std::string bytes;
    for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>((i * i + 7 * i) % 251);
    return bytes;
  };
  // By a Python implementation of the description.
  for (const auto& [size, expected] : std::map<std::size_t, std::string>{{0, "fnv64x8:2f083c0c6afee06a"},
                                                                         {1, "fnv64x8:e9de741926c921c8"},
                                                                         {63, "fnv64x8:5ad3e16e75b4fda8"},
                                                                         {64, "fnv64x8:64c94bfa0a2b159b"},
                                                                         {65, "fnv64x8:6e3bf3df269c6487"},
                                                                         {1000, "fnv64x8:b4636dab17564fd0"}})
    CHECK(checksum_of(sequence(size)) == expected);
  for (std::size_t size = 0; size < 300; ++size)
    CHECK(checksum_of(sequence(size)) == described_checksum(sequence(size)));

  // Every bit counts, and so do two at once, even the highest of words.
  const std::string bytes = sequence(200);
  std::set<std::string> seen{checksum_of(bytes)};
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    CHECK(seen.insert(checksum_of(flipped)).second);
  }
  std::string signs = bytes;
  for (std::size_t word : {0, 8, 16}) signs[8 * word + 7] = static_cast<char>(signs[8 * word + 7] ^ 0x80);
  CHECK(seen.insert(checksum_of(signs)).second);
  CHECK(seen.insert(checksum_of(bytes + '\0')).second);

  const std::string older = "0123456789abcdef";  // known values of FNV-1a
  CHECK(checksum_of("", older) == "cbf29ce484222325");
  CHECK(checksum_of("a", older) == "af63dc4c8601ec8c");
  CHECK(checksum_of("foobar", older) == "85944171f73967e8");
  CHECK(checksum_of("foobar", "fnv64x8:0123456789abcdef") == checksum_of("foobar"));
}

TEST_CASE("a bundle of format 2 is read and verified by its own checksums, others are refused") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  const Bundle bundle = small_bundle();
  save_bundle(path, bundle);
  CHECK(nlohmann::json::parse(read_file(path / "manifest.json"))["version"] == 3);
  rewrite_manifest(path, 2, "0123456789abcdef");
  CHECK(nlohmann::json::parse(read_file(path / "manifest.json"))["files"]["rules.json"]["checksum"]
            .get<std::string>()
            .size() == 16);
  CHECK(weights_of(load_bundle(path, open_device("cpu"))) == weights_of(bundle));
  const std::string name = "clusters/2.safetensors", whole = read_file(path / name);
  std::string flipped = whole;
  flipped[whole.size() / 2] ^= 1;
  write_bytes(path / name, flipped);
  CHECK_THROWS_WITH_AS(load_bundle(path, open_device("cpu")), doctest::Contains("2.safetensors has checksum"),
                       std::runtime_error);
  write_bytes(path / name, whole);
  write_bytes(path / "rules.json", R"({"zones": {"new": {"rules": []}}})");
  CHECK_THROWS_WITH_AS(check_bundle_target(path), doctest::Contains("rules.json, which has changed"),
                       std::runtime_error);
  write_bytes(path / "rules.json", bundle.rules + '\n');
  for (int version : {1, 4}) {
    rewrite_manifest(path, version, "");
    CHECK_THROWS_WITH_AS(load_bundle(path, open_device("cpu")), doctest::Contains("this library reads 2 and 3"),
                         std::runtime_error);
  }
  save_bundle(path, bundle);  // over one of another version
  CHECK(weights_of(load_bundle(path, open_device("cpu"))) == weights_of(bundle));
}

TEST_CASE("a catalog of any size is found again by its ids, and one that cannot be is refused") {
  const check::Folder folder;
  const auto path = folder / "catalog";
  for (const std::int64_t V : {0, 1, 7, 8, 9, 16, 17, 5000})
    for (const auto kind : {Catalog::Kind::integers, Catalog::Kind::strings}) {
      CAPTURE(V);
      const auto id_of = [&](std::int64_t row) -> Id {
        if (kind == Catalog::Kind::integers) return row * 0x100000001 - 9;
        return row == 3 ? std::string() : "id-" + std::to_string(row * row);
      };
      Catalog catalog(kind);
      const auto add = [&](const Id& id) {
        return kind == Catalog::Kind::integers ? catalog.add(std::get<std::int64_t>(id))
                                               : catalog.add(std::string_view(std::get<std::string>(id)));
      };
      for (std::int64_t row = 0; row < V; ++row) REQUIRE(add(id_of(row)) == row);
      save_catalog(path, catalog, std::vector<std::int64_t>(static_cast<std::size_t>(V)));
      catalog = load_catalog(path).first;
      CHECK(catalog.kind() == kind);
      REQUIRE(catalog.size() == V);
      for (std::int64_t row = 0; row < V; ++row) {
        REQUIRE(catalog.find(id_of(row)) == row);
        REQUIRE(catalog.id(static_cast<std::int32_t>(row)) == id_of(row));
      }
      CHECK(catalog.find(id_of(V + 5)) == Catalog::kUnknown);
      CHECK(add(id_of(V + 5)) == V);  // and grows on
    }

  const auto refused = [&](std::vector<std::int64_t> ids, std::vector<std::int64_t> offsets, const char* why) {
    const std::string bytes = "abab";
    std::map<std::string, TensorSource> tensors;
    const auto add = [&](const std::string& name, const std::vector<std::int64_t>& values) {
      tensors.emplace(name, TensorSource({DType::i64, {static_cast<std::int64_t>(values.size())}}, values.data()));
    };
    if (offsets.empty()) add("ids", ids);
    if (!offsets.empty()) add("id_offsets", offsets);
    if (!offsets.empty()) tensors.emplace("id_bytes", TensorSource({DType::u8, {4}}, bytes.data()));
    write_safetensors(path, tensors);
    CHECK_THROWS_WITH_AS(load_catalog(path), doctest::Contains(why), std::runtime_error);
  };
  refused({5, 6, 5}, {}, "id '5' stands twice");
  refused({}, {0, 2, 4}, "id 'ab' stands twice");
  refused({}, {0, 3, 1, 4}, "id_offsets fall at 2");
  refused({}, {0, 9, 4}, "id_offsets fall at 2");
  refused({}, {0, -1, 4}, "id_offsets fall at 1");
  refused({}, {0, 2}, "id_offsets do not span the 4 bytes");
  refused({}, {1, 4}, "id_offsets do not span");
}

TEST_CASE("a bundle does not say what the runs took that made it, and is saved again as the same bytes") {
  const check::Folder folder;
  Bundle bundle = small_bundle();
  bundle.clusters[0].report = R"({"epochs":[{"epoch":1,"loss":0.1,"seconds":3.5}],"best_epoch":1,"seconds":4,)"
                              R"("examples_per_second":1e6,"resumed":true,"device":"cuda:3","of ours":[1,{"x":null}]})";
  bundle.clusters[1].report = "[1]";  // a report is any JSON
  bundle.fallback = popularity_of(bundle.counts);
  save_bundle(folder / "bundle", bundle, {.scan_tables = true});
  const Bundle loaded = load_bundle(folder / "bundle", open_device("cpu"));
  CHECK(loaded.clusters[0].report ==
        R"({"epochs":[{"epoch":1,"loss":0.1}],"best_epoch":1,"device":"cuda","of ours":[1,{"x":null}]})");
  CHECK(loaded.clusters[1].report == "[1]");
  save_bundle(folder / "again", loaded, {.scan_tables = true});
  for (const char* name : {"manifest.json", "catalog.safetensors", "rules.json", "fallback.safetensors",
                           "clusters/7.safetensors", "clusters/7.scan.safetensors", "clusters/2.safetensors"}) {
    CAPTURE(name);
    CHECK(read_file(folder / "again" / name) == read_file(folder / "bundle" / name));
  }
}

TEST_CASE("an open bundle gives its own models, whatever replaces it") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  const Bundle bundle = small_bundle();
  save_bundle(path, bundle);
  const BundleReader reader(path);
  CHECK(reader.bundle().clusters[1].model == nullptr);
  save_bundle(path, small_bundle("official"));
  CHECK(reader.load(1, open_device("cpu"))->download() == bundle.clusters[1].model->download());
  CHECK(reader.load(0, open_device("cpu"))->download() == bundle.clusters[0].model->download());
}

TEST_CASE("bundles that do not fit together are refused by name") {
  const check::Folder folder;
  const auto refused = [&](auto&& change, const char* why) {
    Bundle bundle = small_bundle();
    change(bundle);
    CHECK_THROWS_WITH_AS(save_bundle(folder / "bundle", bundle), doctest::Contains(why), std::invalid_argument);
  };
  refused([](Bundle& b) { b.clusters[1].rows = {2}; }, "product größe 42 is claimed by clusters 7 and 2");
  refused([](Bundle& b) { b.clusters[1].rows = {4}; }, "holds row 4");
  refused([](Bundle& b) { b.clusters[0].rows = {2, 0}; }, "not ascending");
  refused([](Bundle& b) { b.clusters[0].rows = {0, 2, 3}; }, "has 2 products, its rows are 3");
  refused([](Bundle& b) { b.clusters[1].rows = {}; }, "has no product");
  refused([](Bundle& b) { b.clusters[1].id = 7; }, "cluster id 7 stands twice");
  refused([](Bundle& b) { b.clusters[1].model = nullptr; }, "is not loaded");
  refused([](Bundle& b) { b.route_by = {"colour"}; }, "route_by names 'colour'");
  refused([](Bundle& b) { b.counts = {1}; }, "counts of 1 products");
  refused([](Bundle& b) { b.attributes = Attributes(3); }, "attributes of 3 products");
  CHECK(!std::filesystem::exists(folder / "bundle"));
}
