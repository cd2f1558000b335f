// Files are whole or absent; safetensors files are right or refused.
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <ostream>

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

Bundle small_bundle() {
  Catalog catalog(Catalog::Kind::strings);
  for (const char* id : {"shirt", "shoes", "größe 42", ""}) catalog.add(std::string_view(id));
  Config config = Config::preset("paper");
  config.dim = 5;
  return {catalog, {3, 2, 1, 0}, std::make_shared<Model>(config, 4, open_device("cpu")), {}, "abc", "{}"};
}

}  // namespace

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
  CHECK_THROWS_AS(write_file(folder / "no/such/folder", [](std::ostream&) {}), std::runtime_error);
}

TEST_CASE("a bundle that cannot be written leaves the old one") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  Bundle bundle = small_bundle();
  save_bundle(path, bundle);
  const auto before = load_bundle(path, open_device("cpu")).model->download();
  bundle.model = std::make_shared<Model>(Config{}, 4, open_device("cpu"));
  {
    const DiskLimit full(1000);
    CHECK_THROWS_AS(save_bundle(path, bundle), std::runtime_error);
  }
  CHECK(load_bundle(path, open_device("cpu")).model->download() == before);
  save_bundle(path, bundle);
  CHECK(load_bundle(path, open_device("cpu")).model->download() == bundle.model->download());
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a bundle comes back as it was saved, and damage is named") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  const Bundle bundle = small_bundle();
  save_bundle(path, bundle);
  const Bundle loaded = load_bundle(path, open_device("cpu"));
  CHECK(loaded.model->download() == bundle.model->download());
  CHECK(to_json(loaded.model->config()) == to_json(bundle.model->config()));
  CHECK(loaded.counts == bundle.counts);
  CHECK(to_string(loaded.catalog.id(2)) == "größe 42");
  CHECK(loaded.catalog.find(std::string_view("")) == 3);

  for (const char* name : {"model.safetensors", "catalog.safetensors", "manifest.json"}) {
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
    write_bytes(path / name, whole);
  }
  CHECK_THROWS_AS(load_bundle(folder / "nothing", open_device("cpu")), std::runtime_error);
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

TEST_CASE("a bundle replaces a bundle or an empty directory, nothing else") {
  const check::Folder folder;
  write_bytes(folder / "data.csv", "1,2");
  CHECK_THROWS_WITH_AS(save_bundle(folder.path(), small_bundle()), doctest::Contains("it holds other files"),
                       std::runtime_error);
  CHECK(read_file(folder / "data.csv") == "1,2");
  std::filesystem::create_directory(folder / "empty");
  save_bundle(folder / "empty", small_bundle());
  save_bundle(folder / "empty", small_bundle());
  CHECK(load_bundle(folder / "empty", open_device("cpu")).counts == small_bundle().counts);
}
