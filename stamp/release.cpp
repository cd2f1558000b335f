#include "stamp/release.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_map>

#include "kernels/cpu/thread_pool.h"

namespace stamp {

namespace {

using Json = nlohmann::json;

constexpr std::int64_t kListed = 20;     // where nobody says how many
constexpr std::size_t kRulesKept = 256;  // texts of rules that are not parsed again
constexpr std::size_t kAtOnce = 512;     // queries of a batch

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

struct Release::Loaded {
  Loaded(std::shared_ptr<const Model> model, Shelf on, std::vector<std::int32_t> candidates, const ScanOptions& options)
      : shelf(std::move(on)), scanner(std::move(model), std::move(candidates), options) {}

  Shelf shelf;
  Scanner scanner;
};

struct Release::Job {
  const Query* query;
  Route route;
  std::int64_t unknown;
  std::shared_ptr<const Loaded> loaded;  // null where no model answers
  std::vector<std::int32_t> history;     // rows of the model, or of the catalog for the fallback
  std::vector<std::uint64_t> outside;    // the places that are in another group, or that the fallback does not score
  std::vector<RuleSource> rules;
  SelectionProblem problem;
  Selection selection;
  std::vector<Scored> list;
  std::vector<float> embedding;

  ScoredProducts scored;  // what the fallback says of this history,
  std::vector<std::int32_t> scored_rows;
  std::vector<float> scored_scores;

  ScanRequest scan(std::int64_t n, std::span<const std::uint64_t> excluded, std::span<const float> boosts,
                   std::vector<Scored>& found) {
    return {.history = history, .n = n, .excluded = excluded, .boosts = boosts, .list = &found};
  }
};

struct Release::Room {
  std::unique_ptr<Baseline::Scratch> scratch;  // of the fallback
  std::vector<std::int32_t> places, best;      // what a scan may list,
  std::vector<float> scores;
  std::vector<Scored> boosted;
};

Release::Release(BundleReader reader, const ReleaseOptions& options)
    : bundle_(reader.take()),
      reader_(std::move(reader)),
      device_(open_device(options.device, {.precision = options.precision})),
      options_(options) {
  require(options.memory >= 0, "Release: memory is ", options.memory, ", expected bytes, or 0 for no bound");
  set_up();
  if (options.lazy) return;
  // The models that are asked for most, as far as memory goes.
  std::vector<std::int64_t> clicks(bundle_.clusters.size());
  for (std::size_t c = 0; c < clicks.size(); ++c)
    for (std::int32_t row : bundle_.clusters[c].rows) clicks[c] += bundle_.counts[row];
  std::vector<std::size_t> order(clicks.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return clicks[a] > clicks[b]; });
  std::int64_t held = 0;
  for (std::size_t c : order) {
    held += bytes_of(c);
    if (options.memory > 0 && held > options.memory) break;
    loaded(c);
  }
}

Release::Release(Bundle bundle, const ScanOptions& options) : bundle_(std::move(bundle)) {
  bundle_.validate();
  for (const Cluster& cluster : bundle_.clusters)
    require(cluster.model != nullptr, "Release: the model of cluster ", cluster.id, " is not loaded");
  options_.scan = options;
  set_up();
  for (std::size_t c = 0; c < slots_.size(); ++c) loaded(c);
}

Release::~Release() = default;

void Release::set_up() {
  const std::size_t V = static_cast<std::size_t>(bundle_.catalog.size());
  slots_.resize(bundle_.clusters.size());
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

  read_rules();

  std::vector<std::int32_t> rows;
  for (std::size_t row = 0; row < V; ++row)
    if (recommendable_[row]) rows.push_back(static_cast<std::int32_t>(row));
  all_ = shelf_of(std::move(rows));
  place_.assign(V, -1);
  for (std::size_t place = 0; place < all_.candidates.rows.size(); ++place)
    place_[all_.candidates.rows[place]] = static_cast<std::int32_t>(place);
  const auto clicks = [&](std::int32_t place) { return bundle_.counts[all_.candidates.rows[place]]; };
  by_clicks_.resize(all_.candidates.rows.size());
  std::iota(by_clicks_.begin(), by_clicks_.end(), 0);
  std::stable_sort(by_clicks_.begin(), by_clicks_.end(), [&](auto a, auto b) { return clicks(a) > clicks(b); });
  for (std::size_t place = 0; place < by_clicks_.size(); ++place)
    popularity_.push_back(std::log1p(static_cast<float>(clicks(static_cast<std::int32_t>(place)))));
}

// {"build": [rules], "zones": {name: {"k": …, "history": …, "rules": [rules]}}}
void Release::read_rules() {
  Json file;
  try {
    file = Json::parse(bundle_.rules);
  } catch (const Json::exception& error) {
    throw std::invalid_argument(concat("rules.json is not JSON: ", error.what()));
  }
  const auto keys = [](const Json& object, const std::string& where, std::initializer_list<const char*> known) {
    require(object.is_object(), where, " is ", object.dump(), ", expected an object");
    for (const auto& [key, value] : object.items())
      require(std::find(known.begin(), known.end(), key) != known.end(), where, ".", key, " is unknown");
  };
  const auto natural = [](const Json& object, const char* key, const std::string& where) -> std::int64_t {
    if (!object.contains(key)) return 0;
    const Json& value = object.at(key);
    const double number = value.is_number() ? value.get<double>() : 0;  // 5.0 is an integer too, as in rules
    require(number >= 1 && number < 0x1p63 && number == std::floor(number), where, ".", key, " is ", value.dump(),
            ", expected an integer of 1 or more");
    return value.get<std::int64_t>();
  };
  keys(file, "rules.json", {"build", "zones"});

  // What is never recommended is on no shelf.
  const std::int64_t V = bundle_.catalog.size();
  const Rules build =
      Rules::parse(file.value("build", Json::array()).dump(), bundle_.catalog, bundle_.attributes, "build");
  Candidates everything{.rows = std::vector<std::int32_t>(static_cast<std::size_t>(V)),
                        .attributes = bundle_.attributes};
  std::iota(everything.rows.begin(), everything.rows.end(), 0);
  for (const Rule& rule : build.list())
    require(is_fixed_exclusion(rule), rule.path, ".rule is '", to_string(rule.type),
            "', which depends on the visit or on scores; expected one that excludes products for good");
  const FixedRules fixed = build.fixed(everything);
  recommendable_.resize(static_cast<std::size_t>(V));
  for (std::int64_t row = 0; row < V; ++row) recommendable_[row] = !(fixed.excluded[row / 64] >> (row % 64) & 1);

  const Json zones = file.value("zones", Json::object());
  require(zones.is_object(), "zones is ", zones.dump(), ", expected an object");
  for (const auto& [name, zone] : zones.items()) {
    const std::string where = "zones." + name;
    require(!name.empty(), "zones has a zone without a name");
    keys(zone, where, {"k", "history", "rules"});
    zones_.emplace(name, Zone{.k = natural(zone, "k", where),
                              .history = natural(zone, "history", where),
                              .rules = Rules::parse(zone.value("rules", Json::array()).dump(), bundle_.catalog,
                                                    bundle_.attributes, where + ".rules")});
  }
}

Release::Shelf Release::shelf_of(std::vector<std::int32_t> rows) const {
  Shelf shelf{.candidates = {.rows = std::move(rows), .attributes = Attributes()}, .fixed = {}};
  shelf.candidates.attributes = bundle_.attributes.take(shelf.candidates.rows);
  for (const auto& [name, zone] : zones_) shelf.fixed.emplace(name, zone.rules.fixed(shelf.candidates));
  return shelf;
}

std::vector<std::string> Release::zones() const {
  std::vector<std::string> names;
  for (const auto& [name, zone] : zones_) names.push_back(name);
  return names;
}

std::shared_ptr<const Rules> Release::rules(const std::string& json) const {
  {
    std::lock_guard lock(mutex_);
    if (const auto found = rules_.find(json); found != rules_.end()) return found->second;
  }
  auto parsed = std::make_shared<const Rules>(Rules::parse(json, bundle_.catalog, bundle_.attributes));
  std::lock_guard lock(mutex_);
  if (rules_.size() >= kRulesKept) rules_.clear();
  rules_.emplace(json, parsed);
  return parsed;
}

// The item table twice, as rows and as it is scanned, and the dense weights.
std::int64_t Release::bytes_of(std::size_t cluster) const {
  const std::int64_t D = bundle_.clusters[cluster].config.dim;
  const auto V = static_cast<std::int64_t>(bundle_.clusters[cluster].rows.size());
  return static_cast<std::int64_t>(sizeof(float)) * (2 * V * D + 5 * D * D);
}

std::shared_ptr<const Release::Loaded> Release::loaded(std::size_t cluster) const {
  const auto find = [&] {
    std::lock_guard lock(mutex_);
    slots_[cluster].used = ++clock_;
    return slots_[cluster].loaded;
  };
  if (auto found = find()) return found;
  std::lock_guard one_at_a_time(loading_);
  if (auto found = find()) return found;

  std::vector<std::int32_t> rows, candidates;
  for (std::int32_t row : bundle_.clusters[cluster].rows)
    if (recommendable_[row]) {
      rows.push_back(row);
      candidates.push_back(model_row_[row]);
    }
  if (options_.memory > 0) make_room(bytes_of(cluster));
  const auto model = reader_ ? reader_->load(cluster, device_) : bundle_.clusters[cluster].model;
  if (reader_ && options_.memory == 0) reader_->forget(cluster);
  auto fresh = std::make_shared<const Loaded>(model, shelf_of(std::move(rows)), std::move(candidates), options_.scan);
  std::lock_guard lock(mutex_);
  slots_[cluster].loaded = fresh;
  return fresh;
}

// Lets the least recently used models go, until `bytes` more fit or none is left.
void Release::make_room(std::int64_t bytes) const {
  std::vector<std::shared_ptr<const Loaded>> evicted;  // which end after the lock
  std::lock_guard lock(mutex_);
  std::int64_t held = bytes;
  for (std::size_t c = 0; c < slots_.size(); ++c) held += slots_[c].loaded ? bytes_of(c) : 0;
  while (held > options_.memory) {
    Slot* oldest = nullptr;
    for (Slot& slot : slots_)
      if (slot.loaded && (!oldest || slot.used < oldest->used)) oldest = &slot;
    if (!oldest) return;
    held -= bytes_of(static_cast<std::size_t>(oldest - slots_.data()));
    evicted.push_back(std::exchange(oldest->loaded, nullptr));
  }
}

std::unique_ptr<Release::Job> Release::borrow() const {
  return jobs_.take([] { return std::make_unique<Job>(); });
}

void Release::give_back(std::unique_ptr<Job> job) const {
  job->loaded.reset();
  jobs_.give_back(std::move(job));
}

std::unique_ptr<Release::Room> Release::borrow_room() const {
  return rooms_.take([this] {
    auto room = std::make_unique<Room>();
    if (bundle_.fallback) room->scratch = bundle_.fallback->scratch();
    return room;
  });
}

void Release::check(const Query& query) const {
  zone_of(query);
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

const Release::Zone* Release::zone_of(const Query& query) const {
  if (query.zone.empty()) return nullptr;
  const auto found = zones_.find(query.zone);
  if (found != zones_.end()) return &found->second;
  std::string names;
  for (const auto& [name, other] : zones_) names += (names.empty() ? "" : ", ") + name;
  throw std::invalid_argument(concat("recommend: zone is '", query.zone, "', expected ",
                                     names.empty() ? "none, this bundle has no zones" : "one of " + names));
}

std::span<const std::int32_t> Release::events_read(const Query& query, const Zone* zone) const {
  const auto limit = static_cast<std::size_t>(query.history > 0 ? query.history : zone ? zone->history : 0);
  return limit > 0 && limit < query.events.size() ? query.events.last(limit) : query.events;
}

// Who answers the query. The fallback may turn out to have nothing, and start then takes the next path.
Release::Route Release::route(const Query& query) const {
  const auto events = events_read(query, zone_of(query));
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

// `model` is the route's, null where it has none.
void Release::start(const Query& query, const Route& found, std::shared_ptr<const Loaded> model, Job& job) const {
  const Zone* zone = zone_of(query);
  Route& route = job.route;
  route = found;
  job.query = &query;
  job.loaded = std::move(model);
  job.unknown = std::count(query.events.begin(), query.events.end(), Catalog::kUnknown);
  job.list.clear();
  job.history.clear();
  if (job.loaded) {
    for (std::int32_t event : events_read(query, zone))
      if (event != Catalog::kUnknown && owner_[event] == route.cluster) job.history.push_back(model_row_[event]);
    const auto read = job.loaded->scanner.model().config().history;
    if (const auto extra = static_cast<std::int64_t>(job.history.size()) - read; read > 0 && extra > 0)
      job.history.erase(job.history.begin(), job.history.begin() + extra);
  }
  if (route.path == Path::fallback) {
    for (std::int32_t event : events_read(query, zone))
      if (event != Catalog::kUnknown) job.history.push_back(event);
    ask_fallback(job);
    if (job.scored.rows.empty()) route.path = popular_path(query, route);
  }
  if (route.path == Path::none) return;

  const Shelf& shelf = job.loaded ? job.loaded->shelf : all_;
  job.rules.clear();
  if (zone) job.rules.push_back({&zone->rules, &shelf.fixed.find(query.zone)->second});
  if (query.rules) job.rules.push_back({query.rules, nullptr});
  job.problem = {.catalog = &bundle_.catalog,
                 .candidates = &shelf.candidates,
                 .outside = {},
                 .recommendable = recommendable_,
                 .rules = job.rules,
                 .visit = {.attributes = &bundle_.attributes,
                           .anchor = query.events.empty() ? Catalog::kUnknown : query.events.back(),
                           .seen = query.events,
                           .bought = query.bought},
                 .exclude = query.exclude,
                 .only = query.only,
                 .restricted = query.restricted,
                 .k = query.k > 0           ? query.k
                      : zone && zone->k > 0 ? zone->k
                                            : kListed,
                 .min_score = job.loaded != nullptr,
                 .D = 0,
                 .embedding = nullptr};
  if (route.path == Path::category || route.path == Path::fallback) {
    job.outside.assign(all_.candidates.words(), ~std::uint64_t{0});
    if (const auto last = all_.candidates.size() % 64; last > 0) job.outside.back() = (std::uint64_t{1} << last) - 1;
    const std::span<const std::int32_t> inside =
        route.path == Path::category ? std::span<const std::int32_t>(group_rows_[route.group]) : job.scored.rows;
    for (std::int32_t row : inside)
      if (const std::int32_t place = place_[row]; place >= 0)
        job.outside[place / 64] &= ~(std::uint64_t{1} << (place % 64));
    job.problem.outside = job.outside;
  }
  if (job.loaded) {
    job.problem.D = job.loaded->scanner.model().config().dim;
    job.problem.embedding = [&job](std::int32_t place) {
      job.loaded->scanner.embeddings(std::span(&place, 1), job.embedding);
      return job.embedding.data();
    };
  }
  job.selection.prepare(job.problem);
}

void Release::scan_popular(std::int64_t n, std::span<const std::uint64_t> excluded, std::span<const float> boosts,
                           std::vector<Scored>& list) const {
  const auto is_excluded = [&](std::int32_t place) {
    return !excluded.empty() && (excluded[place / 64] >> (place % 64) & 1);
  };
  list.clear();
  if (boosts.empty()) {
    for (std::size_t i = 0; i < by_clicks_.size() && static_cast<std::int64_t>(list.size()) < n; ++i)
      if (!is_excluded(by_clicks_[i])) list.push_back({by_clicks_[i], popularity_[by_clicks_[i]]});
    return;
  }
  auto room = borrow_room();
  auto& boosted = room->boosted;
  boosted.clear();
  for (std::int32_t place : by_clicks_)
    if (!is_excluded(place)) boosted.push_back({place, popularity_[place] + boosts[place]});
  const auto size = std::min(n, static_cast<std::int64_t>(boosted.size()));
  std::partial_sort(boosted.begin(), boosted.begin() + size, boosted.end(), [](const Scored& a, const Scored& b) {
    return a.score > b.score || (a.score == b.score && a.place < b.place);
  });
  list.assign(boosted.begin(), boosted.begin() + size);
  rooms_.give_back(std::move(room));
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
void Release::scan_fallback(Job& job, std::int64_t n, std::span<const std::uint64_t> excluded,
                            std::span<const float> boosts, std::vector<Scored>& list) const {
  const bool in_order = job.scored.sorted && boosts.empty();
  auto room = borrow_room();
  auto& places = room->places;
  auto& scores = room->scores;
  list.clear();
  places.clear();
  scores.clear();
  for (std::size_t i = 0; i < job.scored.rows.size(); ++i) {
    const std::int32_t place = place_[job.scored.rows[i]];
    if (place < 0 || (!excluded.empty() && (excluded[place / 64] >> (place % 64) & 1))) continue;
    places.push_back(place);
    scores.push_back(job.scored.scores[i] + (boosts.empty() ? 0 : boosts[place]));
    if (in_order && static_cast<std::int64_t>(places.size()) == n) break;
  }
  find_best(scores, n, room->best);
  for (std::int32_t i : room->best) list.push_back({places[i], scores[i]});
  rooms_.give_back(std::move(room));
}

void Release::scan(Job& job, std::int64_t n, std::span<const std::uint64_t> excluded, std::span<const float> boosts,
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
      [this, &job](std::int64_t n, auto excluded, auto boosts, auto& list) { scan(job, n, excluded, boosts, list); },
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
    if (job->loaded)
      job->loaded->scanner.scan_shared(
          job->scan(selection.first_scan(), selection.excluded(), selection.boosts(), job->list));
    else
      scan(*job, selection.first_scan(), selection.excluded(), selection.boosts(), job->list);
  }
  Listing listing = finish(*job);
  give_back(std::move(job));
  return listing;
}

// One model after the other, so that no more of them need be held than one query takes; it is loaded before the cores
// part. What rules do to each query, and lists of the fallback and by popularity, are made on all cores too, each by
// the code of one query.
std::vector<Listing> Release::list(std::span<const Query> queries) const {
  const auto on_all_cores = [](std::size_t n, cpu::FunctionRef<void(std::int64_t)> work) {
    cpu::parallel_for(static_cast<std::int64_t>(n), 0, work);
  };
  for (const Query& query : queries) check(query);  // the first that cannot be is the one that is told
  std::vector<Route> routes(queries.size());
  on_all_cores(queries.size(), [&](std::int64_t i) { routes[i] = route(queries[i]); });
  std::vector<std::size_t> order(queries.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return routes[a].cluster < routes[b].cluster; });

  std::vector<Listing> listings(queries.size());
  std::vector<std::unique_ptr<Job>> jobs;
  std::vector<ScanRequest> scans;
  for (std::size_t first = 0, end = 0; first < order.size(); first = end) {
    const std::int32_t cluster = routes[order[first]].cluster;
    while (end < order.size() && end - first < kAtOnce && routes[order[end]].cluster == cluster) ++end;
    const auto model = cluster >= 0 ? loaded(static_cast<std::size_t>(cluster)) : nullptr;
    while (jobs.size() < end - first) jobs.push_back(borrow());
    on_all_cores(end - first, [&](std::int64_t i) {
      Job& job = *jobs[i];
      start(queries[order[first + i]], routes[order[first + i]], model, job);
      const Selection& selection = job.selection;
      if (job.route.path != Path::none && !job.loaded && selection.first_scan() > 0)
        scan(job, selection.first_scan(), selection.excluded(), selection.boosts(), job.list);
    });
    scans.clear();
    for (std::size_t i = 0; i < end - first; ++i) {
      Job& job = *jobs[i];
      const Selection& selection = job.selection;
      if (job.route.path != Path::none && job.loaded && selection.first_scan() > 0)
        scans.push_back(job.scan(selection.first_scan(), selection.excluded(), selection.boosts(), job.list));
    }
    if (!scans.empty()) model->scanner.scan(scans);
    on_all_cores(end - first, [&](std::int64_t i) {
      listings[order[first + i]] = finish(*jobs[i]);
      jobs[i]->loaded.reset();
    });
  }
  for (auto& job : jobs) give_back(std::move(job));
  return listings;
}

}  // namespace stamp
