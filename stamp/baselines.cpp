#include "stamp/baselines.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/cpu/thread_pool.h"
#include "stamp/item_rules.h"
#include "stamp/pool.h"
#include "stamp/popularity.h"
#include "stamp/session_knn.h"

namespace stamp {

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

void check_moved(std::span<const std::int32_t> rows, std::int64_t products, std::int64_t V) {
  require(static_cast<std::int64_t>(rows.size()) == products, "in_catalog: rows of ", rows.size(),
          " products, expected ", products);
  check_rows(rows, V);
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
