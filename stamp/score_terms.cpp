#include "stamp/score_terms.h"

#include <cmath>
#include <limits>
#include <utility>

namespace stamp {

namespace {

bool is_value(float value) { return value > 0 && std::isfinite(value); }

// The factors of ln(value) and ln(1 + clicks).
float value_factor(float temperature, const TermPowers& powers) {
  return static_cast<float>(temperature * powers.value);
}
float tail_factor(float temperature, float tail_power, const TermPowers& powers) {
  return static_cast<float>(-double{temperature} * tail_power * powers.tail);
}

}  // namespace

void check_power(const char* call, const char* option, double power) {
  require(power >= 0 && power <= 1, call, ": ", option, " is ", power, ", expected a number from 0 to 1");
}

ProductTerms::ProductTerms(const Candidates& candidates, std::span<const std::int64_t> clicks,
                           std::span<const float> values, float temperature, float tail_power)
    : temperature_(temperature), tail_power_(tail_power) {
  std::vector<float> log_clicks;
  log_clicks.reserve(candidates.rows().size());
  for (const std::int32_t row : candidates.rows()) log_clicks.push_back(std::log1p(static_cast<float>(clicks[row])));
  log_clicks_ = std::make_shared<const std::vector<float>>(std::move(log_clicks));
  if (!values.empty()) set_values(values, least_value(values));
}

float ProductTerms::log_of(float value) const { return std::log(is_value(value) ? value : least_); }

void ProductTerms::set_values(std::span<const float> values, float least) {
  least_ = least;
  log_values_.clear();
  for (const float value : values) log_values_.push_back(log_of(value));
}

bool ProductTerms::set_value(std::int32_t place, float value) {
  const float before = std::exchange(log_values_[place], log_of(value)), least = std::log(least_);
  return before <= least || log_values_[place] < least;
}

bool ProductTerms::set_least(std::span<const float> values) {
  const float least = least_value(values);
  if (least == least_) return false;
  set_values(values, least);
  return true;
}

float ProductTerms::of_value(std::int32_t place, const TermPowers& powers) const {
  return log_values_.empty() ? 0 : value_factor(temperature_, powers) * log_values_[place];
}

float ProductTerms::of_tail(std::int32_t place, const TermPowers& powers) const {
  return log_clicks_ ? tail_factor(temperature_, tail_power_, powers) * (*log_clicks_)[place] : 0;
}

void ProductTerms::add(const TermPowers& powers, std::span<float> row) const {
  if (empty()) return;
  const float by_value = value_factor(temperature_, powers), by_tail = tail_factor(temperature_, tail_power_, powers);
  const float* clicks = log_clicks_->data();
  const std::size_t n = row.size();
  if (log_values_.empty()) {
    for (std::size_t i = 0; i < n; ++i) row[i] += by_tail * clicks[i];
    return;
  }
  const float* values = log_values_.data();
  for (std::size_t i = 0; i < n; ++i) row[i] += by_value * values[i] + by_tail * clicks[i];
}

float least_value(std::span<const float> values) {
  float least = std::numeric_limits<float>::infinity();
  for (const float value : values)
    if (is_value(value) && value < least) least = value;
  return std::isfinite(least) ? least : 1;
}

}  // namespace stamp
