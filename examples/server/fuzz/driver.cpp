// Runs a fuzz target without libFuzzer: over its seeds, and over as many mutations of them as are asked for, the same
// every time. fuzz_X FOLDER RUNS
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <vector>

#include "fuzz.h"

namespace {

// clang-format off
constexpr std::string_view kTokens[] = {
    "{", "}", "[", "]", "\"", ",", ":", "null", "true", "-1", "1e308", std::string_view("\0", 1), "\xff", "\\u0000", "\r\n",
    "\\udc00", "\"\"", "00000", "9223372036854775808"};
// clang-format on

void mutate(std::string& bytes, const std::vector<std::string>& seeds, std::mt19937_64& random) {
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % std::max<std::size_t>(n, 1)); };
  for (std::size_t n = 1 + below(4); n > 0; --n) {
    const std::size_t at = below(bytes.size() + 1), length = below(std::min<std::size_t>(bytes.size() - at, 16) + 1);
    const std::string& other = seeds[below(seeds.size())];
    switch (below(6)) {
      case 0:
        bytes.erase(at, length);
        break;
      case 1:
        bytes.insert(at, kTokens[below(std::size(kTokens))]);
        break;
      case 2:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 3:
        bytes.replace(at, length, other.substr(below(other.size() + 1), below(32)));
        break;
      case 4:
        bytes.resize(at);
        break;
      default:
        if (at < bytes.size()) bytes[at] = static_cast<char>(random());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "FOLDER RUNS are expected\n", 2;
  std::vector<std::filesystem::path> files(std::filesystem::directory_iterator(argv[1]), {});
  std::ranges::sort(files);
  std::vector<std::string> seeds;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  if (seeds.empty()) return std::cerr << argv[1] << " has no seeds\n", 2;
  const auto run = [](const std::string& bytes) {
    const std::vector<std::uint8_t> exact(bytes.begin(), bytes.end());  // AddressSanitizer sees its end
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
  };
  for (const std::string& seed : seeds) run(seed);
  std::mt19937_64 random(1);
  const long runs = std::atol(argv[2]);
  for (long i = 0; i < runs; ++i) {
    std::string bytes = seeds[random() % seeds.size()];
    mutate(bytes, seeds, random);
    run(bytes);
  }
  std::cout << seeds.size() << " seeds and " << runs << " mutations\n";
}
