// The model in plain double loops, written from docs/model.md alone: the oracle for every device.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "stamp/model.h"
#include "stamp/philox.h"

namespace reference {

using Vector = std::vector<double>;
using Tensors = std::map<std::string, Vector>;

using Shares = std::vector<std::map<std::int32_t, double>>;  // of each product x, those of what lies beside it

struct Case {
  stamp::Config config;
  std::int64_t V;
  Tensors weights;
  stamp::Batch batch;
  Vector mask;                           // [L,D] factors of dropout, or empty
  Vector d_q;                            // [B,D] gradients of the queries; empty: those of the loss
  std::array<Shares, 2> shares = {};     // t and t₂, for floors of successors
  std::set<std::int64_t> excluded = {};  // products that softmax leaves out
};

// t and t₂ of successors.h, from all pairs of events of the sessions that have an example and are not `left_out`.
inline std::array<Shares, 2> successor_shares(const stamp::Sessions& sessions, std::int64_t V,
                                              const std::set<std::int64_t>& left_out = {}) {
  Shares shares(static_cast<std::size_t>(V)), second(static_cast<std::size_t>(V));
  std::map<std::int32_t, double> clicks;
  const auto known = [V](std::int32_t row) { return row >= 0 && row < V; };
  for (std::int64_t s = 0; s < sessions.size(); ++s) {
    const auto items = sessions.items(s);
    bool example = false;
    for (std::size_t i = 1; i < items.size(); ++i)
      example = example || sessions.is_target(sessions.offsets()[s] + static_cast<std::int64_t>(i));
    if (!example || left_out.contains(s)) continue;
    for (std::int32_t item : items) ++clicks[item];
    for (std::size_t i = 0; i < items.size(); ++i)
      for (std::size_t j = 0; j < items.size(); ++j) {
        const double distance = static_cast<double>(j) - static_cast<double>(i);
        if (!known(items[i]) || !known(items[j]) || items[i] == items[j] || std::abs(distance) > 10) continue;
        const auto event = static_cast<std::size_t>(sessions.offsets()[s]) + j;
        const double weight = sessions.weights().empty() ? 1 : sessions.weights()[event];
        if (weight > 0) shares[items[i]][items[j]] += weight * (distance > 0 ? 1 / distance : -0.5 / distance);
      }
  }
  for (auto& of : shares) {
    double all = 20;
    for (const auto& [row, share] : of) all += share;
    for (auto& [row, share] : of) share /= all;
  }
  for (std::size_t x = 0; x < shares.size(); ++x)
    for (const auto& [y, share] : shares[x])
      for (const auto& [v, on] : shares[y])
        if (v != static_cast<std::int32_t>(x)) second[x][v] += share * on / std::sqrt(clicks[v]);
  return {std::move(shares), std::move(second)};
}

// What dropout multiplies each element of the rows looked up by, [L,D].
inline Vector dropout_mask(const stamp::Config& config, std::int64_t step, std::int64_t L) {
  Vector mask;
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(L * config.dim); ++i) {
    const auto words = stamp::philox(config.seed, stamp::streams::kDropout + static_cast<std::uint64_t>(step), i / 4);
    mask.push_back(stamp::uniform(words[i % 4]) < config.dropout ? 0 : 1 / (1 - double{config.dropout}));
  }
  return mask;
}

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// log(exp(z) + exp(floor)).
inline double raised(double z, double floor) {
  if (std::isinf(z)) return std::max(z, floor);
  return std::max(z, floor) + std::log1p(std::exp(-std::abs(z - floor)));
}

// Scores [B,V] of queries [B,D] and items [V,D].
inline Vector scores_of(std::int64_t B, std::int64_t D, std::int64_t V, const std::vector<float>& q,
                        const Vector& items) {
  Vector z(B * V, 0.0);
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t v = 0; v < V; ++v)
      for (std::int64_t d = 0; d < D; ++d) z[b * V + v] += q[b * D + d] * items[v * D + d];
  return z;
}

// What one example leaves for its backward pass.
struct Trace {
  std::vector<Vector> x, gates;
  Vector mean, a, memory, h_s, h_t, product, q;
};

struct Result {
  double loss = 0;
  Tensors gradients;
  Vector d_rows;               // [L,D] of the rows looked up
  std::vector<Vector> q;       // [B][D]
  std::vector<Vector> scores;  // [B][V]
};

class Network {
 public:
  explicit Network(const Case& c) : c_(c), D_(c.config.dim), items_(c.weights.at("items")) {
    for (const auto& [name, values] : c.weights) result_.gradients[name].assign(values.size(), 0.0);
    result_.d_rows.assign(c.batch.items.size() * D_, 0.0);
  }

  Result run() {
    for (std::int64_t b = 0; b < c_.batch.B(); ++b) example(b);
    return std::move(result_);
  }

 private:
  const Vector& w(const std::string& name) const { return c_.weights.at(name); }
  Vector& g(const std::string& name) { return result_.gradients.at(name); }
  bool has(const std::string& name) const { return c_.weights.count(name) != 0; }

  double item(std::int64_t row, std::int64_t d) const { return items_[row * D_ + d]; }
  double norm(std::int64_t row) const {
    double sum = 0;
    for (std::int64_t d = 0; d < D_; ++d) sum += item(row, d) * item(row, d);
    return std::sqrt(sum);
  }

  Vector apply(const std::string& name, const Vector& x) const {
    const Vector& matrix = w(name);
    Vector y(D_, 0.0);
    for (std::int64_t o = 0; o < D_; ++o)
      for (std::int64_t i = 0; i < D_; ++i) y[o] += matrix[o * D_ + i] * x[i];
    return y;
  }
  // Adds d_W and returns Wᵀ d_y.
  Vector apply_backward(const std::string& name, const Vector& x, const Vector& d_y) {
    const Vector& matrix = w(name);
    Vector& gradient = g(name);
    Vector d_x(D_, 0.0);
    for (std::int64_t o = 0; o < D_; ++o)
      for (std::int64_t i = 0; i < D_; ++i) {
        gradient[o * D_ + i] += d_y[o] * x[i];
        d_x[i] += matrix[o * D_ + i] * d_y[o];
      }
    return d_x;
  }

  double preference(std::int64_t b, std::int64_t k) const {
    const auto K = static_cast<std::int64_t>(c_.config.objectives.size());
    return c_.batch.preferences.empty() ? 0.0 : c_.batch.preferences[b * K + k];
  }
  // The bias of one of attention, mlp_session and mlp_anchor for example b.
  double bias(const std::string& name, std::int64_t b, std::int64_t d) const {
    double sum = has(name + ".bias") ? w(name + ".bias")[d] : 0;
    for (std::size_t k = 0; k < c_.config.objectives.size(); ++k)
      sum += preference(b, static_cast<std::int64_t>(k)) * w(name + ".objectives")[k * D_ + d];
    return sum;
  }
  void bias_backward(const std::string& name, std::int64_t b, const Vector& d_y) {
    for (std::int64_t d = 0; d < D_; ++d) {
      if (has(name + ".bias")) g(name + ".bias")[d] += d_y[d];
      for (std::size_t k = 0; k < c_.config.objectives.size(); ++k)
        g(name + ".objectives")[k * D_ + d] += preference(b, static_cast<std::int64_t>(k)) * d_y[d];
    }
  }

  Vector cell(const std::string& name, std::int64_t b, const Vector& x) const {
    Vector y = apply(name + ".weight", x);
    for (std::int64_t d = 0; d < D_; ++d) y[d] = std::tanh(y[d] + bias(name, b, d));
    return y;
  }
  Vector cell_backward(const std::string& name, std::int64_t b, const Vector& x, const Vector& y, Vector d_y) {
    for (std::int64_t d = 0; d < D_; ++d) d_y[d] *= 1 - y[d] * y[d];
    bias_backward(name, b, d_y);
    return apply_backward(name + ".weight", x, d_y);
  }

  Trace forward(std::int64_t b) const {
    Trace t;
    const std::int64_t begin = c_.batch.begin[b], n = c_.batch.length[b];
    for (std::int64_t i = begin; i < begin + n; ++i) {
      const std::int64_t row = c_.batch.items[i];
      const double length = norm(row), bound = c_.config.max_norm;
      Vector x(D_);
      for (std::int64_t d = 0; d < D_; ++d) {
        x[d] = item(row, d) * (bound > 0 && length > bound ? bound / length : 1);
        if (!c_.mask.empty()) x[d] *= c_.mask[i * D_ + d];
      }
      t.x.push_back(x);
    }
    t.mean.assign(D_, 0.0);
    for (const auto& x : t.x)
      for (std::int64_t d = 0; d < D_; ++d) t.mean[d] += x[d] / static_cast<double>(n);
    const Vector anchor = apply("attention.w2", t.x.back()), mean = apply("attention.w3", t.mean);
    for (const auto& x : t.x) {
      Vector s = apply("attention.w1", x);
      double a = 0;
      for (std::int64_t d = 0; d < D_; ++d) {
        s[d] = sigmoid(s[d] + anchor[d] + mean[d] + bias("attention", b, d));
        a += w("attention.w0")[d] * s[d];
      }
      t.gates.push_back(s);
      t.a.push_back(a);
    }
    if (c_.config.normalization == stamp::Normalization::softmax) {
      double sum = 0;
      for (double a : t.a) sum += std::exp(a);
      for (double& a : t.a) a = std::exp(a) / sum;
    }
    t.memory.assign(D_, 0.0);
    for (std::int64_t d = 0; d < D_; ++d) {
      for (std::int64_t i = 0; i < n; ++i) t.memory[d] += t.a[i] * t.x[i][d];
      if (c_.config.residual == stamp::Residual::mean) t.memory[d] += t.mean[d];
      if (c_.config.residual == stamp::Residual::anchor) t.memory[d] += t.x.back()[d];
    }
    t.h_s = cell("mlp_session", b, t.memory);
    t.h_t = cell("mlp_anchor", b, t.x.back());
    double squared = 0;
    for (std::int64_t d = 0; d < D_; ++d) {
      t.product.push_back(t.h_s[d] * t.h_t[d]);
      squared += t.product[d] * t.product[d];
    }
    t.q = t.product;
    if (c_.config.score == stamp::Score::cosine)
      for (double& q : t.q) q *= squared > 0 ? c_.config.scale / std::sqrt(squared) : 1;
    return t;
  }

  void example(std::int64_t b) {
    const bool cosine = c_.config.score == stamp::Score::cosine;
    const Trace t = forward(b);
    result_.q.push_back(t.q);
    if (!c_.d_q.empty()) return backward(b, t, {c_.d_q.begin() + b * D_, c_.d_q.begin() + (b + 1) * D_});
    Vector z(c_.V, 0.0);
    double top = -1e300;
    for (std::int64_t v = 0; v < c_.V; ++v) {
      for (std::int64_t d = 0; d < D_; ++d) z[v] += t.q[d] * item(v, d) / (cosine ? norm(v) : 1);
      if (!c_.excluded.contains(v)) top = std::max(top, z[v]);
    }
    result_.scores.push_back(z);
    const std::int64_t target = c_.batch.targets[b];
    if (target < 0) return;
    double sum = 0;
    for (std::int64_t v = 0; v < c_.V; ++v)
      if (!c_.excluded.contains(v)) sum += std::exp(z[v] - top);
    const double weight = c_.batch.weights[b];
    result_.loss += weight * (top + std::log(sum) - z[target]);

    Vector d_q(D_, 0.0);
    Vector& d_items = g("items");
    for (std::int64_t v = 0; v < c_.V; ++v) {
      if (c_.excluded.contains(v)) continue;
      const double d_z = weight * (std::exp(z[v] - top) / sum - (v == target));
      const double length = cosine ? norm(v) : 1;
      double along = 0;
      for (std::int64_t d = 0; d < D_; ++d) {
        d_q[d] += d_z * item(v, d) / length;
        along += d_z * t.q[d] * item(v, d) / length;
      }
      for (std::int64_t d = 0; d < D_; ++d)
        d_items[v * D_ + d] += (d_z * t.q[d] - (cosine ? along * item(v, d) / length : 0)) / length;
    }
    backward(b, t, d_q);
  }

  void backward(std::int64_t b, const Trace& t, Vector d_q) {
    const std::int64_t n = c_.batch.length[b];
    if (c_.config.score == stamp::Score::cosine) {
      double squared = 0, along = 0;
      for (std::int64_t d = 0; d < D_; ++d) squared += t.product[d] * t.product[d], along += t.product[d] * d_q[d];
      for (std::int64_t d = 0; d < D_; ++d)  // queries of no length stay zero
        d_q[d] = squared > 0 ? c_.config.scale / std::sqrt(squared) * (d_q[d] - t.product[d] * along / squared) : 0.0;
    }
    Vector d_h_s(D_), d_h_t(D_);
    for (std::int64_t d = 0; d < D_; ++d) d_h_s[d] = d_q[d] * t.h_t[d], d_h_t[d] = d_q[d] * t.h_s[d];
    const Vector d_memory = cell_backward("mlp_session", b, t.memory, t.h_s, d_h_s);
    std::vector<Vector> d_x(n, Vector(D_, 0.0));
    d_x.back() = cell_backward("mlp_anchor", b, t.x.back(), t.h_t, d_h_t);

    Vector d_a(n, 0.0), d_mean(D_, 0.0), d_query(D_, 0.0);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t d = 0; d < D_; ++d) {
        d_a[i] += d_memory[d] * t.x[i][d];
        d_x[i][d] += t.a[i] * d_memory[d];
      }
    if (c_.config.normalization == stamp::Normalization::softmax) {
      double mean = 0;
      for (std::int64_t i = 0; i < n; ++i) mean += t.a[i] * d_a[i];
      for (std::int64_t i = 0; i < n; ++i) d_a[i] = t.a[i] * (d_a[i] - mean);
    }
    for (std::int64_t i = 0; i < n; ++i) {
      Vector u(D_);
      for (std::int64_t d = 0; d < D_; ++d) {
        const double s = t.gates[i][d];
        g("attention.w0")[d] += d_a[i] * s;
        u[d] = d_a[i] * w("attention.w0")[d] * s * (1 - s);
        d_query[d] += u[d];
      }
      const Vector through = apply_backward("attention.w1", t.x[i], u);
      for (std::int64_t d = 0; d < D_; ++d) d_x[i][d] += through[d];
    }
    bias_backward("attention", b, d_query);
    const Vector to_anchor = apply_backward("attention.w2", t.x.back(), d_query);
    const Vector to_mean = apply_backward("attention.w3", t.mean, d_query);
    for (std::int64_t d = 0; d < D_; ++d) {
      d_x.back()[d] += to_anchor[d];
      d_mean[d] += to_mean[d];
      if (c_.config.residual == stamp::Residual::mean) d_mean[d] += d_memory[d];
      if (c_.config.residual == stamp::Residual::anchor) d_x.back()[d] += d_memory[d];
    }
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t at = c_.batch.begin[b] + i, row = c_.batch.items[at];
      const double length = norm(row), bound = c_.config.max_norm;
      double along = 0;
      for (std::int64_t d = 0; d < D_; ++d) {
        d_x[i][d] += d_mean[d] / static_cast<double>(n);
        if (!c_.mask.empty()) d_x[i][d] *= c_.mask[at * D_ + d];
        along += d_x[i][d] * item(row, d);
      }
      for (std::int64_t d = 0; d < D_; ++d) {
        const double d_row = bound > 0 && length > bound
                                 ? bound / length * (d_x[i][d] - item(row, d) * along / (length * length))
                                 : d_x[i][d];
        g("items")[row * D_ + d] += d_row;
        result_.d_rows[at * D_ + d] += d_row;
      }
    }
  }

  const Case& c_;
  const std::int64_t D_;
  const Vector& items_;
  Result result_;
};

inline Result run(const Case& c) { return Network(c).run(); }

// Item rows of attributes: x = c + k δ, c the sum of product v's rows of attributes.
struct ContentTables {
  std::vector<std::vector<std::int32_t>> rows;  // [V] of each product
  Vector attribute_rows, differences;           // [K,D], [V,D]

  std::int64_t V() const { return static_cast<std::int64_t>(rows.size()); }
  std::int64_t D() const { return static_cast<std::int64_t>(differences.size()) / V(); }

  Vector sums() const {
    Vector c(differences.size(), 0.0);
    for (std::int64_t v = 0; v < V(); ++v)
      for (std::int32_t row : rows[v])
        for (std::int64_t d = 0; d < D(); ++d) c[v * D() + d] += attribute_rows[row * D() + d];
    return c;
  }

  // |δ| <= bound |c| of products that have attributes.
  void cut(double bound) {
    const Vector c = sums();
    for (std::int64_t v = 0; v < V(); ++v) {
      double of_c = 0, of_difference = 0;
      for (std::int64_t d = 0; d < D(); ++d) {
        of_c += c[v * D() + d] * c[v * D() + d];
        of_difference += differences[v * D() + d] * differences[v * D() + d];
      }
      if (rows[v].empty() || of_difference <= bound * bound * of_c) continue;
      for (std::int64_t d = 0; d < D(); ++d) differences[v * D() + d] *= bound * std::sqrt(of_c / of_difference);
    }
  }

  Vector items(const std::vector<int>& kept) const {
    Vector x = sums();
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += kept[i / D()] * differences[i];
    return x;
  }

  // Of attribute rows and differences, from the gradients of the items.
  std::pair<Vector, Vector> gradients(const std::vector<int>& kept, const Vector& d_items) const {
    Vector d_rows(attribute_rows.size(), 0.0), d_differences(d_items);
    for (std::int64_t v = 0; v < V(); ++v)
      for (std::int64_t d = 0; d < D(); ++d) {
        for (std::int32_t row : rows[v]) d_rows[row * D() + d] += d_items[v * D() + d];
        d_differences[v * D() + d] *= kept[v];
      }
    return {d_rows, d_differences};
  }
};

// k: 0 where the step drops a product's difference, else 1, [V].
inline std::vector<int> kept_differences(const ContentTables& tables, double rate, std::uint64_t seed,
                                         std::int64_t step) {
  std::vector<int> kept;
  for (std::int64_t v = 0; v < tables.V(); ++v) {
    const std::uint64_t stream = stamp::streams::kContent + static_cast<std::uint64_t>(step);
    const auto words = stamp::philox(seed, stream, static_cast<std::uint64_t>(v / 4));
    kept.push_back(tables.rows[v].empty() || stamp::uniform(words[v % 4]) >= rate);
  }
  return kept;
}

// The kind of a product of a history (repeats.h).
inline std::size_t kind_of(std::span<const std::int32_t> history, std::int32_t row) {
  const auto came_before = [&](std::size_t event) {
    return std::find(history.begin(), history.begin() + event, history[event]) != history.begin() + event;
  };
  const std::size_t events = history.size();
  std::size_t twice = 0;
  for (std::size_t event = 0; event < events; ++event) twice += came_before(event);
  if (twice == 0) return events > 2;
  const bool often = std::count(history.begin(), history.end(), row) > 1;
  return 2 + often + 2 * came_before(events - 1) + 4 * came_before(events - 2);
}

// What each reason but its score says of example b's products (floors.h), before floors: for each kind and distance
// that repeats have a floor for 1 of the products of that, and then for each of successors the shares of that event's,
// in one step and then in two.
inline std::vector<std::map<std::int32_t, double>> reasons(const Case& c, std::int64_t b) {
  std::vector<std::map<std::int32_t, double>> found;
  const auto number = [&](const char* name) {
    const auto floors = c.weights.find(name);
    return floors == c.weights.end() ? std::size_t{0} : floors->second.size() / (1 + c.config.objectives.size());
  };
  const std::size_t repeats = number("repeat.floors"), successors = number("successor.floors"),
                    distances = repeats / 10;
  found.resize(repeats + successors);
  std::set<std::int32_t> seen;
  const auto history = std::span(c.batch.items).subspan(c.batch.begin[b], c.batch.length[b]);
  for (std::size_t ago = 0; ago < history.size(); ++ago) {
    const std::int32_t row = history[history.size() - 1 - ago];
    if (repeats > 0 && seen.insert(row).second)
      found[kind_of(history, row) * distances + std::min(ago, distances - 1)][row] = 1;
    if (successors == 0) continue;
    const auto in_one = static_cast<std::size_t>(c.config.successor_floors);
    if (ago < in_one) found[repeats + ago] = c.shares[0][row];
    if (in_one + ago < successors) found[repeats + in_one + ago] = c.shares[1][row];
  }
  return found;
}

// The floors of one kind for example b: those of each objective, mixed by its preferences.
inline Vector mixed_floors(const Case& c, std::int64_t b, const Vector& floors) {
  const std::size_t K = c.config.objectives.size(), n = floors.size() / (1 + K);
  Vector mixed;
  for (std::size_t i = 0; i < n; ++i) {
    double sum = 0, left = 1;
    for (std::size_t k = 0; k < K; ++k) {
      const double share = c.batch.preferences.empty() ? 0.0 : c.batch.preferences[b * K + k];
      sum += share * std::exp(floors[(1 + k) * n + i]);
      left -= share;
    }
    mixed.push_back(std::log(sum + left * std::exp(floors[i])));
  }
  return mixed;
}

// The scores that example b's products are listed by: those of run(), raised to the floors that its history gives.
inline Vector listed_scores(const Case& c, std::int64_t b) {
  Vector z = run(c).scores[b], floors;
  for (const char* name : {"repeat.floors", "successor.floors"})
    if (const auto found = c.weights.find(name); found != c.weights.end()) {
      const Vector mixed = mixed_floors(c, b, found->second);
      floors.insert(floors.end(), mixed.begin(), mixed.end());
    }
  const auto found = reasons(c, b);
  for (std::size_t reason = 0; reason < found.size(); ++reason)
    for (const auto& [row, share] : found[reason])
      if (floors[reason] > -1e30) z[row] = raised(z[row], floors[reason] + std::log(share));
  return z;
}

}  // namespace reference
