#include "stamp/replay.h"

#include <algorithm>
#include <chrono>
#include <limits>

namespace stamp {

namespace {

constexpr std::int64_t kMostListed = 1'000'000;

void check(const ReplayQuestions& questions, const ReplayOptions& options) {
  require(options.k >= 1 && options.k <= kMostListed, "replay: k is ", options.k, ", expected 1 to ", kMostListed);
  require(options.batch >= 1, "replay: batch is ", options.batch, ", expected 1 or more");
  require(questions.begin.size() == questions.end.size(), "replay: begin is of ", questions.begin.size(),
          " questions, end of ", questions.end.size());
  const auto events = static_cast<std::int64_t>(questions.events.size());
  for (std::int64_t i = 0; i < questions.size(); ++i)
    require(0 <= questions.begin[i] && questions.begin[i] <= questions.end[i] && questions.end[i] <= events,
            "replay: question ", i, " follows events ", questions.begin[i], " to ", questions.end[i], " of ", events);
}

Query query_of(const ReplayQuestions& questions, const ReplayOptions& options, const Rules* rules, std::int64_t i) {
  const auto begin = static_cast<std::size_t>(questions.begin[i]), end = static_cast<std::size_t>(questions.end[i]);
  const auto events = questions.events.subspan(begin, end - begin);
  Query query{.events = events,
              .k = options.k,
              .history = options.history,
              .zone = options.zone,
              .rules = rules,
              .value = options.value,
              .tail = options.tail,
              .objective = options.objective ? &*options.objective : nullptr,
              .popular = options.popular};
  if (options.exclude == Exclude::seen) query.exclude = events;
  if (options.exclude == Exclude::anchor) query.exclude = events.last(std::min<std::size_t>(1, events.size()));
  return query;
}

std::shared_ptr<const Rules> rules_of(const Release& release, const ReplayOptions& options) {
  return options.rules.empty() ? nullptr : release.rules(options.rules);
}

}  // namespace

Exclude exclude_from_string(const std::string& name) {
  if (name == "nothing") return Exclude::nothing;
  if (name == "anchor") return Exclude::anchor;
  require(name == "seen", "replay: exclude is '", name, "', expected nothing, anchor or seen");
  return Exclude::seen;
}

ReplayLists replay(const Release& release, const ReplayQuestions& questions, const ReplayOptions& options,
                   const std::function<bool(std::int64_t, std::int64_t)>& progress) {
  check(questions, options);
  const auto rules = rules_of(release, options);
  const std::int64_t N = questions.size(), k = options.k;
  ReplayLists lists{
      .items = std::vector<std::int32_t>(static_cast<std::size_t>(N * k), Catalog::kUnknown),
      .scores = std::vector<float>(static_cast<std::size_t>(N * k), std::numeric_limits<float>::quiet_NaN())};
  std::vector<Query> queries;
  for (std::int64_t first = 0; first < N; first += options.batch) {
    const std::int64_t last = std::min(N, first + options.batch);
    queries.clear();
    for (std::int64_t i = first; i < last; ++i) queries.push_back(query_of(questions, options, rules.get(), i));
    const auto listings = release.list(queries);
    for (std::int64_t i = first; i < last; ++i) {
      const Listing& listing = listings[static_cast<std::size_t>(i - first)].get();
      std::copy(listing.items.begin(), listing.items.end(), lists.items.begin() + i * k);
      std::copy(listing.scores.begin(), listing.scores.end(), lists.scores.begin() + i * k);
    }
    if (progress && !progress(last, N)) break;
  }
  return lists;
}

std::vector<double> time_requests(const Release& release, const ReplayQuestions& questions,
                                  const ReplayOptions& options, std::span<const std::int64_t> which) {
  check(questions, options);
  const auto rules = rules_of(release, options);
  std::vector<double> seconds;
  seconds.reserve(which.size());
  for (const std::int64_t i : which) {
    require(0 <= i && i < questions.size(), "replay: question ", i, " is to be timed, of ", questions.size());
    const Query query = query_of(questions, options, rules.get(), i);
    const auto start = std::chrono::steady_clock::now();
    release.list(query);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return seconds;
}

}  // namespace stamp
