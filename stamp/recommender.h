// What servers call: sessions in, products out.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "stamp/catalog.h"
#include "stamp/model.h"

namespace stamp {

struct Request {
  std::vector<std::int32_t> items;    // history in order of clicks, catalog rows; kUnknown entries are skipped
  std::vector<std::int32_t> exclude;  // rows never to list; kUnknown entries are ignored
  std::vector<std::int32_t> only;     // rows to choose from, when restricted
  bool restricted = false;
};

struct Recommendation {
  std::vector<std::int32_t> items;  // best first, ties by lower row; k, or all there are when fewer remain
  std::vector<float> scores;        // logits
  std::int64_t unknown = 0;         // events of the history that were skipped
};

// Thread-safe. One request stays on the thread that makes it; recommend(requests) uses all cores.
class STAMP_API Recommender {
 public:
  // Copies the item table into the layout that is scanned.
  explicit Recommender(std::shared_ptr<const Model> model);
  ~Recommender();

  const Model& model() const { return *model_; }

  // Throws std::invalid_argument when k < 1, a row is outside the catalog or no known product is in the history.
  Recommendation recommend(const Request& request, std::int64_t k) const;
  // The same for each; a request without a known product gets an empty list.
  std::vector<Recommendation> recommend(std::span<const Request> requests, std::int64_t k) const;

 private:
  struct Context;
  std::unique_ptr<Context> borrow(int threads) const;
  void give_back(std::unique_ptr<Context> context, int threads) const;
  void answer(Context& c, std::span<const Request> requests, std::int64_t k, std::span<Recommendation> answers) const;
  // Request `row` of the batch, among request.only.
  void choose(Context& c, const Request& request, std::size_t row, std::int64_t k, Recommendation& answer) const;
  void top_k(Context& c, std::size_t first, std::int64_t B, std::int64_t V, std::int64_t k, const float* packed,
             const std::int32_t* exclusion) const;
  // Line b of the lists; `choice` names the rows behind the ids of an allow-list.
  void take(const Context& c, std::int64_t b, std::int64_t k, const std::int32_t* choice, Recommendation& answer) const;

  std::shared_ptr<const Model> model_;
  Array<float> packed_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Context>> idle_single_, idle_parallel_;
};

}  // namespace stamp
