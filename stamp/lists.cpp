#include "stamp/lists.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace stamp {

void find_best(std::span<const float> scores, std::int64_t n, std::vector<std::int32_t>& positions) {
  positions.resize(scores.size());
  std::iota(positions.begin(), positions.end(), 0);
  const auto size = std::min(n, static_cast<std::int64_t>(positions.size()));
  std::partial_sort(positions.begin(), positions.begin() + size, positions.end(), [&](std::int32_t a, std::int32_t b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  });
  positions.resize(static_cast<std::size_t>(size));
}

ScoredProducts Scores::products() {
  scores_.clear();
  for (std::int32_t row : rows_) scores_.push_back(static_cast<float>(sums_[row]));
  return {.rows = rows_, .scores = scores_};
}

void Scores::clear() {
  for (std::int32_t row : rows_) known_[row] = 0;
  rows_.clear();
}

void Lists::save(std::map<std::string, TensorSource>& tensors, const std::string& name) const {
  tensors.insert_or_assign(name + ".offsets",
                           TensorSource({DType::i64, {static_cast<std::int64_t>(offsets.size())}}, offsets.data()));
  tensors.insert_or_assign(name + ".values",
                           TensorSource({DType::i32, {static_cast<std::int64_t>(values.size())}}, values.data()));
}

Lists Lists::from(const Safetensors& file, const std::string& name, std::int64_t keys, std::int64_t limit) {
  Lists lists;
  const auto offsets = file.i64(name + ".offsets");
  const auto count = offsets.empty() ? 0 : offsets.back();
  const auto values = file.i32(name + ".values", {count});
  require(!offsets.empty() && offsets.front() == 0 && std::is_sorted(offsets.begin(), offsets.end()), name,
          ".offsets do not rise from 0");
  lists.offsets.assign(offsets.begin(), offsets.end());
  lists.values.assign(values.begin(), values.end());
  require(keys < 0 || lists.size() == keys, name, " has ", lists.size(), " lists, expected ", keys);
  for (std::int32_t value : lists.values)
    require(value >= 0 && value < limit, name, ".values hold ", value, ", expected 0 to ", limit - 1);
  return lists;
}

Lists distinct_products(const Sessions& sessions, std::int64_t V) {
  Lists lists;
  lists.offsets.reserve(static_cast<std::size_t>(sessions.size() + 1));
  std::vector<std::int64_t> last(static_cast<std::size_t>(V), -1);  // session in which a product was seen last
  for (std::int64_t s = 0; s < sessions.size(); ++s) {
    for (std::int32_t item : sessions.items(s)) {
      if (item < 0 || item >= V || last[item] == s) continue;
      last[item] = s;
      lists.values.push_back(item);
    }
    lists.end_list();
  }
  return lists;
}

Lists inverted(const Lists& lists, std::int64_t limit) {
  Lists result;
  result.offsets.assign(static_cast<std::size_t>(limit + 1), 0);
  for (std::int32_t value : lists.values) ++result.offsets[value + 1];
  std::partial_sum(result.offsets.begin(), result.offsets.end(), result.offsets.begin());
  result.values.resize(lists.values.size());
  auto next = result.offsets;
  for (std::int64_t key = 0; key < lists.size(); ++key)
    for (std::int32_t value : lists[key]) result.values[next[value]++] = static_cast<std::int32_t>(key);
  return result;
}

Lists rekeyed(const Lists& lists, std::span<const std::int32_t> rows, std::int64_t V) {
  std::vector<std::int64_t> key(static_cast<std::size_t>(V), -1);
  for (std::size_t v = 0; v < rows.size(); ++v) key[rows[v]] = static_cast<std::int64_t>(v);
  Lists result;
  result.values.reserve(lists.values.size());
  for (std::int64_t row = 0; row < V; ++row) {
    if (key[row] >= 0) result.values.insert(result.values.end(), lists[key[row]].begin(), lists[key[row]].end());
    result.end_list();
  }
  return result;
}

void check_rows(std::span<const std::int32_t> rows, std::int64_t V) {
  std::vector<bool> taken(static_cast<std::size_t>(V));
  for (std::int32_t row : rows) {
    require(row >= 0 && row < V, "rows hold ", row, ", expected 0 to ", V - 1);
    require(!taken[row], "row ", row, " stands twice");
    taken[row] = true;
  }
}

void check_numbers(const Sessions& sessions) {
  require(sessions.size() <= std::numeric_limits<std::int32_t>::max(), "fit: ", sessions.size(),
          " sessions, expected fewer than 2^31");
}

}  // namespace stamp
