#include "stamp/repeats.h"

namespace stamp {

void find_repeats(std::span<const std::int32_t> history, std::vector<Repeat>& repeats) {
  constexpr std::size_t kShort = 2;  // events
  repeats.clear();
  for (std::size_t ago = 0; ago < history.size(); ++ago)
    repeats.push_back({.row = history[history.size() - 1 - ago], .ago = static_cast<std::int32_t>(ago), .kind = 0});
  std::sort(repeats.begin(), repeats.end(),
            [](const Repeat& a, const Repeat& b) { return a.row != b.row ? a.row < b.row : a.ago < b.ago; });

  int last_two = 0;  // bits: the anchor and the event before it, where they had come before
  std::size_t products = 0;
  for (std::size_t first = 0, last; first < repeats.size(); first = last) {
    last = first + 1;
    for (; last < repeats.size() && repeats[last].row == repeats[first].row; ++last)
      if (const std::int32_t ago = repeats[last - 1].ago; ago < 2) last_two |= 1 << ago;
    repeats[products] = repeats[first];
    repeats[products++].kind = last - first > 1;
  }
  repeats.resize(products);
  const int kind = products == history.size() ? history.size() > kShort : 2 + 2 * last_two;
  for (Repeat& repeat : repeats) repeat.kind += kind;
}

std::vector<float> for_every_kind(std::span<const float> distances) {
  std::vector<float> floors;
  for (std::int64_t kind = 0; kind < Repeat::kKinds; ++kind)
    floors.insert(floors.end(), distances.begin(), distances.end());
  return floors;
}

}  // namespace stamp
