// A query's list: scanned by the model, the fallback or popularity that its route names, then selected from by rules.
#include <algorithm>
#include <array>
#include <numeric>

#include "kernels/cpu/thread_pool.h"
#include "stamp/internal/release.h"

namespace stamp {

namespace {

constexpr std::size_t kAtOnce = 512;  // queries of a batch

// In lanes, so that no comparison waits for the one before.
float largest(std::span<const float> values) {
  std::array<float, 16> most;
  most.fill(values.front());
  std::size_t i = 0;
  for (; i + most.size() <= values.size(); i += most.size())
    for (std::size_t lane = 0; lane < most.size(); ++lane) most[lane] = std::max(most[lane], values[i + lane]);
  for (; i < values.size(); ++i) most[0] = std::max(most[0], values[i]);
  return *std::max_element(most.begin(), most.end());
}

}  // namespace

std::unique_ptr<Release::Job> Release::borrow() const {
  return jobs_.take([] { return std::make_unique<Job>(); });
}

void Release::give_back(std::unique_ptr<Job> job) const {
  job->let_go();
  jobs_.give_back(std::move(job));
}

std::unique_ptr<Release::Room> Release::borrow_room() const {
  return rooms_.take([this] {
    auto room = std::make_unique<Room>();
    if (bundle_.fallback) room->scratch = bundle_.fallback->scratch();
    return room;
  });
}

// `model` is the route's, null where it has none.
void Release::start(const Query& query, const Route& found, std::shared_ptr<const Loaded> model, Job& job) const {
  const Zone& zone = zone_of(query.zone);
  Route& route = job.route;
  route = found;
  job.query = &query;
  job.loaded = std::move(model);
  job.unknown = std::count(query.events.begin(), query.events.end(), Catalog::kUnknown);
  job.list.clear();
  job.history.clear();
  if (job.loaded) {
    const Config& config = job.loaded->scanner.model().config();
    if (query.objective) job.own_preference = config.preference(*query.objective);
    job.preference = query.objective ? job.own_preference : zone.preferences[route.cluster];
    // From the end, so that a long visit costs what the model reads of it.
    const auto events = events_read(query, zone);
    const auto most = static_cast<std::size_t>(config.history);
    for (std::size_t i = events.size(); i-- > 0 && (most == 0 || job.history.size() < most);)
      if (events[i] != Catalog::kUnknown && owner_[events[i]] == route.cluster)
        job.history.push_back(model_row_[events[i]]);
    std::reverse(job.history.begin(), job.history.end());
  }
  if (route.path == Path::fallback) {
    for (std::int32_t event : events_read(query, zone))
      if (event != Catalog::kUnknown) job.history.push_back(event);
    ask_fallback(job);
    if (job.scored.rows.empty()) route.path = popular_path(query, route);
  }
  if (route.path == Path::none) return;

  job.numbers = numbers();
  job.shelf = (job.loaded ? job.loaded->shelves : *all_).latest();
  job.rules.clear();
  job.rules.push_back({&zone.rules, &job.shelf->fixed.find(query.zone)->second});
  if (query.rules) job.rules.push_back({query.rules, nullptr});
  job.problem = {.catalog = &bundle_.catalog,
                 .candidates = &job.shelf->candidates,
                 .outside = nullptr,
                 .recommendable = recommendable_,
                 .rules = job.rules,
                 .visit = {.attributes = &bundle_.attributes,
                           .numbers = job.numbers.get(),
                           .anchor = query.events.empty() ? Catalog::kUnknown : query.events.back(),
                           .seen = query.events,
                           .bought = query.bought},
                 .exclude = query.exclude,
                 .only = query.only,
                 .restricted = query.restricted,
                 .k = query.k > 0 ? query.k : list_size(zone),
                 .diversify = query.diversify,
                 .terms = nullptr,
                 .powers = powers_of(query, zone),
                 .with_terms = {},
                 .objective = query.objective ? query.objective : &zone.objective,
                 .learnt = {},
                 .min_score = job.loaded != nullptr,
                 .D = 0,
                 .embeddings = nullptr};
  if (route.path == Path::category || route.path == Path::fallback) {
    const std::span<const std::int32_t> inside =
        route.path == Path::category ? std::span<const std::int32_t>(group_rows_[route.group]) : job.scored.rows;
    job.outside.reset(job.shelf->candidates.size());
    job.outside.add_all_but([&](auto&& keep) {
      for (std::int32_t row : inside)
        if (place_[row] >= 0) keep(std::span(&place_[row], 1));
    });
    job.problem.outside = &job.outside;
  }
  if (job.loaded) {
    job.problem.terms = &job.shelf->terms;
    if (zone.powers.any() && job.problem.powers == zone.powers)
      job.problem.with_terms = job.shelf->with_terms.find(query.zone)->second.row();
    job.problem.learnt = job.loaded->scanner.model().config().objectives;
    job.problem.D = job.loaded->scanner.model().config().dim;
    job.problem.embeddings = [&job](std::span<const std::int32_t> places, std::vector<float>& rows) {
      job.loaded->scanner.embeddings(places, rows);
    };
  }
  job.selection.prepare(job.problem);
}

void Release::scan_popular(std::int64_t n, const PlaceSet& excluded, std::span<const float> boosts,
                           std::vector<Scored>& list) const {
  list.clear();
  if (boosts.empty()) {
    for (std::size_t i = 0; i < by_clicks_.size() && static_cast<std::int64_t>(list.size()) < n; ++i)
      if (!excluded.contains(by_clicks_[i])) list.push_back({by_clicks_[i], popularity_[by_clicks_[i]]});
    return;
  }
  // A heap of the best, the last of them in front, until the largest boost lifts nobody else onto it.
  const auto better = [](const Scored& a, const Scored& b) {
    return a.score > b.score || (a.score == b.score && a.place < b.place);
  };
  const float most = largest(boosts);
  for (std::int32_t place : by_clicks_) {
    const bool is_full = static_cast<std::int64_t>(list.size()) == n;
    if (is_full && (n == 0 || popularity_[place] + most < list.front().score)) break;
    if (excluded.contains(place)) continue;
    const Scored scored{place, popularity_[place] + boosts[place]};
    if (is_full) {
      if (!better(scored, list.front())) continue;
      std::pop_heap(list.begin(), list.end(), better);
      list.back() = scored;
    } else {
      list.push_back(scored);
    }
    std::push_heap(list.begin(), list.end(), better);
  }
  std::sort_heap(list.begin(), list.end(), better);
}

void Release::ask_fallback(Job& job) const {
  auto room = borrow_room();
  job.scored = bundle_.fallback->score(job.history, *room->scratch);
  if (!job.scored.sorted) {
    job.scored_rows.assign(job.scored.rows.begin(), job.scored.rows.end());
    job.scored_scores.assign(job.scored.scores.begin(), job.scored.scores.end());
    job.scored = {.rows = job.scored_rows, .scores = job.scored_scores};
  }
  rooms_.give_back(std::move(room));
}

// Of what the fallback scores; ties in its own order.
void Release::scan_fallback(Job& job, std::int64_t n, const PlaceSet& excluded, std::span<const float> boosts,
                            std::vector<Scored>& list) const {
  const bool in_order = job.scored.sorted && boosts.empty();
  auto room = borrow_room();
  auto& places = room->places;
  auto& scores = room->scores;
  list.clear();
  places.clear();
  scores.clear();
  for (std::size_t i = 0; i < job.scored.rows.size(); ++i) {
    const std::int32_t place = place_[job.scored.rows[i]];
    if (place < 0 || excluded.contains(place)) continue;
    places.push_back(place);
    scores.push_back(job.scored.scores[i] + (boosts.empty() ? 0 : boosts[place]));
    if (in_order && static_cast<std::int64_t>(places.size()) == n) break;
  }
  find_best(scores, n, room->best);
  for (std::int32_t i : room->best) list.push_back({places[i], scores[i]});
  rooms_.give_back(std::move(room));
}

void Release::scan(Job& job, std::int64_t n, const PlaceSet& excluded, std::span<const float> boosts,
                   std::vector<Scored>& list) const {
  if (job.loaded)
    job.loaded->scanner.scan(job.scan(n, excluded, boosts, list));
  else if (job.route.path == Path::fallback)
    scan_fallback(job, n, excluded, boosts, list);
  else
    scan_popular(n, excluded, boosts, list);
}

Listing Release::finish(Job& job) const {
  Listing listing;
  listing.path = job.route.path;
  listing.unknown = job.unknown;
  if (job.route.path == Path::none) {
    listing.reason = bundle_.fallback ? "neither a model nor the fallback has anything for these events"
                                      : "no model knows any of the events";
    return listing;
  }
  if (job.loaded) listing.cluster = bundle_.clusters[job.route.cluster].id;
  SelectedProducts selected = job.selection.select(
      job.list,
      [this, &job](std::int64_t n, const auto& excluded, auto boosts, auto& list) {
        scan(job, n, excluded, boosts, list);
      },
      job.query->explain);
  listing.items = std::move(selected.rows);
  listing.scores = std::move(selected.scores);
  listing.reason = std::move(selected.reason);
  if (job.route.path == Path::fallback && !listing.reason.empty())
    listing.reason += concat("; the fallback scores ", job.scored.rows.size(), " of the catalog");
  listing.explanation = std::move(selected.explanation);
  return listing;
}

Listing Release::list(const Query& query) const {
  check(query);
  const Route found = route(query);
  auto job = borrow();
  start(query, found, found.cluster >= 0 ? loaded(static_cast<std::size_t>(found.cluster)) : nullptr, *job);
  const Selection& selection = job->selection;
  if (job->route.path != Path::none && selection.first_scan() > 0) {
    if (job->loaded) {
      const auto request = job->scan(selection.first_scan(), selection.excluded(), selection.boosts(), job->list);
      std::exception_ptr error;
      job->loaded->scanner.scan_shared(std::span(&request, 1), std::span(&error, 1));
      if (error) std::rethrow_exception(error);
    } else {
      scan(*job, selection.first_scan(), selection.excluded(), selection.boosts(), job->list);
    }
  }
  Listing listing = finish(*job);
  give_back(std::move(job));
  return listing;
}

// One model after the other, so that no more of them need be held than one query takes; it is loaded before the cores
// part. What rules do to each query, and lists of the fallback and by popularity, are made on all cores too, each by
// the code of one query.
std::vector<Answer<Listing>> Release::list(std::span<const Query> queries, int threads) const {
  std::vector<Answer<Listing>> answers(queries.size());
  // Calls work(i) for the queries among `which` that may still have a listing; what it throws is that query's answer.
  const auto each = [&](std::span<const std::size_t> which, auto&& work) {
    cpu::parallel_for(static_cast<std::int64_t>(which.size()), threads, [&](std::int64_t i) {
      Answer<Listing>& answer = answers[which[i]];
      if (!answer) return;
      try {
        work(i);
      } catch (...) {
        answer = std::current_exception();
      }
    });
  };
  std::vector<Route> routes(queries.size());
  std::vector<std::size_t> order(queries.size());
  std::iota(order.begin(), order.end(), 0);
  each(order, [&](std::int64_t i) {
    check(queries[i]);
    routes[i] = route(queries[i]);
  });
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return routes[a].cluster < routes[b].cluster; });

  std::vector<std::unique_ptr<Job>> jobs;
  std::vector<ScanRequest> scans;
  std::vector<std::size_t> scanned;  // whose they are
  std::vector<std::exception_ptr> errors;
  for (std::size_t first = 0, end = 0; first < order.size(); first = end) {
    const std::int32_t cluster = routes[order[first]].cluster;
    while (end < order.size() && end - first < kAtOnce && routes[order[end]].cluster == cluster) ++end;
    const auto group = std::span<const std::size_t>(order).subspan(first, end - first);
    std::shared_ptr<const Loaded> model;
    try {
      if (cluster >= 0) model = loaded(static_cast<std::size_t>(cluster));
    } catch (...) {
      for (std::size_t query : group) answers[query] = std::current_exception();
      continue;
    }
    while (jobs.size() < group.size()) jobs.push_back(borrow());
    each(group, [&](std::int64_t i) {
      Job& job = *jobs[i];
      start(queries[group[i]], routes[group[i]], model, job);
      const Selection& selection = job.selection;
      if (job.route.path != Path::none && !job.loaded && selection.first_scan() > 0)
        scan(job, selection.first_scan(), selection.excluded(), selection.boosts(), job.list);
    });
    scans.clear();
    scanned.clear();
    for (std::size_t i = 0; i < group.size(); ++i) {
      Job& job = *jobs[i];
      const Selection& selection = job.selection;
      if (!answers[group[i]] || job.route.path == Path::none || !job.loaded || selection.first_scan() == 0) continue;
      scans.push_back(job.scan(selection.first_scan(), selection.excluded(), selection.boosts(), job.list));
      scanned.push_back(group[i]);
    }
    errors.resize(scans.size());
    if (threads == 1 && model)
      model->scanner.scan_shared(scans, errors);
    else if (!scans.empty())
      model->scanner.scan(scans, errors);
    for (std::size_t i = 0; i < scans.size(); ++i)
      if (errors[i]) answers[scanned[i]] = errors[i];
    each(group, [&](std::int64_t i) { answers[group[i]] = finish(*jobs[i]); });
    for (std::size_t i = 0; i < group.size(); ++i)
      if (answers[group[i]])
        jobs[i]->let_go();
      else
        jobs[i] = borrow();  // nobody knows what a failure left in it
  }
  for (auto& job : jobs) give_back(std::move(job));
  return answers;
}

}  // namespace stamp
