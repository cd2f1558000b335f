// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four random words from a
// key and a counter, so that every device and every resumed run draws the same numbers.
#pragma once

#include <array>
#include <cstdint>

namespace stamp {

constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0], b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// Four words for element group `index` of stream `step` under `seed`.
constexpr std::array<std::uint32_t, 4> philox(std::uint64_t seed, std::uint64_t step, std::uint64_t index) {
  return philox({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                 static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32)},
                {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
}

// Streams under a model's seed, no two of which draw the same numbers. Those that count do so from theirs on.
namespace streams {
constexpr std::uint64_t at(std::uint64_t number) { return number << 60; }
constexpr std::uint64_t kDropout = at(0);     // + step
constexpr std::uint64_t kHeldOut = at(1);     // sessions that floors are fitted to
constexpr std::uint64_t kShuffle = at(2);     // + epoch
constexpr std::uint64_t kObjectives = at(3);  // + step: preferences
constexpr std::uint64_t kWeights = at(4);     // + tensor: what they begin with
constexpr std::uint64_t kContent = at(5);     // + step: differences that are dropped
}  // namespace streams

// Uniform in (0, 1).
constexpr float uniform(std::uint32_t word) { return (static_cast<float>(word >> 8) + 0.5f) * 0x1p-24f; }

// The shares of n objectives in a preference vector, n at most 3; what they leave is for clicks. Half of all vectors
// are for clicks alone, a quarter for one of the objectives, and a quarter uniform over all ways to divide one: the
// gaps between n numbers in (0, 1).
constexpr std::array<float, 3> preference(const std::array<std::uint32_t, 4>& words, int n) {
  std::array<float, 3> shares{};
  const std::uint32_t kind = words[3] % 4, place = words[3] / 4 % static_cast<std::uint32_t>(n);
  if (kind == 2) shares[place] = 1;
  if (kind != 3) return shares;
  for (int i = 0; i < 3; ++i) shares[i] = i < n ? uniform(words[i]) : 1.0f;
  for (const auto& [low, high] : {std::array{0, 1}, std::array{1, 2}, std::array{0, 1}})
    if (shares[high] < shares[low]) {
      const float end = shares[low];
      shares[low] = shares[high];
      shares[high] = end;
    }
  return {shares[0], shares[1] - shares[0], shares[2] - shares[1]};
}

}  // namespace stamp
