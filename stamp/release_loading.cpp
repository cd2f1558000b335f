// A release from its bundle: routes, rules, shelves, and models as they are asked for.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "stamp/internal/json.h"
#include "stamp/internal/release.h"

namespace stamp {

namespace {

constexpr std::size_t kRulesKept = 256;  // texts of rules that are not parsed again

// Places by falling clicks, which are 0 or more; equals in order. Sorted digit by digit, from the lowest: clicks have
// few, and comparing them would take half of the time that a bundle takes to load.
std::vector<std::int32_t> by_falling_clicks(std::span<const std::int64_t> clicks) {
  constexpr int kBits = 11;
  const std::int64_t most = clicks.empty() ? 0 : *std::max_element(clicks.begin(), clicks.end());
  std::vector<std::int32_t> places(clicks.size()), sorted(clicks.size());
  std::iota(places.begin(), places.end(), 0);
  for (int shift = 0; shift < 64 && most >> shift > 0; shift += kBits) {
    const auto digit = [&](std::int32_t place) { return (most - clicks[place]) >> shift & ((1 << kBits) - 1); };
    std::array<std::size_t, 1 << kBits> begin{};
    for (std::int32_t place : places) ++begin[digit(place)];
    std::exclusive_scan(begin.begin(), begin.end(), begin.begin(), std::size_t{0});
    for (std::int32_t place : places) sorted[begin[digit(place)]++] = place;
    places.swap(sorted);
  }
  return places;
}

}  // namespace

Release::Release(const std::filesystem::path& bundle, const ReleaseOptions& options)
    : options_(options),
      device_(open_device(options.device, {.threads = options.threads, .precision = options.precision})),
      reader_(std::in_place, bundle, options.lazy || options.memory > 0 ? nullptr : device_, options.threads),
      bundle_(reader_->take()) {
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
  for (Cluster& cluster : bundle_.clusters) {
    require(cluster.model != nullptr, "Release: the model of cluster ", cluster.id, " is not loaded");
    cluster.config = cluster.model->config();
  }
  options_.scan = options;
  set_up();
  for (std::size_t c = 0; c < slots_.size(); ++c) loaded(c);
}

Release::~Release() = default;

void Release::set_up() {
  const std::size_t V = static_cast<std::size_t>(bundle_.catalog.size());
  slots_.resize(bundle_.clusters.size());
  set_up_routes();
  set_up_objectives();
  read_rules();

  std::vector<std::int32_t> rows;
  for (std::size_t row = 0; row < V; ++row)
    if (recommendable_[row]) rows.push_back(static_cast<std::int32_t>(row));
  place_.assign(V, -1);
  for (std::size_t place = 0; place < rows.size(); ++place) place_[rows[place]] = static_cast<std::int32_t>(place);
  std::vector<std::int64_t> clicks;
  clicks.reserve(rows.size());
  for (std::int32_t row : rows) clicks.push_back(bundle_.counts[row]);
  // The first version of the numbers is the bundle's own, which nobody owns beside it.
  numbers_.emplace(std::shared_ptr<const std::vector<NumberAttribute>>(std::shared_ptr<void>(),
                                                                       &bundle_.attributes.numbers()));
  all_.emplace(shelf_of(std::move(rows), nullptr));
  by_clicks_ = by_falling_clicks(clicks);
  popularity_.resize(clicks.size());
  std::int64_t of = 0;  // clicks, and the score of as many
  float score = 0;
  for (std::int32_t place : by_clicks_) {
    if (clicks[place] != of) score = std::log1p(static_cast<float>(of = clicks[place]));
    popularity_[place] = score;
  }
}

void Release::set_up_objectives() {
  for (const Cluster& cluster : bundle_.clusters)
    for (const std::string& name : cluster.config.objectives)
      if (std::find(objectives_.begin(), objectives_.end(), name) == objectives_.end()) objectives_.push_back(name);
}

// {"build": [rules], "value": {"attribute": …},
//  "zones": {name: {"k": …, "history": …, "value": …, "tail": …, "objective": {name: weight}, "rules": [rules]}}}
void Release::read_rules() {
  const Rules build = build_rules(bundle_.rules, bundle_.catalog, bundle_.attributes);
  recommendable_ = recommendable(build, bundle_.attributes);
  const Rules first = changing(build);
  const Json file = Json::parse(bundle_.rules);
  const auto keys = [](const Json& object, const std::string& where, std::initializer_list<const char*> known) {
    require(object.is_object(), where, " is ", object.dump(), ", expected an object");
    for (const auto& [key, value] : object.members())
      require(std::find(known.begin(), known.end(), key) != known.end(), where, ".", key, " is unknown");
  };
  const auto natural = [](const Json& object, const char* key, const std::string& where) -> std::int64_t {
    if (!object.find(key)) return 0;
    const Json& value = object.at(key);
    const double number = value.is_number() ? value.get<double>() : 0;  // 5.0 is an integer too, as in rules
    require(number >= 1 && number < 0x1p63 && number == std::floor(number), where, ".", key, " is ", value.dump(),
            ", expected an integer of 1 or more");
    return value.get<std::int64_t>();
  };
  keys(file, "rules.json", {"build", "value", "zones"});
  if (const Json* value = file.find("value")) {
    keys(*value, "value", {"attribute"});
    const Json attribute = value->value("attribute", Json());
    value_column_ = attribute.is_string() ? bundle_.attributes.find_number(attribute.text()) : -1;
    require(value_column_ >= 0, "value.attribute is ", attribute.dump(),
            ", expected a number of the products, which have ", number_names(bundle_.attributes));
  }
  const auto power = [](const Json& object, const char* key, const std::string& where) {
    if (!object.find(key)) return 0.0;
    const Json& value = object.at(key);
    const double number = value.is_number() ? value.get<double>() : -1;
    require(number >= 0 && number <= 1, where, ".", key, " is ", value.dump(), ", expected a number from 0 to 1");
    return number;
  };

  const auto preferences = [this](const Objective& objective) {
    std::vector<std::vector<float>> each;
    for (const Cluster& cluster : bundle_.clusters) each.push_back(cluster.config.preference(objective));
    return each;
  };
  zones_.emplace(
      "", Zone{.k = 0, .history = 0, .powers = {}, .rules = first, .objective = {}, .preferences = preferences({})});
  const Json zones = file.value("zones", Json::object());
  require(zones.is_object(), "zones is ", zones.dump(), ", expected an object");
  for (const auto& [name, zone] : zones.members()) {
    const std::string where = "zones." + name;
    require(!name.empty(), "zones has a zone without a name");
    keys(zone, where, {"k", "history", "value", "tail", "objective", "rules"});
    const TermPowers powers{.value = power(zone, "value", where), .tail = power(zone, "tail", where)};
    check_value(where + ".value", powers.value);
    Objective objective;
    if (const Json* weights = zone.find("objective")) objective = objective_from_json(where, weights->dump());
    check_objective(where, objective, objectives_);
    Rules rules = first;
    rules.append(Rules::parse(zone.value("rules", Json::array()).dump(), bundle_.catalog, bundle_.attributes,
                              where + ".rules"));
    zones_.emplace(name, Zone{.k = natural(zone, "k", where),
                              .history = natural(zone, "history", where),
                              .powers = powers,
                              .rules = std::move(rules),
                              .objective = objective,
                              .preferences = preferences(objective)});
  }
}

std::shared_ptr<const Release::Shelf> Release::shelf_of(std::vector<std::int32_t> rows, const Model* model) const {
  Shelf shelf{.candidates = Candidates(std::move(rows), bundle_.attributes), .fixed = {}};
  const auto now = numbers();
  if (now.get() != &bundle_.attributes.numbers())
    for (std::size_t column = 0; column < now->size(); ++column)
      for (std::int32_t place = 0; place < shelf.candidates.size(); ++place)
        shelf.candidates.set_number(static_cast<std::int32_t>(column), place,
                                    (*now)[column].values[shelf.candidates.rows()[place]]);
  for (const auto& [name, zone] : zones_) shelf.fixed.emplace(name, zone.rules.fixed(shelf.candidates));
  if (!model) return std::make_shared<const Shelf>(std::move(shelf));
  const auto values = value_column_ < 0 ? std::span<const float>() : shelf.candidates.numbers(value_column_);
  shelf.terms = ProductTerms(shelf.candidates, bundle_.counts, values, model->temperature(), model->tail_power());
  for (const auto& [name, zone] : zones_)
    if (zone.powers.any()) shelf.with_terms.emplace(name, with_terms(shelf, name));
  return std::make_shared<const Shelf>(std::move(shelf));
}

// The boosts and the terms of a zone, by place.
std::vector<float> Release::with_terms(const Shelf& shelf, const std::string& zone) const {
  const auto boosts = shelf.fixed.at(zone).boosts();
  std::vector<float> row(boosts.begin(), boosts.end());
  row.resize(shelf.candidates.rows().size());
  shelf.terms.add(zones_.at(zone).powers, row);
  return row;
}

std::vector<std::string> Release::zones() const {
  std::vector<std::string> names;
  for (const auto& [name, zone] : zones_)
    if (!name.empty()) names.push_back(name);
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

// The item table as rows and as it is scanned, mapped or not, the dense weights, and lists of successors, were they full.
std::int64_t Release::bytes_of(std::size_t cluster) const {
  const Config& config = bundle_.clusters[cluster].config;
  const std::int64_t D = config.dim;
  const auto V = static_cast<std::int64_t>(bundle_.clusters[cluster].rows.size());
  const std::int64_t lists = config.has_successors() ? config.successor_steps() * V * (1 + config.successors) : 0;
  return static_cast<std::int64_t>(sizeof(float)) * (V * D + 5 * D * D) + device_->packed_size(V, D) + 8 * lists;
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
  auto packed = reader_ ? reader_->scan_table(cluster, *model, candidates) : nullptr;
  if (reader_ && options_.memory == 0) reader_->forget(cluster);
  auto shelf = shelf_of(std::move(rows), model.get());
  auto fresh = std::make_shared<const Loaded>(model, std::move(shelf), std::move(candidates), options_.scan,
                                              std::move(packed));
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

}  // namespace stamp
