#include "config.h"

#include <cstdlib>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "stamp/files.h"

namespace server {

namespace {

using Value = nlohmann::ordered_json;

constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();

// What a container of Vertex AI is told, besides the server's own names of these keys.
constexpr std::pair<std::string_view, const char*> kVertex[]{{"http.port", "AIP_HTTP_PORT"},
                                                             {"vertex.predict_route", "AIP_PREDICT_ROUTE"},
                                                             {"vertex.health_route", "AIP_HEALTH_ROUTE"}};

// Every key: its place in Config, what it may be, and what it means.
template <class Visitor>
void describe(Visitor& v, Config& c) {
  v.text("bundle", c.bundle,
         "Directory of the bundle to serve, and again whenever its manifest changes. The server ends where it cannot be "
         "loaded at the start. Either this or releases.path is required.");
  v.group("releases", "Releases that come while the server runs. One is in memory beside its predecessor, which "
          "administration can go back to; while another is loaded there are three.", [&] {
    v.text("path", c.releases.path,
           "Directory of current.json, {\"release\", \"digest\", \"since\"}, written aside and renamed, and releases/NAME/ "
           "with the bundle it names. May be empty at the start: requests are 503, and /readyz too, until one is loaded.");
    v.integer("poll_ms", c.releases.poll_ms, 10, 3600000,
              "Between looks at current.json, or at the bundle's manifest. What cannot be loaded is tried again when it "
              "changes, or after 10 to 300 times as long where it may still be on its way.");
  });
  v.group("shadow", "A candidate for release, which is asked for a share of the lists once more when they have been "
          "answered, at low priority, and dropped while cores are busy. Callers see nothing of it; metrics and /release "
          "say how its lists differ. It is in memory beside what is served.", [&] {
    v.integer("share", c.shadow.share, 0, 10000,
              "Of 10,000 requests, by hash of their id: those that the candidate is asked, too. 0: no candidate is "
              "loaded.");
    v.text("bundle", c.shadow.bundle,
           "Directory of the candidate's bundle, loaded again whenever its manifest changes. Empty: the release that "
           "candidate.json in releases.path names, as current.json does. Either may come and go while the server runs.");
  });
  v.text("secret_file", c.secret_file, "A file of 32 random bytes or more, the same for all replicas: signs attribution "
         "tokens and hides visitors in the exposure log. Empty: a secret of this process.");
  v.group("http", "Where visitors' requests come in.", [&] {
    v.text("address", c.http.address, "Address to listen on; 0.0.0.0 or :: for every one.");
    v.integer("port", c.http.port, 0, 65535, "Port; 0 takes one that is free.");
    v.integer("threads", c.http.threads, 1, 256, "Threads that read and write. One does some 20,000 requests a second.");
    v.integer("max_connections", c.http.max_connections, 1, 1000000, "Connections at once; one more is closed.");
    v.integer("max_header_bytes", c.http.max_header_bytes, 256, 1048576, "Of a request; one that has more is 431.");
    v.integer("max_body_bytes", c.http.max_body_bytes, 1024, 67108864, "Of a request; one that has more is 413.");
    v.integer("max_import_bytes", c.http.max_import_bytes, 1024, 1073741824, "The same, for imports of events and inventory.");
    v.integer("request_timeout_ms", c.http.request_timeout_ms, 1, kMost,
              "From a request's first byte to its last, and for its answer to be taken.");
    v.integer("idle_timeout_ms", c.http.idle_timeout_ms, 1, kMost,
              "Between requests of a connection. Longer than a load balancer in front keeps its own.");
    v.integer("grace_ms", c.http.grace_ms, 0, 600000,
              "After SIGTERM the server is not ready and goes on serving for so long, until whoever sends requests has "
              "heard of it; then it ends as requests are answered. SIGINT, and a second signal, end it at once.");
  });
  v.group("admin", "Health, metrics and administration, on a port of their own.", [&] {
    v.text("address", c.admin.address,
           "Address to listen on. Administration wants a key that may (keys.file); without such a file it is for a "
           "loopback address alone. Health and metrics want none.");
    v.integer("port", c.admin.port, 0, 65535, "Port; 0 takes one that is free.");
  });
  v.group("visits", "What visitors did lately.", [&] {
    v.one_of("store", c.visits.store, {"embedded", "bigtable", "memory", "none"},
             "embedded: on this machine's disk; bigtable: in a table of Bigtable, for many servers; memory: gone when "
             "the server ends; none: requests bring their events.");
    v.text("path", c.visits.path, "Directory of the embedded store.");
    v.integer("max_age_s", c.visits.max_age_s, 1, 10 * 366 * 86400ll, "Events that are older are not read, and go.");
    v.integer("max_events", c.visits.max_events, 1, 10000, "A visitor's events that are read and kept, the latest.");
    v.integer("session_gap_s", c.visits.session_gap_s, 1, 366 * 86400, "A longer pause begins a new session: "
              "recommendations follow the events since.");
    v.integer("clock_skew_s", c.visits.clock_skew_s, 0, 86400, "An event may be this far in the future; then it is 400.");
    v.integer("sync_ms", c.visits.sync_ms, 0, 60000, "Embedded: between flushes to disk, what a power failure may "
              "cost; a killed process loses nothing. 0: before each answer.");
    v.integer("cache_mb", c.visits.cache_mb, 1, 65536, "Embedded: MiB of memory for what was read lately.");
    v.integer("timeout_ms", c.visits.timeout_ms, 1, 60000, "For Bigtable to answer; then a list is made without events. A "
              "write has predict.deadline_ms. The embedded store reads in microseconds.");
    v.texts("bought_types", c.visits.bought_types, "Types of events that buy: for the rule exclude_bought.");
    BigtableOptions& table = c.visits.bigtable;
    v.group("bigtable", "The table, which is the shop's, and calls to it. Where BIGTABLE_EMULATOR_HOST is set calls go "
            "there, without credentials; else by Google's application default credentials.", [&] {
      v.text("project", table.project, "Its project. Required.");
      v.text("instance", table.instance, "Its instance. Required.");
      v.text("table", table.table, "Its name.");
      v.text("app_profile", table.app_profile, "Application profile. One of a single cluster, or an event may be read "
             "late.");
      v.text("endpoint", table.endpoint, "Host and port of Bigtable.");
      v.text("row_key", table.row_key, "A visitor's row: text with {visitor} or {visitor_reversed}, and {hash:N} for N "
             "hexadecimal digits of the visitor's SHA-256, against hot spots.");
      v.text("family", table.family, "Family of events. Its garbage collection is by age: events are columns of one "
             "version. Erasing a visitor erases the family of the row.");
      v.text("column", table.column, "What the columns of events begin with, before a '#'.");
      v.texts("other_columns", table.other_columns, "Columns of the family that others write, as \"qualifier=type\": each "
              "version is an event of the type, its value the product.");
      v.integer("channels", table.channels, 2, 64, "Connections.");
      v.integer("threads", table.threads, 1, 64, "Threads that take answers.");
      v.integer("calls", table.calls, 1, 1000, "Calls in flight, of reading and of writing; what comes meanwhile waits, and "
                "goes with the next together.");
      v.integer("rows_per_call", table.rows_per_call, 1, 100, "Visitors that one call reads or writes.");
      v.integer("max_waiting", table.max_waiting, 1, 1000000, "Requests that wait for a call, of reading and of writing; "
                "one more fails.");
    });
  });
  v.group("predict", "Recommendations.", [&] {
    v.integer("deadline_ms", c.predict.deadline_ms, 1, 60000, "From a request's arrival; then it is 503.");
    v.integer("max_k", c.predict.max_k, 1, 10000, "Products that a request may ask for.");
  });
  v.group("inventory", "What the shop sets of its products between releases (products:setInventory). Each replica has its own.", [&] {
    v.text("path", c.inventory.path, "The file that keeps it. Empty: nothing can be set.");
    v.text("available", c.inventory.available, "Number of the bundle's products that says whether they can be bought.");
    v.text("price", c.inventory.price, "Number of the bundle's products that is their price.");
    v.integer("max_products", c.inventory.max_products, 1, 100000000,
              "Products of which something is set; some 100 bytes of memory each.");
  });
  v.group("keys", "Bearer keys: who may write events (userEvents:…), set inventory and administer. Predictions want none.", [&] {
    v.text("file", c.keys.file,
           "A line for each key: NAME SHA256 RIGHTS [REQUESTS_PER_SECOND], where RIGHTS is write, admin or "
           "write,admin; stamp-server --new-key NAME makes one. Read again when it changes. Without a file anybody may "
           "write.");
  });
  v.group("admission", "What is answered when more is asked than can be.", [&] {
    v.integer("max_in_flight", c.admission.max_in_flight, 1, 1000000, "Requests at once; one more is 503.");
    v.integer("queue_ms", c.admission.queue_ms, 1, 60000,
              "A request that would wait longer for its turn is 503; from half of it on answers have no explanations, "
              "from three quarters they are popular products.");
  });
  v.list("experiments", c.experiments, "The first that has the zone decides; of each, a visitor is in one arm, or none.",
         [](auto& w, ExperimentOptions& e) {
           w.text("name", e.name, "In answers, metrics and the exposure log. Required.");
           w.text("salt", e.salt, "Another one sorts visitors anew. Empty: the name.");
           w.texts("zones", e.zones, "Where it runs. Empty: in all zones.");
           w.list("arms", e.arms, "What is compared.", [](auto& x, ArmOptions& a) {
             x.text("name", a.name, "Required.");
             x.integer("share", a.share, 0, 10000, "Of 10,000 visitors. What arms leave is in no arm.");
             x.text("zone", a.zone, "Zone of the bundle whose rules apply instead. Empty: the one that is asked for.");
             x.text("bundle", a.bundle, "Bundle that answers instead; memory adds up. Empty: the one that is served.");
             x.number("explore", a.explore, 0, 1000, "Strength of exploration, in units of scores; 0: none.");
             x.integer("explore_among", a.explore_among, 2, 1000, "The best products, whose order is explored.");
           });
         });
  v.group("exposures", "The log of what visitors in experiments were shown.", [&] {
    v.text("directory", c.exposures.directory, "Where exposures.jsonl is written. Empty: no log.");
    v.integer("file_bytes", c.exposures.file_bytes, 4096, std::int64_t{1} << 40, "Of a file, before the next begins.");
    v.integer("files", c.exposures.files, 1, 100000, "Rotated files that are kept.");
    v.integer("share", c.exposures.share, 1, 10000, "Of 10,000 visitors, whose exposures are written.");
  });
  v.group("vertex", "Routes of a custom container of Vertex AI, which says them in AIP_PREDICT_ROUTE and AIP_HEALTH_ROUTE; "
          "with AIP_HTTP_PORT the server listens at every address.", [&] {
    v.text("predict_route", c.vertex.predict_route, "Path of predictions for instances.");
    v.text("health_route", c.vertex.health_route, "Path that answers 200.");
  });
  v.group("demo", "A page to look at, at /demo of the visitors' port.", [&] {
    v.boolean("enabled", c.demo.enabled, "Whether there is one. It shows every product, its attributes and its clicks to "
              "whoever reaches the port: for those who work on the shop.");
  });
}

std::string shown(const Value& value) {
  std::string text = value.dump();
  return text.size() > 64 ? text.substr(0, 60) + "…" : text;
}

// The group at hand, and its name in front of messages.
class Walker {
 public:
  template <class Keys>
  void walk_group(const std::string& name, Keys&& keys) {
    const std::string before = prefix_;
    prefix_ += name + '.';
    keys();
    prefix_ = before;
  }
  std::string way(const char* key) const { return prefix_ + key; }

 private:
  std::string prefix_;
};

// Values of a file, then of the environment.
class Reader : public Walker {
 public:
  explicit Reader(Value file) : file_(std::move(file)) { at_ = &file_; }

  void text(const char* key, std::string& out, const char*) {
    take(key, [&](const Value& value) { out = of<std::string>(key, value, value.is_string(), "a string"); }, true);
  }
  template <class T>
  void integer(const char* key, T& out, std::int64_t least, std::int64_t most, const char*) {
    take(key, [&](const Value& value) {
      const std::string right = "an integer from " + std::to_string(least) + " to " + std::to_string(most);
      const std::int64_t number = of<std::int64_t>(key, value, value.is_number_integer(), right);
      if (number < least || number > most) wrong(key, value, right);
      out = static_cast<T>(number);
    });
  }
  void boolean(const char* key, bool& out, const char*) {
    take(key, [&](const Value& value) { out = of<bool>(key, value, value.is_boolean(), "true or false"); });
  }
  void one_of(const char* key, std::string& out, const std::vector<std::string>& values, const char*) {
    take(key, [&](const Value& value) {
      std::string right = "one of";
      bool found = false;
      for (const std::string& known : values) {
        right += " \"" + known + '"';
        found |= value == known;
      }
      if (!found) wrong(key, value, right);
      out = value.get<std::string>();
    });
  }
  void texts(const char* key, std::vector<std::string>& out, const char*) {
    take(key, [&](const Value& value) {
      if (!value.is_array()) wrong(key, value, "an array of strings");
      out.clear();
      for (const Value& item : value) out.push_back(of<std::string>(key, item, item.is_string(), "a string"));
    });
  }
  void number(const char* key, double& out, double least, double most, const char*) {
    take(key, [&](const Value& value) {
      if (!value.is_number() || value < least || value > most)
        wrong(key, value, "a number from " + shown(least) + " to " + shown(most));
      out = value.get<double>();
    });
  }
  template <class Keys>
  void group(const char* name, const char*, Keys&& keys) {
    static const Value kNothing = Value::object();
    const auto found = at_->find(name);
    enter(name, found == at_->end() ? kNothing : *found, keys);
    known_.insert(name);
  }
  // Of files alone: the environment has no names for entries.
  template <class T, class Describe>
  void list(const char* name, std::vector<T>& out, const char*, Describe&& describe_one) {
    known_.insert(name);
    const auto found = at_->find(name);
    if (found == at_->end()) return;
    if (!found->is_array()) wrong(name, *found, "an array of objects");
    for (std::size_t i = 0; i < found->size(); ++i)
      enter(name + ('[' + std::to_string(i) + ']'), (*found)[i], [&] { describe_one(*this, out.emplace_back()); });
  }
  // Whatever of the group at hand was not described.
  void finish() const {
    for (const auto& [key, value] : at_->items())
      if (!known_.contains(key)) throw std::invalid_argument(way(key.c_str()) + ": there is no such key");
  }

 private:
  template <class Keys>
  void enter(const std::string& name, const Value& object, Keys&& keys) {
    if (!object.is_object()) wrong(name.c_str(), object, "an object");
    const Value* outer = std::exchange(at_, &object);
    std::set<std::string> outer_known = std::exchange(known_, {});
    walk_group(name, [&] {
      keys();
      finish();
    });
    known_ = std::move(outer_known);
    at_ = outer;
  }
  template <class Use>
  void take(const char* key, Use&& use, bool is_text = false) {
    known_.insert(key);
    if (const auto found = at_->find(key); found != at_->end()) use(*found);
    std::string variable = "STAMP_SERVER_" + way(key);
    for (char& c : variable) c = c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    use_environment(variable, use, is_text);
    for (const auto& [known_as, other] : kVertex)
      if (way(key) == known_as) use_environment(other, use, is_text);
  }
  template <class Use>
  static void use_environment(const std::string& variable, Use&& use, bool is_text) {
    const char* set = std::getenv(variable.c_str());
    if (!set) return;
    try {
      use(is_text ? Value(set) : from_environment(set));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(variable + ", which stands for " + error.what());
    }
  }
  // A number, a boolean or an array as JSON writes it, anything else as it is.
  static Value from_environment(const char* text) {
    const Value value = Value::parse(text, nullptr, false);
    return value.is_number() || value.is_boolean() || value.is_array() ? value : Value(text);
  }
  template <class T>
  T of(const char* key, const Value& value, bool is, const std::string& right) const {
    if (!is) wrong(key, value, right);
    return value.get<T>();
  }
  [[noreturn]] void wrong(const char* key, const Value& value, const std::string& right) const {
    throw std::invalid_argument(way(key) + ": " + shown(value) + " cannot be; " + right + " is expected");
  }

  Value file_;
  const Value* at_;
  std::set<std::string> known_;
};

const Value kObject = {{"type", "object"}, {"additionalProperties", false}, {"properties", Value::object()}};

class Schema {
 public:
  explicit Schema(Value& out) : at_(&out) {}

  void text(const char* key, const std::string& standard, const char* about) {
    add(key, {{"type", "string"}, {"default", standard}}, about);
  }
  void integer(const char* key, std::int64_t standard, std::int64_t least, std::int64_t most, const char* about) {
    add(key, {{"type", "integer"}, {"minimum", least}, {"maximum", most}, {"default", standard}}, about);
  }
  void boolean(const char* key, bool standard, const char* about) {
    add(key, {{"type", "boolean"}, {"default", standard}}, about);
  }
  void one_of(const char* key, const std::string& standard, const std::vector<std::string>& values, const char* about) {
    add(key, {{"enum", values}, {"default", standard}}, about);
  }
  void texts(const char* key, const std::vector<std::string>& standard, const char* about) {
    add(key, {{"type", "array"}, {"items", {{"type", "string"}}}, {"default", standard}}, about);
  }
  void number(const char* key, double standard, double least, double most, const char* about) {
    add(key, {{"type", "number"}, {"minimum", least}, {"maximum", most}, {"default", standard}}, about);
  }
  template <class Keys>
  void group(const char* name, const char* about, Keys&& keys) {
    add(name, kObject, about);
    Value* outer = std::exchange(at_, &(*at_)["properties"][name]);
    keys();
    at_ = outer;
  }
  template <class T, class Describe>
  void list(const char* name, const std::vector<T>&, const char* about, Describe&& describe_one) {
    add(name, {{"type", "array"}, {"items", kObject}, {"default", Value::array()}}, about);
    Value* outer = std::exchange(at_, &(*at_)["properties"][name]["items"]);
    T standard;
    describe_one(*this, standard);
    at_ = outer;
  }

 private:
  void add(const char* key, Value value, const char* about) {
    value["description"] = about;
    (*at_)["properties"][key] = std::move(value);
  }
  Value* at_;
};

class Writer {
 public:
  explicit Writer(Value& out) : at_(&out) {}

  void text(const char* key, const std::string& value, const char*) { (*at_)[key] = value; }
  void integer(const char* key, std::int64_t value, std::int64_t, std::int64_t, const char*) { (*at_)[key] = value; }
  void boolean(const char* key, bool value, const char*) { (*at_)[key] = value; }
  void one_of(const char* key, const std::string& value, const std::vector<std::string>&, const char*) {
    (*at_)[key] = value;
  }
  void texts(const char* key, const std::vector<std::string>& value, const char*) { (*at_)[key] = value; }
  void number(const char* key, double value, double, double, const char*) { (*at_)[key] = value; }
  template <class Keys>
  void group(const char* name, const char*, Keys&& keys) {
    Value* outer = std::exchange(at_, &((*at_)[name] = Value::object()));
    keys();
    at_ = outer;
  }
  template <class T, class Describe>
  void list(const char* name, std::vector<T>& values, const char*, Describe&& describe_one) {
    Value& all = (*at_)[name] = Value::array();
    for (T& value : values) {
      Value* outer = std::exchange(at_, &all.emplace_back(Value::object()));
      describe_one(*this, value);
      at_ = outer;
    }
  }

 private:
  Value* at_;
};

// What is not as simple as another name of a key.
void apply_vertex(Config& config) {
  if (std::getenv("AIP_HTTP_PORT")) config.http.address = "0.0.0.0";
  if (const char* uri = std::getenv("AIP_STORAGE_URI"); uri && *uri) {
    config.bundle = uri;
    if (config.bundle.find("://") != config.bundle.npos)
      throw std::invalid_argument("AIP_STORAGE_URI: \"" + config.bundle +
                                  "\" cannot be read from here; the directory of a bundle is expected: export it into "
                                  "the image beforehand, or mount the bucket");
  }
  for (const auto& [key, route] : {std::pair{"vertex.predict_route", &config.vertex.predict_route},
                                   {"vertex.health_route", &config.vertex.health_route}})
    if (!route->starts_with('/') || route->find_first_of("?# ") != route->npos)
      throw std::invalid_argument(std::string(key) + ": \"" + *route + "\" cannot be; a path as \"/predict\" is expected");
  if (config.vertex.predict_route == config.vertex.health_route)
    throw std::invalid_argument("vertex.health_route: is that of predictions, too");
}

Config read(Value file) {
  if (!file.is_object()) throw std::invalid_argument("a JSON object is expected");
  Config config;
  Reader reader(std::move(file));
  describe(reader, config);
  reader.finish();
  apply_vertex(config);
  if (config.bundle.empty() == config.releases.path.empty())
    throw std::invalid_argument(config.bundle.empty() ? "bundle: is missing; a directory is expected here or at releases.path"
                                                      : "bundle: cannot be beside releases.path; one of them is expected");
  if (config.shadow.share > 0 && config.shadow.bundle.empty() && config.releases.path.empty())
    throw std::invalid_argument("shadow.bundle: is missing; a directory is expected here, or at releases.path in place of bundle");
  return config;
}

}  // namespace

Config read_config(const std::string& path) {
  Value file;
  try {
    file = Value::parse(stamp::read_file(path), nullptr, true, true);  // comments are welcome
  } catch (const nlohmann::json::exception& error) {
    throw std::invalid_argument(path + ": " + error.what());
  }
  try {
    return read(std::move(file));
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(path + ": " + error.what());
  }
}

Config default_config() { return read(Value::object()); }

std::string config_schema() {
  Value schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                  {"title", "Configuration of stamp-server"}};
  schema.update(kObject);
  Schema writer(schema);
  Config standard;
  describe(writer, standard);
  return schema.dump(2) + "\n";
}

std::string config_text(const Config& config) {
  Value out = Value::object();
  Writer writer(out);
  Config copy = config;
  describe(writer, copy);
  return out.dump(2) + "\n";
}

}  // namespace server
