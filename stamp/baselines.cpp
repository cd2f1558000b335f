#include "stamp/baselines.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "kernels/cpu/thread_pool.h"
#include "stamp/item_rules.h"
#include "stamp/pool.h"
#include "stamp/popularity.h"
#include "stamp/session_knn.h"

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

float decayed(Decay decay, std::int64_t distance) {
  const auto i = static_cast<double>(distance);
  switch (decay) {
    case Decay::same:
      return 1;
    case Decay::div:
      return static_cast<float>(1 / i);
    case Decay::linear:
      return static_cast<float>(distance < 10 ? 1 - i / 10 : 0);
    case Decay::log:
      return static_cast<float>(1 / std::log10(i + 1.7));
    default:
      return static_cast<float>(1 / (i * i));
  }
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

void check_moved(std::span<const std::int32_t> rows, std::int64_t products, std::int64_t V) {
  require(static_cast<std::int64_t>(rows.size()) == products, "in_catalog: rows of ", rows.size(),
          " products, expected ", products);
  check_rows(rows, V);
}

void check_numbers(const Sessions& sessions) {
  require(sessions.size() <= std::numeric_limits<std::int32_t>::max(), "fit: ", sessions.size(),
          " sessions, expected fewer than 2^31");
}

void save_baseline(const std::filesystem::path& path, const Baseline& baseline) {
  write_safetensors(
      path, baseline.tensors(),
      {{"kind", baseline.kind()}, {"products", std::to_string(baseline.V())}, {"options", baseline.options()}});
}

std::shared_ptr<const Baseline> load_baseline(const std::filesystem::path& path, const std::string& name) {
  const std::string named = name.empty() ? path.string() : name;
  const Safetensors file(path, named);
  const auto key = [&](const char* of) {
    const auto found = file.metadata().find(of);
    if (found == file.metadata().end()) fail("load_baseline: ", named, " has no '", of, "' in its metadata");
    return found->second;
  };
  const std::string kind = key("kind"), options = key("options"), products = key("products");
  const bool natural = !products.empty() && products.size() <= 10 &&
                       std::all_of(products.begin(), products.end(), [](char c) { return c >= '0' && c <= '9'; });
  const std::int64_t V = natural ? std::stoll(products) : -1;
  if (V < 0 || V > std::numeric_limits<std::int32_t>::max())
    fail("load_baseline: ", named, " has '", products, "' products");
  try {
    if (kind == "popularity") return read_popularity(file, V, options);
    if (kind == "session_popularity") return read_session_popularity(file, V, options);
    if (kind == "session_knn") return read_session_knn(file, V, options);
    if (kind == "association_rules" || kind == "sequential_rules" || kind == "item_knn")
      return read_item_rules(file, V, kind, options);
  } catch (const std::invalid_argument& error) {
    fail("load_baseline: ", named, ": ", error.what());
  }
  fail("load_baseline: ", named, " holds a '", kind, "', which this library does not know");
}

namespace {

class BaselineRanker final : public Ranker {
 public:
  explicit BaselineRanker(std::shared_ptr<const Baseline> baseline) : baseline_(std::move(baseline)) {}

  std::int64_t V() const override { return baseline_->V(); }
  bool needs_history() const override { return baseline_->needs_history(); }

  void rank(const Batch& batch, std::int64_t k, Ranking& ranking) override {
    ranking.ids.assign(static_cast<std::size_t>(batch.B() * k), -1);
    ranking.above.assign(static_cast<std::size_t>(batch.B()), V());
    ranking.tied.assign(static_cast<std::size_t>(batch.B()), 0);
    constexpr std::int64_t kGrain = 16;
    cpu::parallel_for_ranges(batch.B(), kGrain, 0, [&](std::int64_t first, std::int64_t last) {
      auto room =
          rooms_.take([&] { return std::make_unique<Room>(Room{.scratch = baseline_->scratch(), .best = {}}); });
      for (std::int64_t b = first; b < last; ++b) {
        const auto history = std::span(batch.items).subspan(batch.begin[b], batch.length[b]);
        rank(baseline_->score(history, *room->scratch), batch.targets[b], std::span(ranking.ids).subspan(b * k, k),
             ranking.above[b], ranking.tied[b], room->best);
      }
      rooms_.give_back(std::move(room));
    });
  }

 private:
  struct Room {
    std::unique_ptr<Baseline::Scratch> scratch;
    std::vector<std::int32_t> best;
  };

  void rank(const ScoredProducts& scored, std::int32_t target, std::span<std::int32_t> ids, std::int64_t& above,
            std::int64_t& tied, std::vector<std::int32_t>& best) const {
    const auto listed = std::min(ids.size(), scored.rows.size());
    if (scored.sorted) {
      std::copy_n(scored.rows.begin(), listed, ids.begin());
    } else {
      find_best(scored.scores, static_cast<std::int64_t>(listed), best);
      for (std::size_t i = 0; i < listed; ++i) ids[i] = scored.rows[best[i]];
    }
    const auto found = std::find(scored.rows.begin(), scored.rows.end(), target);
    if (found == scored.rows.end()) return;
    const float score = scored.scores[found - scored.rows.begin()];
    if (scored.sorted) {
      const auto [first, last] =
          std::equal_range(scored.scores.begin(), scored.scores.end(), score, std::greater<float>());
      above = first - scored.scores.begin();
      tied = last - first - 1;
      return;
    }
    above = std::count_if(scored.scores.begin(), scored.scores.end(), [&](float other) { return other > score; });
    tied = std::count(scored.scores.begin(), scored.scores.end(), score) - 1;
  }

  std::shared_ptr<const Baseline> baseline_;
  Pool<Room> rooms_;
};

}  // namespace

std::unique_ptr<Ranker> baseline_ranker(std::shared_ptr<const Baseline> baseline) {
  return std::make_unique<BaselineRanker>(std::move(baseline));
}

}  // namespace stamp
