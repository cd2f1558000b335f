// Which model answers a query, or what does where none can.
#include <algorithm>
#include <unordered_map>

#include "stamp/release.h"

namespace stamp {

namespace {

// Attribute groups: products with the same values of the attributes that route. -1 where one is missing.
std::vector<std::int32_t> groups_of(const Bundle& bundle) {
  std::vector<std::int32_t> group(static_cast<std::size_t>(bundle.catalog.size()), bundle.route_by.empty() ? -1 : 0);
  for (const std::string& name : bundle.route_by) {
    const auto& codes = bundle.attributes.texts()[bundle.attributes.find_text(name)].codes;
    std::unordered_map<std::uint64_t, std::int32_t> found;
    for (std::size_t row = 0; row < group.size(); ++row) {
      if (group[row] < 0 || codes[row] < 0) {
        group[row] = -1;
        continue;
      }
      const auto key =
          std::uint64_t{static_cast<std::uint32_t>(group[row])} << 32 | static_cast<std::uint32_t>(codes[row]);
      group[row] = found.try_emplace(key, static_cast<std::int32_t>(found.size())).first->second;
    }
  }
  return group;
}

// Of each group the cluster that knows most of its products, of equals the first; -1 where none does.
std::vector<std::int32_t> clusters_of_groups(const std::vector<std::int32_t>& group,
                                             const std::vector<std::int32_t>& owner) {
  std::int32_t groups = 0;
  std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> products;
  for (std::size_t row = 0; row < group.size(); ++row) {
    groups = std::max(groups, group[row] + 1);
    if (group[row] >= 0 && owner[row] >= 0) ++products[{group[row], owner[row]}];
  }
  std::vector<std::int32_t> cluster(static_cast<std::size_t>(groups), -1);
  std::vector<std::int64_t> most(static_cast<std::size_t>(groups), 0);
  for (const auto& [pair, count] : products) {
    if (count <= most[pair.first]) continue;
    most[pair.first] = count;
    cluster[pair.first] = pair.second;
  }
  return cluster;
}

}  // namespace

std::string to_string(Path path) {
  constexpr const char* kNames[] = {"anchor", "group", "history", "fallback", "category", "popular", "none"};
  return kNames[static_cast<int>(path)];
}

// Whose every product is, and which model answers for those that none knows.
void Release::set_up_routes() {
  const auto V = static_cast<std::size_t>(bundle_.catalog.size());
  owner_.assign(V, -1);
  model_row_.assign(V, -1);
  for (std::size_t c = 0; c < bundle_.clusters.size(); ++c) {
    const auto& rows = bundle_.clusters[c].rows;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      owner_[rows[i]] = static_cast<std::int32_t>(c);
      model_row_[rows[i]] = static_cast<std::int32_t>(i);
    }
  }
  group_ = groups_of(bundle_);
  group_cluster_ = clusters_of_groups(group_, owner_);
  group_rows_.resize(group_cluster_.size());
  for (std::size_t row = 0; row < V; ++row)
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
