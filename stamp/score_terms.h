// What a query adds to the scores of a model beside boosts: for what products are worth, and against popularity
// (docs/rules.md).
//
//   T · α · ln(value_v)  −  T · t · γ · ln(1 + clicks_v)        T, γ: the model's (calibration.h)
//
// A score is T · ln p_v but for what all products share, so lists rank by p_v · value_v^α / ((1 + clicks_v)^γ)^t: with
// α = 1 by the value that is to be expected.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "stamp/rules.h"

namespace stamp {

// How much of each, α and t: 0 for nothing, 1 for all.
struct TermPowers {
  double value = 0, tail = 0;

  bool any() const { return value != 0 || tail != 0; }
  bool operator==(const TermPowers&) const = default;
};

// Throws std::invalid_argument, naming the option, for what is no number from 0 to 1.
STAMP_API void check_power(const char* call, const char* option, double power);

// What every product of one scan is worth, and its popularity, as the logarithms that terms are made of.
class STAMP_API ProductTerms {
 public:
  ProductTerms() = default;  // of scores that no model makes: there is nothing to add
  // clicks: [V] of the whole catalog. values: [candidates], empty where nothing says what products are worth: they are
  // worth the same then. What is no finite number above 0 counts as the least value of a candidate that is one: so no
  // product is listed for a value that nobody knows, and none falls behind all that are worth something.
  ProductTerms(const Candidates& candidates, std::span<const std::int64_t> clicks, std::span<const float> values,
               float temperature, float tail_power);

  bool empty() const { return !log_clicks_; }
  // True: the least value may be another now, which set_least is to find out.
  [[nodiscard]] bool set_value(std::int32_t place, float value);
  // Of all values as they are now. False: it is the same, and nothing has changed.
  bool set_least(std::span<const float> values);
  // In single precision, and never NaN or infinite.
  float of_value(std::int32_t place, const TermPowers& powers) const;
  float of_tail(std::int32_t place, const TermPowers& powers) const;
  float operator()(std::int32_t place, const TermPowers& powers) const {
    return of_value(place, powers) + of_tail(place, powers);
  }
  // row [candidates] += the terms of each.
  void add(const TermPowers& powers, std::span<float> row) const;

 private:
  float log_of(float value) const;
  void set_values(std::span<const float> values, float least);

  float temperature_ = 1, tail_power_ = 1, least_ = 1;
  std::vector<float> log_values_;                              // [n], or empty
  std::shared_ptr<const std::vector<float>> log_clicks_ = {};  // [n] of 1 + clicks; copies share it
};

// The least value that is a finite number above 0; 1 where there is none.
STAMP_API float least_value(std::span<const float> values);

// A row [candidates] that is worked out once and changes in places. Copies share it until then.
class ChangingRow {
 public:
  explicit ChangingRow(std::vector<float> row) : first_(std::make_shared<const std::vector<float>>(std::move(row))) {}

  std::span<const float> row() const { return changed_.empty() ? *first_ : changed_; }
  std::span<const float> first() const { return *first_; }  // as it was made, for as long as there is a copy
  void set(std::int32_t place, float value) {
    if (changed_.empty()) changed_ = *first_;
    changed_[place] = value;
  }
  void set(std::vector<float> row) { changed_ = std::move(row); }

 private:
  std::shared_ptr<const std::vector<float>> first_;
  std::vector<float> changed_;
};

}  // namespace stamp
