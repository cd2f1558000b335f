#include "stamp/recommender.h"

#include <algorithm>

namespace stamp {

// What one request needs for itself: a device handle, activations and room for the answer. Kept for the next one.
struct Recommender::Context {
  Context(int threads, const Model& model)
      : device(open_device(model.device()->name(), {threads, model.device()->precision()})),
        activations(device),
        device_excluded(device, 0),
        device_exclusion(device, 0),
        gathered(device, 0),
        packed(device, 0),
        rows(device, 0),
        ids(device, 0),
        scores(device, 0) {}

  std::shared_ptr<Device> device;
  Activations activations;
  Batch batch;
  std::vector<std::uint64_t> excluded;  // a bit set for each request that excludes
  std::vector<std::int32_t> exclusion;  // which is whose
  std::vector<std::int32_t> known, choice;
  std::vector<std::int32_t> listed;  // ids and scores, on the host
  std::vector<float> listed_scores;
  Array<std::uint64_t> device_excluded;
  Array<std::int32_t> device_exclusion;
  Array<float> gathered, packed;  // the rows of an allow-list
  Array<std::int32_t> rows;
  Array<std::int32_t> ids;  // [B,k]
  Array<float> scores;      // [B,k]
};

namespace {

void check_row(std::int32_t row, std::int64_t V, const char* where) {
  require(row >= Catalog::kUnknown && row < V, "recommend: ", where, " holds row ", row, ", expected below ", V);
}

bool nothing_known(const Request& request) {
  return std::all_of(request.items.begin(), request.items.end(), [](auto row) { return row == Catalog::kUnknown; });
}

}  // namespace

Recommender::Recommender(std::shared_ptr<const Model> shared) : model_(std::move(shared)) {
  const Model& model = *model_;
  packed_ = Array<float>(model.device(), model.device()->packed_size(model.V(), model.config().dim));
  model.device()->pack_items(model.V(), model.config().dim, model.weights().items.data(),
                             model.config().score == Score::cosine, packed_.data());
  model.device()->synchronize();  // requests read it through handles of their own
}

Recommender::~Recommender() = default;

std::unique_ptr<Recommender::Context> Recommender::borrow(int threads) const {
  auto& idle = threads == 1 ? idle_single_ : idle_parallel_;
  {
    std::lock_guard lock(mutex_);
    if (!idle.empty()) {
      auto context = std::move(idle.back());
      idle.pop_back();
      return context;
    }
  }
  return std::make_unique<Context>(threads, *model_);
}

void Recommender::give_back(std::unique_ptr<Context> context, int threads) const {
  std::lock_guard lock(mutex_);
  (threads == 1 ? idle_single_ : idle_parallel_).push_back(std::move(context));
}

Recommendation Recommender::recommend(const Request& request, std::int64_t k) const {
  require(!nothing_known(request), "recommend: the history has ", request.items.size(),
          " events and no known product; expected one or more (most popular products are an alternative)");
  auto context = borrow(1);
  Recommendation only;
  answer(*context, std::span(&request, 1), k, std::span(&only, 1));
  give_back(std::move(context), 1);
  return only;
}

std::vector<Recommendation> Recommender::recommend(std::span<const Request> requests, std::int64_t k) const {
  constexpr std::size_t kAtOnce = 512;
  std::vector<Recommendation> answers(requests.size());
  auto context = borrow(0);
  for (std::size_t first = 0; first < requests.size(); first += kAtOnce) {
    const std::size_t n = std::min(kAtOnce, requests.size() - first);
    answer(*context, requests.subspan(first, n), k, std::span(answers).subspan(first, n));
  }
  give_back(std::move(context), 0);
  return answers;
}

void Recommender::answer(Context& c, std::span<const Request> requests, std::int64_t k,
                         std::span<Recommendation> answers) const {
  const Model& model = *model_;
  const std::int64_t V = model.V(), D = model.config().dim, history = model.config().history;
  require(k >= 1, "recommend: k is ", k, ", expected 1 or more");
  k = std::min(k, V);

  c.batch.clear();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    c.known.clear();
    for (std::int32_t row : requests[i].items) {
      check_row(row, V, "the history");
      if (row != Catalog::kUnknown) c.known.push_back(row);
    }
    answers[i].unknown = static_cast<std::int64_t>(requests[i].items.size() - c.known.size());
    if (c.known.empty()) c.known.push_back(0);  // keeps its place in the batch; nobody asks for its scores
    const std::size_t used = history > 0 ? std::min<std::size_t>(history, c.known.size()) : c.known.size();
    c.batch.add_history(std::span(c.known).last(used));
  }
  c.activations.upload(c.batch, D);
  model.forward(*c.device, c.activations);

  // Exclusions as bit sets: the scan looks a product up only when its score would enter the list.
  const std::size_t words = static_cast<std::size_t>((V + 63) / 64);
  c.excluded.clear();
  c.exclusion.assign(requests.size(), -1);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].exclude.empty()) continue;
    c.exclusion[i] = static_cast<std::int32_t>(c.excluded.size() / words);
    c.excluded.resize(c.excluded.size() + words);
    for (std::int32_t row : requests[i].exclude) {
      check_row(row, V, "exclude");
      if (row != Catalog::kUnknown) c.excluded[c.excluded.size() - words + row / 64] |= std::uint64_t{1} << (row % 64);
    }
  }
  c.device_excluded.upload(c.excluded);
  c.device_exclusion.upload(c.exclusion);

  // Runs of requests that choose from the whole catalog share its scan; an allow-list is a catalog of its own.
  for (std::size_t i = 0; i < requests.size();) {
    std::size_t end = i + 1;
    if (requests[i].restricted) {
      if (!nothing_known(requests[i])) choose(c, requests[i], i, k, answers[i]);
    } else if (!nothing_known(requests[i])) {
      while (end < requests.size() && !requests[end].restricted && !nothing_known(requests[end])) ++end;
      const std::int64_t B = static_cast<std::int64_t>(end - i);
      top_k(c, i, B, V, k, packed_.data(), c.device_exclusion.data() + i);
      for (std::int64_t b = 0; b < B; ++b) take(c, b, k, nullptr, answers[i + b]);
    }
    i = end;
  }
}

void Recommender::choose(Context& c, const Request& request, std::size_t row, std::int64_t k,
                         Recommendation& answer) const {
  const Model& model = *model_;
  const std::int64_t V = model.V(), D = model.config().dim;
  const std::int64_t words = (V + 63) / 64, exclusion = c.exclusion[row];
  const auto is_excluded = [&](std::int32_t item) {
    return exclusion >= 0 && (c.excluded[exclusion * words + item / 64] >> (item % 64) & 1);
  };
  c.choice.clear();
  for (std::int32_t item : request.only) {
    check_row(item, V, "only");
    if (item != Catalog::kUnknown && !is_excluded(item)) c.choice.push_back(item);
  }
  std::sort(c.choice.begin(), c.choice.end());
  c.choice.erase(std::unique(c.choice.begin(), c.choice.end()), c.choice.end());
  const std::int64_t n = static_cast<std::int64_t>(c.choice.size());
  if (n == 0) return;
  c.rows.upload(c.choice);
  c.gathered.resize(n * D);
  c.packed.resize(c.device->packed_size(n, D));
  c.device->gather_rows(n, D, model.weights().items.data(), c.rows.data(), 0, c.gathered.data());
  c.device->pack_items(n, D, c.gathered.data(), model.config().score == Score::cosine, c.packed.data());
  top_k(c, row, 1, n, k, c.packed.data(), nullptr);
  take(c, 0, k, c.choice.data(), answer);
}

void Recommender::top_k(Context& c, std::size_t first, std::int64_t B, std::int64_t V, std::int64_t k,
                        const float* packed, const std::int32_t* exclusion) const {
  const std::int64_t D = model_->config().dim;
  c.ids.resize(B * k);
  c.scores.resize(B * k);
  c.device->catalog_top_k({.B = B,
                           .D = D,
                           .V = V,
                           .k = k,
                           .queries = c.activations.q.data() + static_cast<std::int64_t>(first) * D,
                           .packed_items = packed,
                           .excluded = c.device_excluded.data(),
                           .exclusion = exclusion,
                           .ids = c.ids.data(),
                           .scores = c.scores.data()});
  c.listed.resize(static_cast<std::size_t>(B * k));
  c.listed_scores.resize(static_cast<std::size_t>(B * k));
  c.device->copy_out(c.listed.data(), c.ids.data(), c.listed.size() * sizeof(std::int32_t));
  c.device->copy_out(c.listed_scores.data(), c.scores.data(), c.listed_scores.size() * sizeof(float));
}

void Recommender::take(const Context& c, std::int64_t b, std::int64_t k, const std::int32_t* choice,
                       Recommendation& answer) const {
  const auto first = c.listed.begin() + b * k, last = std::find(first, first + k, -1);
  const auto scores = c.listed_scores.begin() + b * k;
  answer.items.assign(first, last);
  answer.scores.assign(scores, scores + (last - first));
  if (choice)
    for (auto& id : answer.items) id = choice[id];
}

}  // namespace stamp
