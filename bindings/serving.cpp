// Bundles and recommending.
#include "bindings/attributes.h"
#include "stamp/bundle.h"
#include "stamp/new_products.h"
#include "stamp/recommender.h"

namespace stamp::bindings {

namespace {

using Rows = std::vector<std::int32_t>;
using OptionalRows = std::optional<Rows>;

// (id, rows, model, train, fingerprint, report)
Cluster cluster_of(const py::tuple& described) {
  Cluster cluster;
  cluster.id = described[0].cast<std::int64_t>();
  cluster.rows = described[1].cast<Rows>();
  cluster.model = described[2].cast<std::shared_ptr<Model>>();
  cluster.config = cluster.model->config();
  cluster.train = train_config_from_json(described[3].cast<std::string>());
  cluster.fingerprint = described[4].cast<std::string>();
  cluster.report = described[5].cast<std::string>();
  return cluster;
}

py::list clusters_of(const Bundle& bundle) {
  py::list clusters;
  for (const Cluster& cluster : bundle.clusters)
    clusters.append(py::dict(py::arg("id") = cluster.id, py::arg("rows") = array_of(cluster.rows),
                             py::arg("model") = cluster.model, py::arg("config") = to_json(cluster.config),
                             py::arg("train") = to_json(cluster.train), py::arg("fingerprint") = cluster.fingerprint,
                             py::arg("report") = cluster.report, py::arg("scan_table") = cluster.scan_table));
  return clusters;
}

// What the queries of one call share.
struct Options {
  std::int64_t k, history;
  Rows exclude;
  OptionalRows only;
  std::string zone, rules;
  std::optional<double> value, tail;
  std::optional<Objective> objective;
  bool popular, explain;

  Query query(const Rows& events, const Rows& bought, const Rules* parsed) const {
    return {.events = events,
            .bought = bought,
            .exclude = exclude,
            .only = only ? std::span<const std::int32_t>(*only) : std::span<const std::int32_t>(),
            .restricted = only.has_value(),
            .k = k,
            .history = history,
            .zone = zone,
            .rules = parsed,
            .value = value,
            .tail = tail,
            .objective = objective ? &*objective : nullptr,
            .popular = popular,
            .explain = explain};
  }
  std::shared_ptr<const Rules> parse(const Release& release) const {
    return rules.empty() ? nullptr : release.rules(rules);
  }
};

py::tuple answer_of(Listing listing) {
  return py::make_tuple(array_of(std::move(listing.items)), array_of(std::move(listing.scores)),
                        to_string(listing.path), listing.cluster, listing.unknown, listing.reason, listing.explanation);
}

}  // namespace

void bind_serving(py::module_& m) {
  py::class_<Bundle, std::shared_ptr<Bundle>>(m, "Bundle")
      .def(py::init([](const Catalog& catalog, std::vector<std::int64_t> counts, const py::list& attributes,
                       const py::list& clusters, std::vector<std::string> route_by, std::string rules,
                       std::shared_ptr<Baseline> fallback) {
             Bundle bundle{.catalog = catalog,
                           .counts = std::move(counts),
                           .attributes = attributes_from(attributes, catalog.size()),
                           .clusters = {},
                           .route_by = std::move(route_by),
                           .rules = std::move(rules),
                           .fallback = std::move(fallback)};
             for (const auto& cluster : clusters) bundle.clusters.push_back(cluster_of(cluster.cast<py::tuple>()));
             bundle.validate();
             return bundle;
           }),
           py::arg("catalog"), py::arg("counts"), py::arg("attributes"), py::arg("clusters"), py::arg("route_by"),
           py::arg("rules"), py::arg("fallback") = py::none())
      .def_readonly("catalog", &Bundle::catalog)
      .def_property_readonly(
          "counts",
          [](py::object self) { return view(std::span<const std::int64_t>(self.cast<const Bundle&>().counts), self); })
      .def_property_readonly("attributes", [](const Bundle& bundle) { return attributes_to(bundle.attributes); })
      .def_property_readonly("clusters", &clusters_of)
      .def_readonly("route_by", &Bundle::route_by)
      .def_readonly("rules", &Bundle::rules)
      .def_property_readonly("fallback",
                             [](const Bundle& bundle) { return std::const_pointer_cast<Baseline>(bundle.fallback); });
  m.def(
      "add_products",
      [](const Bundle& bundle, const Catalog& items, const py::list& columns) {
        const Attributes attributes = attributes_from(columns, items.size());
        auto grown = std::make_shared<Bundle>(bundle);
        AddedProducts found;
        {
          const Unlocked unlocked;
          found = add_products(*grown, items, attributes);
        }
        return py::make_tuple(grown, found.added, found.known, array_of(std::move(found.left_out)));
      },
      py::arg("bundle"), py::arg("items"), py::arg("attributes"));
  m.def(
      "refresh_products",
      [](const Bundle& bundle, const Sessions& sessions) {
        auto refreshed = std::make_shared<Bundle>(bundle);
        std::int64_t fitted;
        {
          const Unlocked unlocked;
          fitted = refresh_products(*refreshed, sessions);
        }
        return py::make_tuple(refreshed, fitted);
      },
      py::arg("bundle"), py::arg("sessions"));
  m.def(
      "save_bundle",
      [](const std::string& path, const Bundle& bundle, bool scan_tables) {
        const Unlocked unlocked;
        save_bundle(path, bundle, {.scan_tables = scan_tables});
      },
      py::arg("path"), py::arg("bundle"), py::kw_only(), py::arg("scan_tables") = SaveOptions{}.scan_tables);
  m.def("check_bundle_target", [](const std::string& path) {
    const Unlocked unlocked;
    check_bundle_target(path);
  });
  m.def("save_catalog", [](const std::string& path, const Catalog& catalog, const std::vector<std::int64_t>& counts) {
    const Unlocked unlocked;
    save_catalog(path, catalog, counts);
  });
  m.def("load_catalog", [](const std::string& path) {
    auto [catalog, counts] = load_catalog(path);
    return py::make_tuple(std::make_shared<Catalog>(std::move(catalog)), array_of(std::move(counts)));
  });
  m.def("load_bundle", [](const std::string& path, const std::shared_ptr<Device>& device) {
    const Unlocked unlocked;
    return std::make_shared<Bundle>(load_bundle(path, device));
  });
  m.def("read_bundle", [](const std::string& path) {
    const Unlocked unlocked;
    return std::make_shared<Bundle>(BundleReader(path).take());
  });

  py::class_<Release, std::shared_ptr<Release>>(m, "Release")
      .def(py::init([](const Bundle& bundle) {
        const Unlocked unlocked;
        return std::make_shared<Release>(bundle);
      }))
      .def_property_readonly("catalog", &Release::catalog, py::return_value_policy::reference_internal)
      .def_property_readonly("zones", &Release::zones)
      .def_property_readonly("objectives", &Release::objectives)
      .def_property_readonly("clusters",
                             [](const Release& release) {
                               std::vector<std::int64_t> ids;
                               for (const Cluster& cluster : release.bundle().clusters) ids.push_back(cluster.id);
                               return ids;
                             })
      .def(
          "set_numbers",
          [](Release& release, const std::string& attribute, const Rows& rows, const std::vector<float>& values) {
            const std::int32_t column = release.number_column(attribute);
            std::vector<NumberChange> changes;
            for (std::size_t i = 0; i < rows.size(); ++i)
              if (rows[i] != Catalog::kUnknown) changes.push_back({rows[i], column, values.at(i)});
            const Unlocked unlocked;
            release.set_numbers(changes);
          },
          py::arg("attribute"), py::arg("rows"), py::arg("values"))
      .def(
          "list",
          [](const Release& release, const Rows& events, const Rows& bought, std::int64_t k, std::int64_t history,
             Rows exclude, OptionalRows only, std::string zone, std::string rules, std::optional<double> value,
             std::optional<double> tail, std::optional<Objective> objective, bool popular, bool explain) {
            const Options options{
                k,     history, std::move(exclude),   std::move(only), std::move(zone), std::move(rules),
                value, tail,    std::move(objective), popular,         explain};
            Listing listing;
            {
              const Unlocked unlocked;
              const auto parsed = options.parse(release);
              listing = release.list(options.query(events, bought, parsed.get()));
            }
            return answer_of(std::move(listing));
          },
          py::arg("events"), py::kw_only(), py::arg("bought"), py::arg("k"), py::arg("history"), py::arg("exclude"),
          py::arg("only"), py::arg("zone"), py::arg("rules"), py::arg("value"), py::arg("tail"), py::arg("objective"),
          py::arg("popular"), py::arg("explain"))
      .def(
          "list_batch",
          [](const Release& release, const std::vector<Rows>& events, const std::vector<Rows>& bought, std::int64_t k,
             std::int64_t history, Rows exclude, OptionalRows only, std::string zone, std::string rules,
             std::optional<double> value, std::optional<double> tail, std::optional<Objective> objective, bool popular,
             bool explain) {
            const Options options{
                k,     history, std::move(exclude),   std::move(only), std::move(zone), std::move(rules),
                value, tail,    std::move(objective), popular,         explain};
            require(bought.empty() || bought.size() == events.size(), "recommend_batch: bought is of ", bought.size(),
                    " sessions, expected ", events.size());
            std::vector<Answer<Listing>> listings;
            {
              const Unlocked unlocked;
              const auto parsed = options.parse(release);
              std::vector<Query> queries;
              const Rows nothing;
              for (std::size_t i = 0; i < events.size(); ++i)
                queries.push_back(options.query(events[i], bought.empty() ? nothing : bought[i], parsed.get()));
              listings = release.list(queries);
            }
            py::list answers;
            for (auto& listing : listings) answers.append(answer_of(std::move(listing).get()));
            return answers;
          },
          py::arg("events"), py::kw_only(), py::arg("bought"), py::arg("k"), py::arg("history"), py::arg("exclude"),
          py::arg("only"), py::arg("zone"), py::arg("rules"), py::arg("value"), py::arg("tail"), py::arg("objective"),
          py::arg("popular"), py::arg("explain"));

  py::class_<Recommender, std::shared_ptr<Recommender>>(m, "Recommender")
      .def(py::init([](const std::string& path, const std::string& device, const std::string& precision, bool lazy,
                       std::int64_t memory) {
             const ReleaseOptions options{
                 .device = device, .precision = precision_from_string(precision), .lazy = lazy, .memory = memory};
             const Unlocked unlocked;
             return std::make_shared<Recommender>(path, options);
           }),
           py::arg("path"), py::kw_only(), py::arg("device"), py::arg("precision"), py::arg("lazy"), py::arg("memory"))
      .def("release", [](const Recommender& r) { return std::const_pointer_cast<Release>(r.release()); })
      .def_property_readonly("path", [](const Recommender& r) { return r.path().string(); })
      .def(
          "reload",
          [](Recommender& r, const std::optional<std::string>& path) {
            const Unlocked unlocked;
            path ? r.reload(*path) : r.reload();
          },
          py::arg("path"));
}

}  // namespace stamp::bindings
