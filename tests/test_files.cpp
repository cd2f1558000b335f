// Files are whole or absent; safetensors files are right or refused.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>
#include <span>
#include <utility>

#include "stamp/bundle.h"
#include "stamp/files.h"
#include "tests/check.h"

using namespace stamp;

namespace {

void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string safetensors_bytes(const std::string& header, std::size_t data, std::uint64_t claimed) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(claimed >> (8 * i) & 0xff);
  return bytes + header + std::string(data, '\1');
}

std::string safetensors_bytes(const std::string& header, std::size_t data) {
  return safetensors_bytes(header, data, header.size());
}

// The disk is full after so many bytes.
class DiskLimit {
 public:
  explicit DiskLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~DiskLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_;
};

// Stands between the library and the file system, for as long as it lives.
struct Renames {
  std::function<void()> before = nullptr;  // what others do just before the first exchange
  bool exchanges = true;                   // NFS and FUSE cannot
  std::set<int> failing = {};              // which renames fail after an exchange was refused, counted from 0
  int count = -1;                          // of these
  static inline Renames* now = nullptr;

  static void run(Renames renames, const std::function<void()>& what) {
    now = &renames;
    try {
      what();
    } catch (...) {
      now = nullptr;
      throw;
    }
    now = nullptr;
  }
};

// Four products, of which two models know three.
Bundle small_bundle(const std::string& preset = "paper") {
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
    cluster.model->set_repeat_floors({static_cast<float>(id), Model::kNoFloor});
    bundle.clusters.push_back(std::move(cluster));
  }
  return bundle;
}

std::vector<std::map<std::string, std::vector<float>>> weights_of(const Bundle& bundle) {
  std::vector<std::map<std::string, std::vector<float>>> weights;
  for (const Cluster& cluster : bundle.clusters) weights.push_back(cluster.model->download());
  return weights;
}

}  // namespace

extern "C" int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  if (Renames* renames = Renames::now) {
    if (const auto before = std::exchange(renames->before, nullptr)) before();
    if (!renames->exchanges) {
      renames->count = 0;
      errno = EINVAL;
      return -1;
    }
  }
  return static_cast<int>(syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}

extern "C" int rename(const char* from, const char* to) noexcept {
  if (Renames* renames = Renames::now; renames && renames->count >= 0 && renames->failing.contains(renames->count++)) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

TEST_CASE("a full disk or a failing writer leaves the old file") {
  const check::Folder folder;
  const auto path = folder / "model";
  write_file(path, [](std::ostream& out) { out << "old"; });
  {
    const DiskLimit full(1000);
    CHECK_THROWS_AS(write_file(path, [](std::ostream& out) { out << std::string(100'000, 'x'); }), std::runtime_error);
  }
  CHECK_THROWS_AS(write_file(path, [](std::ostream&) { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK(read_file(path) == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  CHECK_THROWS_AS(write_file(path / "below", [](std::ostream&) {}), std::runtime_error);
  CHECK_THROWS_AS(write_file("", [](std::ostream&) {}), std::runtime_error);
  write_file(folder / "a/new/folder", [](std::ostream& out) { out << "new"; });
  CHECK(read_file(folder / "a/new/folder") == "new");
}

TEST_CASE("a bundle that cannot be written leaves the old one") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  save_bundle(path, small_bundle());
  const auto before = weights_of(load_bundle(path, open_device("cpu")));
  const Bundle other = small_bundle("official");
  {
    const DiskLimit full(100);
    CHECK_THROWS_AS(save_bundle(path, other), std::runtime_error);
  }
  CHECK(weights_of(load_bundle(path, open_device("cpu"))) == before);
  save_bundle(path, other);
  CHECK(weights_of(load_bundle(path, open_device("cpu"))) == weights_of(other));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

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

TEST_CASE("safetensors: what is written is read") {
  const check::Folder folder;
  const std::vector<float> a{1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> b{-1, 1};
  write_safetensors(folder / "f",
                    {{"a", TensorSource({DType::f32, {2, 3}}, a.data())},
                     {"b", TensorSource({DType::i64, {2}}, b.data())},
                     {"empty", TensorSource({DType::u8, {0}}, static_cast<const void*>(nullptr))}},
                    {{"key", "value \"quoted\""}});
  const Safetensors file(folder / "f");
  CHECK(check::error(file.f32("a", {2, 3}), a) == 0);
  CHECK(file.i64("b")[0] == -1);
  CHECK(file.u8("empty").empty());
  CHECK(file.metadata().at("key") == "value \"quoted\"");
  CHECK_THROWS_WITH_AS(file.f32("a", {3, 2}), doctest::Contains("has shape [2,3], expected [3,2]"), std::runtime_error);
  CHECK_THROWS_AS(file.f32("b", {2}), std::runtime_error);
  CHECK_THROWS_AS(file.i64("c"), std::runtime_error);
}

TEST_CASE("safetensors: malformed files are refused with a reason") {
  const check::Folder folder;
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const std::pair<std::string, std::string> cases[] = {
      {"empty", ""},
      {"seven bytes", "1234567"},
      {"header beyond the file", safetensors_bytes(good, 8, 1 << 20)},
      {"absurd header size", safetensors_bytes(good, 8, ~std::uint64_t{0})},
      {"header of nothing", safetensors_bytes("", 0)},
      {"not an object", safetensors_bytes("[1,2]", 0)},
      {"no JSON", safetensors_bytes("{\"a\":", 0)},
      {"trailing bytes", safetensors_bytes(good, 9)},
      {"missing bytes", safetensors_bytes(good, 7)},
      {"same key twice",
       safetensors_bytes(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
           1)},
      {"overlap",
       safetensors_bytes(
           R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
           6)},
      {"hole",
       safetensors_bytes(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
           6)},
      {"product of the shape overflows",
       safetensors_bytes(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0)},
      {"shape does not fit",
       safetensors_bytes(R"({"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,8]}})", 8)},
      {"negative extent", safetensors_bytes(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1)},
      {"fraction", safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", 1)},
      {"offsets reversed", safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1)},
      {"three offsets", safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}})", 1)},
      {"unknown type", safetensors_bytes(R"({"a":{"dtype":"F7","shape":[1],"data_offsets":[0,1]}})", 1)},
      {"no type", safetensors_bytes(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1)},
      {"tensor is no object", safetensors_bytes(R"({"a":3})", 0)},
      {"metadata is no text", safetensors_bytes(R"({"__metadata__":{"a":1}})", 0)},
      {"deep nesting", safetensors_bytes("{\"a\":" + std::string(5000, '[') + std::string(5000, ']') + "}", 0)},
  };
  for (const auto& [what, bytes] : cases) {
    CAPTURE(what);
    write_bytes(folder / "f", bytes);
    CHECK_THROWS_AS(Safetensors(folder / "f"), std::runtime_error);
  }
}

TEST_CASE("safetensors: truncation anywhere is refused, flipped bits never crash") {
  const check::Folder folder;
  const std::vector<float> a{1, 2, 3};
  write_safetensors(folder / "good", {{"a", TensorSource({DType::f32, {3}}, a.data())},
                                      {"b", TensorSource({DType::u8, {4}}, a.data())}});
  const std::string whole = read_file(folder / "good");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_bytes(folder / "f", whole.substr(0, size));
    CHECK_THROWS_AS(Safetensors(folder / "f"), std::runtime_error);
  }
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    write_bytes(folder / "f", flipped);
    try {
      const Safetensors file(folder / "f");
      for (const auto& [name, tensor] : file.tensors()) CHECK(tensor.bytes() <= whole.size());
    } catch (const std::runtime_error&) {
    }
  }
}

TEST_CASE("a bundle replaces an empty directory and a bundle of nothing but its files") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  const fs::path path = folder / "bundle";
  const auto refused = [&](const fs::path& where, const std::string& why) {
    CHECK_THROWS_WITH_AS(check_bundle_target(where), doctest::Contains(why.c_str()), std::runtime_error);
    CHECK_THROWS_WITH_AS(save_bundle(where, small_bundle()), doctest::Contains(why.c_str()), std::runtime_error);
  };
  fs::create_directory(path);
  for (int i = 0; i < 2; ++i) {
    check_bundle_target(path / "");
    save_bundle(path / "", small_bundle());
  }
  CHECK(load_bundle(path, open_device("cpu")).counts == small_bundle().counts);

  for (const auto& [name, first] :
       std::map<std::string, std::string>{{"precious.csv", "precious.csv, which is not of a saved model"},
                                          {"clusters/precious.csv", "clusters/precious.csv, which"},
                                          {"clusters/more/precious.csv", "clusters/more, which"},
                                          {"pages/index.html", "pages, which"}}) {
    fs::create_directories((path / name).parent_path());
    write_bytes(path / name, "1,2");
    refused(path, concat("it holds ", first));
    CHECK(read_file(path / name) == "1,2");
    fs::remove(path / name);
    for (fs::path of = fs::path(name).parent_path(); of.has_relative_path() && of != "clusters"; of = of.parent_path())
      fs::remove(path / of);
  }
  fs::create_directory(path / "empty");
  refused(path, "it holds empty, which is not of a saved model");
  fs::remove(path / "empty");
  fs::rename(path / "rules.json", folder / "rules.json");
  fs::create_symlink(folder / "rules.json", path / "rules.json");
  refused(path, "it holds rules.json, which");
  fs::remove(path / "rules.json");
  check_bundle_target(path);  // what is missing is nobody else's

  write_bytes(path / "manifest.json", "{}");  // of a web application, say
  refused(path, "it holds manifest.json, which is not that of a saved model");
  write_bytes(path / "manifest.json",
              R"({"format": "stamp-bundle", "version": 1, "files": {"catalog.safetensors": {}}})");
  refused(path, "it holds clusters/2.safetensors, which is not of a saved model");
  fs::remove_all(path / "clusters");
  save_bundle(path, small_bundle());  // over one of an older version

  write_bytes(folder / "data.csv", "1,2");
  refused(folder.path(), "it holds bundle, which is not of a saved model");
  refused(folder / "data.csv", "a file stands there");
  refused(folder / "data.csv/model", "cannot write");
  refused("", "the path is empty");
  refused("/proc", "it is a mount point");
  CHECK(read_file(folder / "data.csv") == "1,2");
  check_bundle_target(folder / "parents/are/made");
  CHECK(!fs::exists(folder / "parents"));
}

TEST_CASE("what is put into a directory while its successor is written stays") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  std::filesystem::create_directory(path);
  const auto any = [](const std::filesystem::path& in) {
    return std::filesystem::exists(in / "precious.csv") ? std::string("precious.csv") : "";
  };
  CHECK_THROWS_AS(write_directory(path, any, [&](const auto&) { write_bytes(path / "precious.csv", "1,2"); }),
                  std::runtime_error);
  CHECK(read_file(path / "precious.csv") == "1,2");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("what is put into a directory just before it is replaced stays") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  for (const bool exchanges : {true, false}) {
    CAPTURE(exchanges);
    save_bundle(path, small_bundle());
    const auto put = [&] { write_bytes(path / "precious.csv", "1,2"); };
    const auto save = [&] { save_bundle(path, small_bundle("official")); };
    CHECK_THROWS_WITH_AS(Renames::run({.before = put, .exchanges = exchanges}, save),
                         doctest::Contains("it holds precious.csv"), std::runtime_error);
    CHECK(read_file(path / "precious.csv") == "1,2");
    std::filesystem::remove(path / "precious.csv");
    CHECK(weights_of(load_bundle(path, open_device("cpu"))) == weights_of(small_bundle()));
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  }
}

TEST_CASE("where directories cannot be exchanged, none is lost, whichever rename fails") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  const auto path = folder / "bundle";
  const auto is_there = [](const fs::path& where, const Bundle& bundle) {
    return weights_of(load_bundle(where, open_device("cpu"))) == weights_of(bundle);
  };
  const Bundle older = small_bundle(), newer = small_bundle("official");
  // The error, empty where there is none.
  const auto replaced = [&](std::set<int> failing) -> std::string {
    save_bundle(path, older);
    try {
      Renames::run({.exchanges = false, .failing = std::move(failing)}, [&] { save_bundle(path, newer); });
      return "";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  };
  const auto entries = [&] { return std::distance(fs::directory_iterator(folder.path()), {}); };
  // Where the message says that the older one is.
  const auto named = [](const std::string& message) {
    return fs::path(message.substr(message.find("is now at ") + 10));
  };

  CHECK(replaced({}) == "");
  CHECK(is_there(path, newer));
  for (int failing : {0, 1}) {
    CAPTURE(failing);
    CHECK(replaced({failing}).find("cannot put ") == 0);
    CHECK(is_there(path, older));
    CHECK(entries() == 1);
  }
  std::string message = replaced({1, 2});
  CHECK(is_there(named(message), older));
  CHECK(!fs::exists(path));
  CHECK(entries() == 1);
  fs::rename(named(message), path);
  message = replaced({2});
  CHECK(is_there(path, newer));
  CHECK(is_there(named(message), older));
}

TEST_CASE("what has changed in a saved model is somebody's own") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  const fs::path path = folder / "bundle";
  save_bundle(path, small_bundle());
  const std::string rules = read_file(path / "rules.json");
  std::string other = rules;
  other[other.find("zones")] = 'Z';  // of the same size
  for (const auto& [name, bytes] :
       {std::pair<std::string, std::string>{"rules.json", "{}"}, {"rules.json", other}, {"catalog.safetensors", "1"}}) {
    CAPTURE(name);
    const std::string before = read_file(path / name);
    write_bytes(path / name, bytes);
    const std::string why = concat("it holds ", name, ", which has changed since the model was saved");
    CHECK_THROWS_WITH_AS(save_bundle(path, small_bundle()), doctest::Contains(why.c_str()), std::runtime_error);
    CHECK(read_file(path / name) == bytes);
    write_bytes(path / name, before);
    check_bundle_target(path);
  }
}

TEST_CASE("the working directory is not replaced, nor what holds it") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  fs::create_directories(folder / "work/below");
  const fs::path before = fs::current_path();
  fs::current_path(folder / "work/below");
  for (const fs::path& path : {fs::path("."), fs::path("./"), folder / "work/below", fs::path("../below")}) {
    CAPTURE(path);
    CHECK_THROWS_WITH_AS(check_bundle_target(path), doctest::Contains("it is the working directory, or holds it"),
                         std::runtime_error);
  }
  const auto none = [](const fs::path&) { return std::string(); };
  CHECK_THROWS_WITH_AS(check_directory("..", none), doctest::Contains("it is the working directory, or holds it"),
                       std::runtime_error);
  fs::create_directory("empty");
  check_bundle_target("empty");
  check_file("file");
  fs::current_path(before);
}

TEST_CASE("what takes the place of something private is private, before it is whole") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  const fs::path path = folder / "bundle", file = folder / "file";
  const auto none = [](const fs::path&) { return std::string(); };
  const auto mode = [](const fs::path& of) { return fs::status(of).permissions(); };
  fs::create_directory(path);
  for (const fs::perms perms : {fs::perms(0700), fs::perms(0750), fs::perms(0500)}) {
    fs::permissions(path, perms);
    write_directory(path, none, [&](const fs::path& in) {
      CHECK(mode(in) == (perms | fs::perms::owner_all));
      write_bytes(in / "f", "1");
    });
    CHECK(mode(path) == perms);
  }
  fs::permissions(path, fs::perms::owner_all);
  write_bytes(file, "1");
  fs::permissions(file, fs::perms(0600));
  write_file(file, [](std::ostream& out) { out << "2"; });
  CHECK(mode(file) == fs::perms(0600));
}

TEST_CASE("no folder is made for a path that leaves it again") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  save_bundle(folder / "missing/../bundle", small_bundle());
  write_file(folder / "missing/more/../../file", [](std::ostream& out) { out << "1"; });
  CHECK(fs::exists(folder / "bundle/manifest.json"));
  CHECK(fs::exists(folder / "file"));
  CHECK(!fs::exists(folder / "missing"));
}

TEST_CASE("symbolic links stay, and what they lead to is replaced") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  fs::create_directory(folder / "releases");
  fs::create_directory_symlink("releases/1", folder / "current");  // to nothing yet
  fs::create_directory_symlink("current", folder / "again");
  check_bundle_target(folder / "again");
  for (const char* name : {"again", "current", "current/", "releases/../again"}) {
    CAPTURE(name);
    save_bundle(folder / name, small_bundle());
    CHECK(fs::is_symlink(folder / "current"));
    CHECK(fs::is_symlink(folder / "again"));
    CHECK(fs::is_directory(fs::symlink_status(folder / "releases/1")));
  }
  CHECK(load_bundle(folder / "current", open_device("cpu")).counts == small_bundle().counts);
  CHECK(std::distance(fs::directory_iterator(folder / "releases"), {}) == 1);

  write_bytes(folder / "releases/1/precious.csv", "1,2");
  CHECK_THROWS_WITH_AS(save_bundle(folder / "again", small_bundle()), doctest::Contains("it holds precious.csv"),
                       std::runtime_error);
  fs::create_symlink(folder / "releases/1/precious.csv", folder / "table");
  CHECK_THROWS_WITH_AS(save_bundle(folder / "table", small_bundle()), doctest::Contains("a file stands there"),
                       std::runtime_error);
  write_file(folder / "table", [](std::ostream& out) { out << "3"; });
  CHECK(fs::is_symlink(folder / "table"));
  CHECK(read_file(folder / "releases/1/precious.csv") == "3");
  fs::create_symlink("circle", folder / "circle");
  const std::string why = concat("cannot write ", (folder / "circle").string(), ": Too many levels of symbolic links");
  CHECK_THROWS_WITH_AS(check_file(folder / "circle"), why.c_str(), std::runtime_error);
  CHECK_THROWS_WITH_AS(check_bundle_target(folder / "circle"), why.c_str(), std::runtime_error);
}

TEST_CASE("files replace files, nothing else") {
  const check::Folder folder;
  const auto refused = [](const std::filesystem::path& path, const char* why) {
    CHECK_THROWS_WITH_AS(check_file(path), doctest::Contains(why), std::runtime_error);
    CHECK_THROWS_WITH_AS(write_file(path, [](std::ostream&) {}), doctest::Contains(why), std::runtime_error);
  };
  refused(folder.path(), "it is a directory");
  refused("/dev/null", "it is no regular file");
  CHECK(std::filesystem::is_character_file("/dev/null"));
  write_bytes(folder / "file", "old");
  refused(folder / "file/below", "cannot write");
  check_file(folder / "file");
  check_file(folder / "not/yet");
  CHECK(read_file(folder / "file") == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}
