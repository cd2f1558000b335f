// A loaded bundle: routes each query to a model, scans it, applies rules. Immutable but for numbers of products, which
// are set while it is served; in rows of its catalog.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stamp/answer.h"
#include "stamp/bundle.h"
#include "stamp/pool.h"
#include "stamp/rules.h"
#include "stamp/scanner.h"
#include "stamp/selection.h"
#include "stamp/versions.h"

namespace stamp {

// How an answer was found, in the order in which they are tried.
enum class Path {
  anchor,    // the model that knows the current product
  group,     // the model of its attribute group, by the events that it knows
  history,   // the model that knows most of the events; of two, that of the later event
  fallback,  // the bundle's baseline, where it has products for this history
  category,  // the most popular products of the current product's attribute group
  popular,   // the most popular products
  none,      // nothing was asked for beyond models and the fallback, and these know no event
};
STAMP_API std::string to_string(Path path);

struct Query {
  // In order of visits, the current product last; Catalog::kUnknown is skipped.
  std::span<const std::int32_t> events = {};
  std::span<const std::int32_t> bought = {};
  std::span<const std::int32_t> exclude = {};  // never to be listed
  std::span<const std::int32_t> only = {};     // to choose from, when restricted
  bool restricted = false;
  std::int64_t k = 0;            // products to list; 0: what the zone says, else 20
  std::int64_t history = 0;      // the last events that are read; 0: what the zone says, else all
  std::string_view zone = {};    // whose rules apply; empty: none's
  const Rules* rules = nullptr;  // besides, after the zone's
  // How much the value of products counts, and how much their popularity counts against them: 0 to 1 (score_terms.h).
  // Empty: what the zone says, else 0.
  std::optional<double> value = {}, tail = {};
  // What the list is to serve, as far as its model has learnt it; the rest is for clicks. Null: what the zone says, else
  // clicks alone.
  const Objective* objective = nullptr;
  bool popular = true;           // answer with popular products where neither a model nor the fallback answers
  bool explain = false;
  bool diversify = true;  // false: rules that diversify are passed over, as a busy server may ask
  bool alone = false;     // its scan is shared with nobody: for a thread of low priority, whom others would wait for
};

struct Listing {
  std::vector<std::int32_t> items;  // best first; ties by lower row, a fallback's in its own order
  // Logits with boosts and terms; what a fallback defines, with boosts; of popular products ln(1 + clicks), likewise.
  std::vector<float> scores;
  Path path = Path::none;
  std::int64_t cluster = -1;  // id of the cluster whose model answered; -1 where none did
  std::int64_t unknown = 0;   // events that the catalog does not know
  std::string reason;         // why there are fewer than k
  std::string explanation;    // JSON, where asked for: what rules removed and moved (docs/rules.md)
};

// A number of a product, a price say, or whether it can be bought.
struct NumberChange {
  std::int32_t row;
  std::int32_t column;  // of Release::numbers()
  float value;          // NaN: missing
};

struct ReleaseOptions {
  std::string device = "auto";
  Precision precision = Precision::automatic;
  bool lazy = false;  // load a model when it is first asked for
  int threads = 0;    // that loading uses: 0 for num_threads(), 1 to stay on the caller's
  // Bytes of models to hold, by an estimate; the least recently used go first, once nobody is using them. 0: no bound.
  // Attributes, rules and what requests need while they run come on top.
  std::int64_t memory = 0;
  ScanOptions scan = {};
};

// Thread-safe. A query stays on the thread that makes it, but for its scan, which threads share while all cores are
// busy (scan_queue.h); list(queries) works on all cores.
class STAMP_API Release {
 public:
  // Throws std::runtime_error for a bundle that is damaged, std::invalid_argument with the path of the key for rules
  // that cannot be.
  explicit Release(const std::filesystem::path& bundle, const ReleaseOptions& options = {});
  // Of models in memory, on the devices that they are on: `options` say how to scan them.
  explicit Release(Bundle bundle, const ScanOptions& options = {});
  ~Release();

  const Catalog& catalog() const { return bundle_.catalog; }
  const Bundle& bundle() const { return bundle_; }
  std::vector<std::string> zones() const;
  // Products that a list of the zone has where a query does not say. Throws std::invalid_argument for an unknown zone.
  std::int64_t list_size(std::string_view zone) const;
  // What models of the bundle have learnt beside clicks, each name once.
  const std::vector<std::string>& objectives() const { return objectives_; }

  // From the next query on in force in every rule, those of the build included; a query that is under way may see a part.
  // Changes apply in order, all or, where this throws, none: std::invalid_argument for a row or a column that there is
  // not. Costs what it changes, but for the first two calls, and where queries go on through many: then it copies. Two
  // versions of the numbers stay in memory, and those that queries still read.
  void set_numbers(std::span<const NumberChange> changes);
  // [columns] as they stand; not to be kept longer than the release.
  std::shared_ptr<const std::vector<NumberAttribute>> numbers() const;
  // Throws std::invalid_argument for what is no number attribute of the catalog's.
  std::int32_t number_column(const std::string& attribute) const;

  // Rules of queries: parsed, or found among those asked for lately. Throws std::invalid_argument with the path of the
  // key.
  std::shared_ptr<const Rules> rules(const std::string& json) const;

  // Throws std::invalid_argument when k < 0, a row is outside the catalog, the zone is unknown, value or tail is no
  // number from 0 to 1, a value above 0 is asked for where the rules name no attribute that says it, or the objective
  // names another than objectives() or has weights that cannot be (check_objective).
  Listing list(const Query& query) const;
  // Each query has its own answer, whatever becomes of the others. threads: 0: all cores; 1: the one that calls, and
  // scans are shared as those of single queries are.
  std::vector<Answer<Listing>> list(std::span<const Query> queries, int threads = 0) const;

 private:
  struct Zone {
    std::int64_t k, history;
    TermPowers powers;
    Rules rules;
    Objective objective;
    std::vector<std::vector<float>> preferences;  // [clusters] of it, among what each model has learnt
  };
  // What one scan can list, and what each zone does to it, as numbers stand.
  struct Shelf {
    Candidates candidates;
    std::map<std::string, FixedRules, std::less<>> fixed;
    ProductTerms terms = {};                                      // empty where no model scans
    std::map<std::string, ChangingRow, std::less<>> with_terms = {};  // boosts and terms of zones that have some
  };
  using Shelves = Versions<Shelf, NumberChange>;
  struct Loaded;  // a model, ready to scan
  struct Slot {
    std::shared_ptr<const Loaded> loaded;
    std::uint64_t used = 0;  // when, by clock_
  };
  struct Route {
    Path path = Path::none;
    std::int32_t cluster = -1;  // index into bundle().clusters
    std::int32_t group = -1;    // attribute group of the current product
  };
  struct Job;   // a query on its way, and room for the next one
  struct Room;  // what one call needs while it scores or scans: a thread has one, jobs are many and it is of V

  void set_up();
  void set_up_routes();
  void set_up_objectives();
  void read_rules();
  // model: whose scores terms are added to; null: none's.
  std::shared_ptr<const Shelf> shelf_of(std::vector<std::int32_t> rows, const Model* model) const;
  void change(Shelf& shelf, std::span<const NumberChange> changes, const std::vector<NumberAttribute>& numbers) const;
  std::int64_t bytes_of(std::size_t cluster) const;
  std::shared_ptr<const Loaded> loaded(std::size_t cluster) const;
  void make_room(std::int64_t bytes) const;

  std::unique_ptr<Job> borrow() const;
  void give_back(std::unique_ptr<Job> job) const;
  std::unique_ptr<Room> borrow_room() const;
  void check(const Query& query) const;
  void check_value(const std::string& where, double power) const;
  TermPowers powers_of(const Query& query, const Zone& zone) const;
  std::vector<float> with_terms(const Shelf& shelf, const std::string& zone) const;
  const Zone& zone_of(std::string_view name) const;
  static std::int64_t list_size(const Zone& zone);
  std::span<const std::int32_t> events_read(const Query& query, const Zone& zone) const;
  Route route(const Query& query) const;
  Path popular_path(const Query& query, const Route& route) const;
  void start(const Query& query, const Route& route, std::shared_ptr<const Loaded> model, Job& job) const;
  void ask_fallback(Job& job) const;
  void scan_popular(std::int64_t n, const PlaceSet& excluded, std::span<const float> boosts,
                    std::vector<Scored>& list) const;
  void scan_fallback(Job& job, std::int64_t n, const PlaceSet& excluded, std::span<const float> boosts,
                     std::vector<Scored>& list) const;
  void scan(Job& job, std::int64_t n, const PlaceSet& excluded, std::span<const float> boosts,
            std::vector<Scored>& list) const;
  Listing finish(Job& job) const;

  ReleaseOptions options_;
  std::shared_ptr<Device> device_;
  mutable std::optional<BundleReader> reader_;  // used while loading_ is held
  Bundle bundle_;
  std::map<std::string, Zone, std::less<>> zones_;  // "" is no zone; the build's rules that look at numbers go first
  std::vector<std::uint8_t> recommendable_;         // [V] by the other rules of the build
  std::int32_t value_column_ = -1;                  // of numbers(): what products are worth; -1: nobody says
  std::vector<std::string> objectives_;
  std::vector<std::int32_t> owner_;          // [V] index of the product's cluster, or -1
  std::vector<std::int32_t> model_row_;      // [V] its row there
  std::vector<std::int32_t> group_;          // [V] attribute group, or -1
  std::vector<std::int32_t> group_cluster_;  // of each group, or -1
  std::vector<std::vector<std::int32_t>> group_rows_;
  std::optional<Versions<std::vector<NumberAttribute>, NumberChange>> numbers_;
  std::optional<Shelves> all_;           // every product that can be recommended
  std::vector<std::int32_t> place_;      // [V] on it, or -1
  std::vector<std::int32_t> by_clicks_;  // places on it, most clicked first
  std::vector<float> popularity_;        // by place: ln(1 + clicks)

  // Models are loaded one after the other, through device_, and not while numbers change.
  mutable std::mutex loading_;
  mutable std::mutex mutex_;    // of what follows; held for a moment
  mutable std::vector<Slot> slots_;
  mutable std::uint64_t clock_ = 0;
  mutable std::map<std::string, std::shared_ptr<const Rules>> rules_;

  mutable Pool<Job> jobs_;
  mutable Pool<Room> rooms_;
};

}  // namespace stamp
