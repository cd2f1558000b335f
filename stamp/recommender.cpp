#include "stamp/recommender.h"

namespace stamp {

namespace {

// A request in the rows of one release.
struct Rows {
  std::vector<std::int32_t> events, bought, exclude, only;
  std::shared_ptr<const Rules> rules;

  Rows(const Request& request, const Release& release) {
    const bool integers = release.catalog().kind() == Catalog::Kind::integers;
    const auto find = [&](const char* argument, const std::vector<Id>& ids, std::vector<std::int32_t>& rows) {
      rows.reserve(ids.size());
      for (const Id& id : ids) {
        if (std::holds_alternative<std::int64_t>(id) != integers)
          throw std::invalid_argument(concat("recommend: ", argument, "[", rows.size(), "] is ",
                                             integers ? "the string '" : "the integer ", to_string(id),
                                             integers ? "', expected an integer" : ", expected a string",
                                             ", as this catalog's ids are"));
        rows.push_back(release.catalog().find(id));
      }
    };
    find("events", request.events, events);
    find("bought", request.bought, bought);
    find("exclude", request.exclude, exclude);
    if (request.only) find("only", *request.only, only);
    if (!request.rules.empty()) rules = release.rules(request.rules);
  }

  Query query(const Request& request) const {
    return {.events = events,
            .bought = bought,
            .exclude = exclude,
            .only = only,
            .restricted = request.only.has_value(),
            .k = request.k,
            .history = request.history,
            .zone = request.zone,
            .rules = rules.get(),
            .explain = request.explain};
  }
};

Recommendation named(const Request& request, const Rows& rows, Listing listing, const Catalog& catalog) {
  Recommendation answer{.items = {},
                        .scores = std::move(listing.scores),
                        .path = listing.path,
                        .cluster = listing.cluster,
                        .unknown = {},
                        .reason = std::move(listing.reason),
                        .explanation = std::move(listing.explanation)};
  answer.items.reserve(listing.items.size());
  for (std::int32_t row : listing.items) answer.items.push_back(catalog.id(row));
  for (std::size_t i = 0; i < rows.events.size(); ++i)
    if (rows.events[i] == Catalog::kUnknown) answer.unknown.push_back(request.events[i]);
  return answer;
}

}  // namespace

Recommender::Recommender(const std::filesystem::path& bundle, const ReleaseOptions& options)
    : options_(options), path_(bundle), release_(std::make_shared<Release>(BundleReader(bundle), options)) {}

Recommendation Recommender::recommend(const Request& request) const {
  const auto current = release();
  const Rows rows(request, *current);
  return named(request, rows, current->list(rows.query(request)), current->catalog());
}

std::vector<Recommendation> Recommender::recommend(std::span<const Request> requests) const {
  const auto current = release();
  std::vector<Rows> rows;
  std::vector<Query> queries;
  rows.reserve(requests.size());
  for (const Request& request : requests) {
    rows.emplace_back(request, *current);
    queries.push_back(rows.back().query(request));
  }
  std::vector<Listing> listings = current->list(queries);
  std::vector<Recommendation> answers;
  answers.reserve(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i)
    answers.push_back(named(requests[i], rows[i], std::move(listings[i]), current->catalog()));
  return answers;
}

void Recommender::reload() { reload(path()); }

void Recommender::reload(const std::filesystem::path& bundle) {
  std::lock_guard one_at_a_time(reloading_);
  std::shared_ptr<const Release> next = std::make_shared<Release>(BundleReader(bundle), options_);
  {
    std::lock_guard lock(mutex_);
    release_.swap(next);
    path_ = bundle;
  }
  // The old one goes here, or with its last request.
}

std::shared_ptr<const Release> Recommender::release() const {
  std::lock_guard lock(mutex_);
  return release_;
}

std::filesystem::path Recommender::path() const {
  std::lock_guard lock(mutex_);
  return path_;
}

}  // namespace stamp
