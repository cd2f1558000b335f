// Which model answers a query, or what does where none can.
#include <algorithm>
#include <map>

#include "stamp/internal/release.h"
#include "stamp/routes.h"

namespace stamp {

std::string to_string(Path path) {
  constexpr const char* kNames[] = {"anchor", "group", "history", "fallback", "category", "popular", "none"};
  return kNames[static_cast<int>(path)];
}

// Whose every product is, and which model answers for those that none knows.
void Release::set_up_routes() {
  Routes routes(bundle_);
  owner_ = std::move(routes.owner);
  group_ = std::move(routes.group);
  group_cluster_ = std::move(routes.group_cluster);
  model_row_.assign(owner_.size(), -1);
  for (const Cluster& cluster : bundle_.clusters)
    for (std::size_t i = 0; i < cluster.rows.size(); ++i) model_row_[cluster.rows[i]] = static_cast<std::int32_t>(i);
  group_rows_.resize(group_cluster_.size());
  for (std::size_t row = 0; row < group_.size(); ++row)
    if (group_[row] >= 0) group_rows_[group_[row]].push_back(static_cast<std::int32_t>(row));
}

void Release::check(const Query& query) const {
  zone_of(query.zone);
  require(query.k >= 0, "recommend: k is ", query.k, ", expected 1 or more");
  require(query.history >= 0, "recommend: history is ", query.history, ", expected 1 or more");
  const std::int64_t V = bundle_.catalog.size();
  const auto check_rows = [&](std::span<const std::int32_t> rows, const char* where) {
    for (std::int32_t row : rows)
      require(row >= Catalog::kUnknown && row < V, "recommend: ", where, " holds row ", row, ", expected below ", V);
  };
  check_rows(query.events, "events");
  check_rows(query.bought, "bought");
  check_rows(query.exclude, "exclude");
  check_rows(query.only, "only");
  if (query.value) check_power("recommend", "value", *query.value);
  if (query.tail) check_power("recommend", "tail", *query.tail);
  if (query.value) check_value("recommend: value", *query.value);
  if (query.objective) check_objective("recommend", *query.objective, objectives_);
}

void Release::check_value(const std::string& where, double power) const {
  require(power == 0 || value_column_ >= 0, where, " is ", power,
          R"(, but the bundle's rules name no number for it, as )",
          R"({"value": {"attribute": …}}; its products have )", number_names(bundle_.attributes));
}

TermPowers Release::powers_of(const Query& query, const Zone& zone) const {
  return {.value = query.value.value_or(zone.powers.value), .tail = query.tail.value_or(zone.powers.tail)};
}

const Release::Zone& Release::zone_of(std::string_view zone) const {
  const auto found = zones_.find(zone);
  if (found != zones_.end()) return found->second;
  std::string names;
  for (const std::string& name : zones()) names += (names.empty() ? "" : ", ") + name;
  throw std::invalid_argument(concat("recommend: zone is '", zone, "', expected ",
                                     names.empty() ? "none, this bundle has no zones" : "one of " + names));
}

std::int64_t Release::list_size(const Zone& zone) {
  constexpr std::int64_t kListed = 20;  // where nobody says how many
  return zone.k > 0 ? zone.k : kListed;
}

std::int64_t Release::list_size(std::string_view zone) const { return list_size(zone_of(zone)); }

std::span<const std::int32_t> Release::events_read(const Query& query, const Zone& zone) const {
  const auto limit = static_cast<std::size_t>(query.history > 0 ? query.history : zone.history);
  return limit > 0 && limit < query.events.size() ? query.events.last(limit) : query.events;
}

// Who answers the query. The fallback may turn out to have nothing, and start then takes the next path.
Release::Route Release::route(const Query& query) const {
  const auto events = events_read(query, zone_of(query.zone));
  const auto owner = [&](std::int32_t event) { return event == Catalog::kUnknown ? -1 : owner_[event]; };
  const std::int32_t anchor = events.empty() ? Catalog::kUnknown : events.back();
  Route route;
  if (owner(anchor) >= 0) return {.path = Path::anchor, .cluster = owner(anchor)};
  if (anchor != Catalog::kUnknown) route.group = group_[anchor];

  const std::int32_t home = route.group >= 0 ? group_cluster_[route.group] : -1;
  std::map<std::int32_t, int> votes;
  for (std::int32_t event : events)
    if (owner(event) >= 0) ++votes[owner(event)];
  if (home >= 0 && votes.count(home)) return {.path = Path::group, .cluster = home, .group = route.group};
  int most = 0;
  for (std::size_t i = events.size(); i-- > 0;) {  // from the last, whose cluster goes before equals
    const auto vote = votes.find(owner(events[i]));
    if (vote == votes.end() || vote->second <= most) continue;
    most = vote->second;
    route.path = Path::history;
    route.cluster = vote->first;
  }
  if (route.path == Path::none) route.path = bundle_.fallback ? Path::fallback : popular_path(query, route);
  return route;
}

Path Release::popular_path(const Query& query, const Route& route) const {
  if (!query.popular) return Path::none;
  return route.group >= 0 ? Path::category : Path::popular;
}

}  // namespace stamp
