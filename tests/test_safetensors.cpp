// The format of tensors: what is written, and files that are not of it.
#include "tests/bundles.h"

using namespace stamp;

namespace {

std::string safetensors_bytes(const std::string& header, std::size_t data, std::uint64_t claimed) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(claimed >> (8 * i) & 0xff);
  return bytes + header + std::string(data, '\1');
}

std::string safetensors_bytes(const std::string& header, std::size_t data) {
  return safetensors_bytes(header, data, header.size());
}

}  // namespace

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
