// Replay: what a release would have listed at every question of recorded visits, by the code path that serves.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "stamp/release.h"

namespace stamp {

// What a place on a page does not list: nothing, the current product, or all that the visit holds so far.
enum class Exclude { nothing, anchor, seen };
STAMP_API Exclude exclude_from_string(const std::string& name);

// Visits laid end to end, in rows of the release's catalog, and the questions asked within them.
struct ReplayQuestions {
  std::span<const std::int32_t> events;  // Catalog::kUnknown where the catalog lacks a product
  std::span<const std::int64_t> begin;   // [N] question i is asked after events[begin[i]] … events[end[i] - 1],
  std::span<const std::int64_t> end;     // [N] the last of which is the current product

  std::int64_t size() const { return static_cast<std::int64_t>(begin.size()); }
};

// How each question is asked.
struct ReplayOptions {
  std::int64_t k = 20;       // products to list, at most 1000000: every question has room for them
  std::int64_t history = 0;  // as of Query
  Exclude exclude = Exclude::nothing;
  std::string zone = {};
  std::string rules = {};                       // JSON list, or empty
  std::optional<double> value = {}, tail = {};  // as of Query
  std::optional<Objective> objective = {};      // likewise
  bool popular = true;                          // as of Query
  std::int64_t batch = 16384;                   // questions on their way at once, which bounds memory
};

struct ReplayLists {
  std::vector<std::int32_t> items;  // [N,k] rows of the catalog, best first, Catalog::kUnknown after the end
  std::vector<float> scores;        // [N,k] NaN of pins and after the end
};

// Answers all questions, on all cores; the lists do not depend on how many there are, nor on `batch`. progress(done,
// all) says whether to go on, and may be empty; what was not asked stays empty. Throws std::invalid_argument when a
// question lies outside the events, or for options that a query cannot have.
STAMP_API ReplayLists replay(const Release& release, const ReplayQuestions& questions, const ReplayOptions& options,
                             const std::function<bool(std::int64_t, std::int64_t)>& progress = {});

// Seconds of single requests, one for each of the questions `which`, one after the other on the thread that calls.
STAMP_API std::vector<double> time_requests(const Release& release, const ReplayQuestions& questions,
                                            const ReplayOptions& options, std::span<const std::int64_t> which);

}  // namespace stamp
