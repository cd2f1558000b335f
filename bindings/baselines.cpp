// Baselines by kind: their options, fitting.
#include "bindings/convert.h"
#include "stamp/item_rules.h"
#include "stamp/popularity.h"
#include "stamp/session_knn.h"

namespace stamp::bindings {

namespace {

using BaselinePtr = std::shared_ptr<const Baseline>;

[[noreturn]] void refuse(const std::string& kind) {
  throw std::invalid_argument(concat("baseline: kind is '", kind, "', which this library does not know"));
}

BaselinePtr fit(const std::string& kind, const std::string& options, const Sessions& sessions, std::int64_t V,
                std::span<const std::int32_t> groups) {
  if (kind == "popularity") return fit_popularity(sessions, V, popularity_options_from_json(options), groups);
  if (kind == "session_popularity") return fit_session_popularity(sessions, V);
  if (kind == "association_rules")
    return fit_association_rules(sessions, V, association_rule_options_from_json(options));
  if (kind == "sequential_rules") return fit_sequential_rules(sessions, V, sequential_rule_options_from_json(options));
  if (kind == "item_knn") return fit_item_knn(sessions, V, item_knn_options_from_json(options));
  if (kind == "session_knn") return fit_session_knn(sessions, V, session_knn_options_from_json(options));
  refuse(kind);
}

// With what is left out at its default; refuses what cannot be.
std::string completed(const std::string& kind, const std::string& options) {
  if (kind == "popularity") return to_json(popularity_options_from_json(options));
  if (kind == "session_popularity") return "{}";
  if (kind == "association_rules") return to_json(association_rule_options_from_json(options));
  if (kind == "sequential_rules") return to_json(sequential_rule_options_from_json(options));
  if (kind == "item_knn") return to_json(item_knn_options_from_json(options));
  if (kind == "session_knn") return to_json(session_knn_options_from_json(options));
  refuse(kind);
}

}  // namespace

void bind_baselines(py::module_& m) {
  py::class_<Baseline, std::shared_ptr<Baseline>>(m, "Baseline")
      .def("__len__", &Baseline::V)
      .def_property_readonly("kind", &Baseline::kind)
      .def_property_readonly("options", &Baseline::options)
      .def("in_catalog", [](const Baseline& baseline, const Input<std::int32_t>& rows, std::int64_t products) {
        return std::const_pointer_cast<Baseline>(baseline.in_catalog(span_of(rows), products));
      });
  m.def("baseline_options", &completed);
  m.def("session_knn_preset", [](const std::string& name) { return to_json(SessionKnnOptions::preset(name)); });
  m.def(
      "fit_baseline",
      [](const std::string& kind, const std::string& options, const Sessions& sessions, std::int64_t products,
         const std::optional<Input<std::int32_t>>& groups) {
        const auto groups_of = span_of(groups);
        const Unlocked unlocked;
        return std::const_pointer_cast<Baseline>(fit(kind, options, sessions, products, groups_of));
      },
      py::arg("kind"), py::arg("options"), py::arg("sessions"), py::arg("products"), py::arg("groups") = py::none());
}

}  // namespace stamp::bindings
