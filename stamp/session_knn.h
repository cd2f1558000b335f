// Session kNN: products of the past sessions that are most like the current one (VS-kNN, VMIS-kNN).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "stamp/baselines.h"

namespace stamp {

enum class SessionSimilarity { dot, cosine };
enum class Idf { none, multiply, add };

// s is the current session of n events, its last `history` ones; w(x) the weight of product x in it by the position p
// of its last event: 1 (same), p/n (div), 1 - (n-p)/10 or 0 (linear), 1/log10(n-p+1.7) (log), (p/n)² (quadratic).
struct STAMP_API SessionKnnOptions {
  std::int64_t neighbours = 100;  // sessions that score
  std::int64_t sample = 1000;     // most recent sessions that share a product with s, to choose them from; 0: all
  // Of s and a session h: the sum of w(x) over the products of both, over the number of products of s (dot), or over
  // the root of those of s times those of h (cosine).
  SessionSimilarity similarity = SessionSimilarity::dot;
  Decay weighting = Decay::div;
  // A neighbour gives each of its products its similarity · decayed(score_weighting, i), the last product that it
  // shares with s being the i-th event from the end of s.
  Decay score_weighting = Decay::div;
  // times ln(N/m) of the product, of N sessions and m that hold it (multiply), or 1 + idf_weight · ln(N/m) (add).
  Idf idf = Idf::none;
  double idf_weight = 1;
  std::int64_t history = 0;  // events read; 0: all
  bool remind = true;        // whether products of s are listed too

  // "vs-knn", the default, or "vmis-knn": docs/baselines.md has the sources.
  static SessionKnnOptions preset(const std::string& name);
  void validate() const;
};

// Sessions are recent by their order. Keeps of each product the `sample` most recent sessions and of these the
// products: exact all the same.
STAMP_API std::shared_ptr<const Baseline> fit_session_knn(const Sessions& sessions, std::int64_t V,
                                                          const SessionKnnOptions& options = {});

STAMP_API std::string to_json(const SessionKnnOptions& options);
STAMP_API SessionKnnOptions session_knn_options_from_json(const std::string& json);

STAMP_API std::shared_ptr<const Baseline> read_session_knn(const Safetensors& file, std::int64_t V,
                                                           const std::string& options);

}  // namespace stamp
