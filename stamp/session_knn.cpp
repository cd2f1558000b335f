#include "stamp/session_knn.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace stamp {

namespace {

// Of the event at position p = 1 … n of the current session.
float position_weight(Decay weighting, std::int64_t p, std::int64_t n) {
  const auto from_end = static_cast<double>(n - p);
  switch (weighting) {
    case Decay::same:
      return 1;
    case Decay::div:
      return static_cast<float>(static_cast<double>(p) / static_cast<double>(n));
    case Decay::linear:
      return static_cast<float>(std::max(0.0, 1 - from_end / 10));
    case Decay::log:
      return static_cast<float>(1 / std::log10(from_end + 1.7));
    default:
      return static_cast<float>(std::pow(static_cast<double>(p) / static_cast<double>(n), 2));
  }
}

class SessionKnn final : public Baseline {
 public:
  SessionKnn(std::int64_t V, std::string json, const SessionKnnOptions& options, Lists products, Lists sessions_of,
             std::vector<float> factors)
      : Baseline(V, "session_knn", std::move(json)),
        options_(options),
        products_(std::move(products)),
        sessions_of_(std::move(sessions_of)),
        factors_(std::move(factors)) {}

  ScoredProducts score(std::span<const std::int32_t> history, Scratch& scratch) const override {
    auto& room = static_cast<Room&>(scratch);
    const auto length = static_cast<std::int64_t>(history.size());
    if (options_.history > 0 && options_.history < length)
      history = history.last(static_cast<std::size_t>(options_.history));
    open_cursors(history, room);
    find_neighbours(room);
    room.scores.clear();
    for (const Neighbour& neighbour : room.neighbours) {
      const float given = neighbour.similarity * decayed(options_.score_weighting, neighbour.step);
      if (given == 0) continue;
      for (std::int32_t row : products_[neighbour.session])
        if (options_.remind || !room.current[row])
          room.scores.add(row, factors_.empty() ? given : given * factors_[row]);
    }
    for (std::int32_t row : history) room.current[row] = 0;
    return room.scores.products();
  }

  std::unique_ptr<Scratch> scratch() const override { return std::make_unique<Room>(V()); }

  std::map<std::string, TensorSource> tensors() const override {
    std::map<std::string, TensorSource> tensors;
    products_.save(tensors, "products");
    sessions_of_.save(tensors, "sessions");
    if (!factors_.empty()) tensors.insert_or_assign("factors", TensorSource({DType::f32, {V()}}, factors_.data()));
    return tensors;
  }

  std::shared_ptr<const Baseline> in_catalog(std::span<const std::int32_t> rows, std::int64_t products) const override {
    check_moved(rows, V(), products);
    Lists moved = products_;
    for (std::int32_t& row : moved.values) row = rows[row];
    std::vector<float> factors(factors_.empty() ? 0 : static_cast<std::size_t>(products));
    for (std::size_t v = 0; v < factors_.size(); ++v) factors[rows[v]] = factors_[v];
    return std::make_shared<SessionKnn>(products, options(), options_, std::move(moved),
                                        rekeyed(sessions_of_, rows, products), std::move(factors));
  }

 private:
  // The sessions of one product of the current session that were not looked at.
  struct Cursor {
    const std::int32_t *next, *end;  // most recent first
    float weight;
    std::int32_t step;  // of the product's last event, 1 for the current session's last

    // Before another: the heap's top is the most recent session, by its most recent product.
    bool operator<(const Cursor& other) const {
      return *next < *other.next || (*next == *other.next && step > other.step);
    }
  };
  struct Neighbour {
    float similarity;
    std::int32_t session, step;  // of the last product that both share
  };
  struct Room final : Scratch {
    explicit Room(std::int64_t V) : scores(V), current(static_cast<std::size_t>(V)) {}
    Scores scores;
    std::vector<std::uint8_t> current;  // [V] whether the current session holds a product
    std::int64_t distinct = 0;          // products that it holds
    std::vector<Cursor> cursors;
    std::vector<Neighbour> neighbours;
  };

  void open_cursors(std::span<const std::int32_t> history, Room& room) const {
    const auto n = static_cast<std::int64_t>(history.size());
    room.cursors.clear();
    room.distinct = 0;
    for (std::int64_t p = n; p >= 1; --p) {
      const std::int32_t row = history[p - 1];
      if (room.current[row]) continue;
      room.current[row] = 1;
      ++room.distinct;
      const auto sessions = sessions_of_[row];
      const float weight = position_weight(options_.weighting, p, n);
      if (!sessions.empty())
        room.cursors.push_back(
            {sessions.data(), sessions.data() + sessions.size(), weight, static_cast<std::int32_t>(n - p + 1)});
    }
  }

  // Merges the lists from the most recent session on until `sample` sessions are found, then keeps the most similar.
  void find_neighbours(Room& room) const {
    auto& cursors = room.cursors;
    auto& neighbours = room.neighbours;
    const auto sample =
        static_cast<std::size_t>(options_.sample > 0 ? options_.sample : std::numeric_limits<std::int64_t>::max());
    neighbours.clear();
    std::make_heap(cursors.begin(), cursors.end());
    while (!cursors.empty()) {
      const Cursor& top = cursors.front();
      if (neighbours.empty() || neighbours.back().session != *top.next) {
        if (neighbours.size() == sample) break;
        neighbours.push_back({0, *top.next, top.step});
      }
      neighbours.back().similarity += top.weight;
      std::pop_heap(cursors.begin(), cursors.end());
      if (++cursors.back().next == cursors.back().end)
        cursors.pop_back();
      else
        std::push_heap(cursors.begin(), cursors.end());
    }
    const auto distinct = static_cast<float>(room.distinct);
    for (Neighbour& n : neighbours)
      n.similarity /= options_.similarity == SessionSimilarity::dot
                          ? distinct
                          : std::sqrt(distinct * static_cast<float>(products_[n.session].size()));
    // Of equally similar sessions the more recent one.
    const auto closer = [](const Neighbour& a, const Neighbour& b) {
      return a.similarity > b.similarity || (a.similarity == b.similarity && a.session > b.session);
    };
    const auto k = static_cast<std::size_t>(options_.neighbours);
    if (neighbours.size() > k) {
      std::nth_element(neighbours.begin(), neighbours.begin() + static_cast<std::int64_t>(k), neighbours.end(), closer);
      neighbours.resize(k);
    }
    std::sort(neighbours.begin(), neighbours.end(), closer);
  }

  SessionKnnOptions options_;
  Lists products_;              // of each session, oldest session first
  Lists sessions_of_;           // of each product, most recent first
  std::vector<float> factors_;  // [V] by idf, or empty
};

}  // namespace

SessionKnnOptions SessionKnnOptions::preset(const std::string& name) {
  SessionKnnOptions options;
  if (name == "vmis-knn") {
    options.neighbours = 500;
    options.sample = 500;
    options.score_weighting = Decay::linear;
    options.idf = Idf::multiply;
    return options;
  }
  require(name == "vs-knn", "preset is '", name, "', expected vs-knn or vmis-knn");
  return options;
}

void SessionKnnOptions::validate() const {
  require(neighbours >= 1, "neighbours is ", neighbours, ", expected 1 or more");
  require(sample >= 0, "sample is ", sample, ", expected sessions to choose from, or 0 for all");
  require(idf_weight >= 0 && std::isfinite(idf_weight), "idf_weight is ", idf_weight, ", expected 0 or more");
  require(history >= 0, "history is ", history, ", expected events to read, or 0 for all");
}

std::shared_ptr<const Baseline> fit_session_knn(const Sessions& sessions, std::int64_t V,
                                                const SessionKnnOptions& options) {
  options.validate();
  check_numbers(sessions);
  const Lists all = distinct_products(sessions, V);
  const Lists found = inverted(all, V);
  std::vector<float> factors;
  if (options.idf != Idf::none) {
    factors.resize(static_cast<std::size_t>(V));
    for (std::int64_t v = 0; v < V; ++v) {
      if (found[v].empty()) continue;
      const double idf = std::log(static_cast<double>(sessions.size()) / static_cast<double>(found[v].size()));
      factors[v] = static_cast<float>(options.idf == Idf::multiply ? idf : 1 + options.idf_weight * idf);
    }
  }

  // The most recent sessions of each product; those that are among none of them are forgotten.
  Lists recent;
  std::vector<std::int32_t> number(static_cast<std::size_t>(sessions.size()), -1);
  for (std::int64_t v = 0; v < V; ++v) {
    const auto of = found[v];
    const auto kept = options.sample > 0 ? std::min(of.size(), static_cast<std::size_t>(options.sample)) : of.size();
    for (std::size_t i = 0; i < kept; ++i) {
      recent.values.push_back(of[of.size() - 1 - i]);
      number[recent.values.back()] = 0;
    }
    recent.end_list();
  }
  Lists products;
  for (std::int64_t s = 0; s < sessions.size(); ++s) {
    if (number[s] < 0) continue;
    number[s] = static_cast<std::int32_t>(products.size());
    products.values.insert(products.values.end(), all[s].begin(), all[s].end());
    products.end_list();
  }
  for (std::int32_t& session : recent.values) session = number[session];
  return std::make_shared<SessionKnn>(V, to_json(options), options, std::move(products), std::move(recent),
                                      std::move(factors));
}

std::shared_ptr<const Baseline> read_session_knn(const Safetensors& file, std::int64_t V, const std::string& options) {
  const SessionKnnOptions read = session_knn_options_from_json(options);
  Lists products = Lists::from(file, "products", -1, V);
  for (std::int64_t s = 0; s < products.size(); ++s) require(!products[s].empty(), "session ", s, " has no products");
  Lists sessions_of = Lists::from(file, "sessions", V, products.size());
  for (std::int64_t v = 0; v < V; ++v) {
    const auto of = sessions_of[v];
    for (std::size_t i = 1; i < of.size(); ++i) require(of[i] < of[i - 1], "sessions of product ", v, " do not fall");
  }
  std::vector<float> factors;
  if (file.contains("factors")) {
    const auto stored = file.f32("factors", {V});
    factors.assign(stored.begin(), stored.end());
    for (float factor : factors)
      require(factor >= 0 && std::isfinite(factor), "factors hold ", factor, ", expected 0 or more");
  }
  require(factors.empty() == (read.idf == Idf::none), "factors are there without idf, or lack with it");
  return std::make_shared<SessionKnn>(V, options, read, std::move(products), std::move(sessions_of),
                                      std::move(factors));
}

}  // namespace stamp
