#include "stamp/recommender.h"

#include "kernels/cpu/thread_pool.h"
#include "stamp/internal/in_flight.h"
#include "stamp/internal/of_process.h"

namespace stamp {

namespace {

void check_kind(const Id& id, const char* call, const char* argument, std::size_t i, Catalog::Kind kind) {
  const bool integers = kind == Catalog::Kind::integers;
  if (std::holds_alternative<std::int64_t>(id) != integers)
    throw std::invalid_argument(concat(call, ": ", argument, "[", i, "] is ",
                                       integers ? "the string '" : "the integer ", to_string(id),
                                       integers ? "', expected an integer" : ", expected a string",
                                       ", as this catalog's ids are"));
}

// A request in the rows of one release.
struct Rows {
  std::vector<std::int32_t> events, bought, exclude, only;
  std::shared_ptr<const Rules> rules;

  Rows() = default;
  Rows(const Request& request, const Release& release) {
    const auto find = [&](const char* argument, const std::vector<Id>& ids, std::vector<std::int32_t>& rows) {
      rows.reserve(ids.size());
      for (const Id& id : ids) {
        check_kind(id, "recommend", argument, rows.size(), release.catalog().kind());
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
            .value = request.value,
            .tail = request.tail,
            .objective = request.objective ? &*request.objective : nullptr,
            .explain = request.explain,
            .diversify = request.diversify,
            .alone = request.alone};
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

// threads: as of Release::list.
std::vector<Answer<Recommendation>> answer(const Release& release, std::span<const Request> requests, int threads) {
  const auto each = [&](std::size_t n, cpu::FunctionRef<void(std::int64_t)> work) {
    cpu::parallel_for(static_cast<std::int64_t>(n), threads, work);
  };
  std::vector<Answer<Rows>> rows(requests.size());
  each(requests.size(),
       [&](std::int64_t i) { rows[i] = Answer<Rows>::of([&] { return Rows(requests[i], release); }); });
  std::vector<Query> queries;
  std::vector<std::size_t> asked;  // whose they are
  std::vector<Answer<Recommendation>> answers(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (!rows[i]) {
      answers[i] = rows[i].error();
      continue;
    }
    queries.push_back(rows[i].get().query(requests[i]));
    asked.push_back(i);
  }
  std::vector<Answer<Listing>> listings = release.list(queries, threads);
  each(asked.size(), [&](std::int64_t q) {
    const std::size_t i = asked[q];
    answers[i] = Answer<Recommendation>::of(
        [&] { return named(requests[i], rows[i].get(), std::move(listings[q]).get(), release.catalog()); });
  });
  return answers;
}

}  // namespace

Recommender::Recommender(const std::filesystem::path& bundle, const ReleaseOptions& options)
    : options_(options),
      path_(bundle),
      release_(std::make_shared<Release>(bundle, options)),
      in_flight_(std::make_unique<OfProcess<InFlight>>()) {}

Recommender::~Recommender() = default;

Recommendation Recommender::recommend(const Request& request) const {
  const auto current = release();
  const Rows rows(request, *current);
  return named(request, rows, current->list(rows.query(request)), current->catalog());
}

std::vector<Answer<Recommendation>> Recommender::recommend(std::span<const Request> requests) const {
  return answer(*release(), requests, 0);
}

Recommender::InFlight& Recommender::in_flight() const {
  return in_flight_->get([this](std::span<const Request> requests) { return answer(*release(), requests, 1); },
                         options_.scan.most);
}

void Recommender::reload() { reload(path()); }

void Recommender::reload(const std::filesystem::path& bundle) {
  std::lock_guard one_at_a_time(reloading_);
  std::shared_ptr<Release> next = std::make_shared<Release>(bundle, options_);
  {
    std::lock_guard lock(mutex_);
    release_.swap(next);
    path_ = bundle;
  }
  // The old one goes here, or with its last request.
}

std::size_t Recommender::set_numbers(std::span<const ProductNumber> numbers) {
  const std::shared_ptr<Release> release = [this] {
    std::lock_guard lock(mutex_);
    return release_;
  }();
  const Catalog& catalog = release->catalog();
  std::vector<NumberChange> changes;
  changes.reserve(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const ProductNumber& number = numbers[i];
    check_kind(number.product, "set_numbers", "numbers", i, catalog.kind());
    const std::int32_t column = release->number_column(number.attribute);
    if (const std::int32_t row = catalog.find(number.product); row != Catalog::kUnknown)
      changes.push_back({row, column, number.value});
  }
  release->set_numbers(changes);
  return numbers.size() - changes.size();
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
