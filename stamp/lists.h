// Lists of products, and sums by product: what baselines and successors are made of.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "stamp/safetensors.h"
#include "stamp/sessions.h"

namespace stamp {

// The products that a history leads to, and their scores; no product stands twice. Of equal scores the one that stands
// first is better.
struct ScoredProducts {
  std::span<const std::int32_t> rows = {};
  std::span<const float> scores = {};
  bool sorted = false;  // best first, and good as long as the baseline is; else until the scratch is used again
};

// Positions of the n largest scores, best first, of equal ones the first; all where there are fewer.
STAMP_API void find_best(std::span<const float> scores, std::int64_t n, std::vector<std::int32_t>& positions);

// Sums by product; those that were added to, in the order in which they first were.
class STAMP_API Scores {
 public:
  explicit Scores(std::int64_t V) : sums_(static_cast<std::size_t>(V)), known_(static_cast<std::size_t>(V)) {}

  void add(std::int32_t row, double value) {
    if (!known_[row]) {
      known_[row] = 1;
      sums_[row] = 0;
      rows_.push_back(row);
    }
    sums_[row] += value;
  }
  const std::vector<std::int32_t>& rows() const { return rows_; }
  double operator[](std::int32_t row) const { return sums_[row]; }
  // Good until the next call.
  ScoredProducts products();
  void clear();

 private:
  std::vector<double> sums_;  // a float stops growing by 0.1 at 2^21
  std::vector<std::uint8_t> known_;
  std::vector<std::int32_t> rows_;
  std::vector<float> scores_;
};

// Lists of numbers, one for each key, laid end to end.
struct STAMP_API Lists {
  std::vector<std::int64_t> offsets{0};  // [keys+1]
  std::vector<std::int32_t> values;

  std::int64_t size() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  std::span<const std::int32_t> operator[](std::int64_t key) const {
    return std::span(values).subspan(static_cast<std::size_t>(offsets[key]),
                                     static_cast<std::size_t>(offsets[key + 1] - offsets[key]));
  }
  void end_list() { offsets.push_back(static_cast<std::int64_t>(values.size())); }

  // As tensors `<name>.offsets` I64 [keys+1] and `<name>.values` I32.
  void save(std::map<std::string, TensorSource>& tensors, const std::string& name) const;
  // Throws std::invalid_argument unless there are `keys` lists (-1: any number) of values of 0 … limit-1.
  static Lists from(const Safetensors& file, const std::string& name, std::int64_t keys, std::int64_t limit);
};

// Of each session its products, each once, in the order in which they first come; those outside 0 … V-1 are left out.
STAMP_API Lists distinct_products(const Sessions& sessions, std::int64_t V);
// Of each value 0 … limit-1 the keys that list it, ascending.
STAMP_API Lists inverted(const Lists& lists, std::int64_t limit);
// Of each product of 0 … V-1, whose rows are `rows` in a catalog of more, what `lists` say of it, in that catalog's
// order of keys.
STAMP_API Lists rekeyed(const Lists& lists, std::span<const std::int32_t> rows, std::int64_t V);
// That rows are of 0 … V-1, no two the same.
STAMP_API void check_rows(std::span<const std::int32_t> rows, std::int64_t V);
// That 32 bits number the sessions.
STAMP_API void check_numbers(const Sessions& sessions);

}  // namespace stamp
