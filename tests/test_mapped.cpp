// Files that are mapped, and models whose item table stays there: nothing is written through, and all of it is there
// whatever becomes of the files.
#include <array>
#include <fstream>
#include <map>
#include <string>

#include "stamp/bundle.h"
#include "stamp/files.h"
#include "stamp/trainer.h"
#include "tests/check.h"
#include "tests/shop.h"

using namespace stamp;
namespace fs = std::filesystem;

namespace {

using Values = std::map<std::string, std::vector<float>>;

// The file that the kernel has mapped where `memory` is; empty where that is none.
std::string file_at(const void* memory) {
  const auto place = reinterpret_cast<std::uintptr_t>(memory);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const std::uintptr_t first = std::stoull(line, nullptr, 16);
    const std::uintptr_t end = std::stoull(line.substr(line.find('-') + 1), nullptr, 16);
    if (first <= place && place < end) return line.find('/') == std::string::npos ? "" : line.substr(line.find('/'));
  }
  return "";
}

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// A bundle of three models in a folder, and what its first model holds.
struct Saved {
  check::Folder folder;
  fs::path path = folder / "bundle";
  fs::path weights = path / "clusters/0.safetensors";
  Bundle bundle = shop::bundle(1);
  Values values = bundle.clusters[0].model->download();

  Saved() { save_bundle(path, bundle); }
  std::shared_ptr<Model> load(const check::DevicePtr& device = open_device("cpu")) const {
    return BundleReader(path).load(0, device);
  }
};

Sessions visits(std::int64_t products) {
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> offsets{0};
  for (std::int64_t s = 0; s < 50; ++s) {
    for (std::int64_t i = 0; i < 4; ++i) items.push_back(static_cast<std::int32_t>((s * 7 + i * 3) % products));
    offsets.push_back(static_cast<std::int64_t>(items.size()));
  }
  return Sessions(items, offsets);
}

Catalog numbered(std::int64_t products) {
  Catalog catalog;
  for (std::int64_t id = 0; id < products; ++id) catalog.add(id);
  return catalog;
}

void train_on(Model& model) {
  TrainConfig config;
  config.epochs = 2;
  config.batch_size = 16;
  train(model, visits(model.V()), config, {});
}

}  // namespace

TEST_CASE("a mapped file is what it was, whoever writes to its bytes, replaces it or deletes it") {
  const check::Folder folder;
  const auto path = folder / "file";
  const std::string text = std::string(10'000, 'x') + "end";
  write_file(path, [&](std::ostream& out) { out << text; });
  const MappedFile one(path), other(path);
  CHECK(text_of(one) == text);
  CHECK(fs::equivalent(file_at(one.bytes().data()), path));
  one.bytes()[0] = std::byte{'!'};
  CHECK(text_of(one) == "!" + text.substr(1));
  CHECK(text_of(other) == text);
  CHECK(read_file(path) == text);
  write_file(path, [](std::ostream& out) { out << "new"; });
  CHECK(text_of(other) == text);
  CHECK(text_of(MappedFile(path)) == "new");
  fs::remove(path);
  CHECK(text_of(other) == text);
}

TEST_CASE("what cannot be mapped is refused by the name that the caller gave") {
  const check::Folder folder;
  write_file(folder / "empty", [](std::ostream&) {});
  CHECK(MappedFile(folder / "empty").bytes().empty());
  CHECK_THROWS_WITH_AS(Safetensors(folder / "empty"), doctest::Contains("0 bytes are too few"), std::runtime_error);
  const auto refused = [](const fs::path& path, const char* why) {
    CHECK_THROWS_WITH_AS(MappedFile(path, "its name"), doctest::Contains(why), std::runtime_error);
    CHECK_THROWS_WITH_AS(Safetensors(path, "its name"), doctest::Contains(why), std::runtime_error);
  };
  refused(folder.path(), "cannot read its name: it is a directory");
  refused(folder / "none", "cannot read its name: No such file");
  refused("/dev/null", "cannot read its name: it is no regular file");
}

TEST_CASE("memory that an array keeps is let go when it grows, and not before") {
  const auto device = open_device("cpu");
  auto values = std::make_shared<std::array<float, 4>>(std::array<float, 4>{1, 2, 3, 4});
  const std::weak_ptr<std::array<float, 4>> kept = values;
  float* const memory = values->data();
  Array<float> array(device, std::shared_ptr<float>(std::move(values), memory), 4);
  CHECK(array.data() == memory);
  CHECK(array.download() == std::vector<float>{1, 2, 3, 4});
  array.upload(std::vector<float>{5, 6});
  CHECK(array.data() == memory);
  CHECK(array.download() == std::vector<float>{5, 6});
  Array<float> moved = std::move(array);
  CHECK(array.empty());
  CHECK(!kept.expired());
  moved.resize(5);
  CHECK(kept.expired());
  CHECK(moved.download() == std::vector<float>(5));
  moved = Array<float>(device, std::make_shared<float>(1.0f), 1);
  CHECK(moved.download() == std::vector<float>{1});
}

TEST_CASE("the item table of a loaded model stays in its file where the device reads it there") {
  const Saved saved;
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const auto model = saved.load(device);
    CHECK(model->download() == saved.values);
    const std::string file = file_at(model->weights().items.data());
    CHECK((file == saved.weights.string()) == device->reads_host_memory());
  }
}

TEST_CASE("models of one file do not see each other's writes, and the file sees none") {
  const Saved saved;
  const std::string file = read_file(saved.weights);
  const auto one = saved.load(), other = saved.load();
  Values values = saved.values;
  for (float& value : values.at("items")) value += 1;
  one->upload(values);
  CHECK(one->download() == values);
  CHECK(other->download() == saved.values);
  train_on(*other);
  CHECK(one->download() == values);
  CHECK(saved.load()->download() == saved.values);
  CHECK(read_file(saved.weights) == file);
}

TEST_CASE("a model in its file is trained, saved over that file and resized like any other") {
  const Saved saved;
  for (const auto& device : check::devices()) {
    CAPTURE(device->name());
    const Model& original = *saved.bundle.clusters[0].model;
    Model expected(original.config(), original.V(), device);
    expected.upload(saved.values);
    train_on(expected);
    REQUIRE(expected.download() != saved.values);

    save_bundle(saved.path, saved.bundle);
    Bundle loaded = load_bundle(saved.path, device);
    save_bundle(saved.path, loaded);
    CHECK(saved.load()->download() == saved.values);
    train_on(*loaded.clusters[0].model);
    CHECK(loaded.clusters[0].model->download() == expected.download());
    save_bundle(saved.path, loaded);
    CHECK(loaded.clusters[0].model->download() == expected.download());
    CHECK(saved.load()->download() == expected.download());

    Array<float>& items = loaded.clusters[0].model->weights().items;
    items.resize(items.size() + 1);
    CHECK(items.download() == std::vector<float>(static_cast<std::size_t>(items.size())));
    CHECK(saved.load()->download() == expected.download());
  }
}

TEST_CASE("a model goes on when its bundle is replaced or deleted") {
  const Saved saved;
  const auto model = saved.load();
  save_bundle(saved.path, shop::bundle(2));
  CHECK(model->download() == saved.values);
  const auto newer = saved.load();
  const Values other = shop::bundle(2).clusters[0].model->download();
  CHECK(newer->download() == other);
  fs::remove_all(saved.path);
  CHECK(model->download() == saved.values);
  CHECK(newer->download() == other);
  train_on(*model);
  CHECK(model->download() != saved.values);
  save_bundle(saved.path, bundle_of(newer, numbered(newer->V()), std::vector<std::int64_t>(newer->V())));
  CHECK(saved.load()->download() == other);
}
