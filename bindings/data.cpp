// Catalogs and sessions, whole and as clusters see them.
#include "bindings/convert.h"
#include "stamp/clusters.h"

namespace stamp::bindings {

void bind_data(py::module_& m) {
  py::class_<Catalog, std::shared_ptr<Catalog>>(m, "Catalog")
      .def(py::init([](const std::string& kind) {
        require(kind == "integers" || kind == "strings", "Catalog: kind is '", kind, "', expected integers or strings");
        return Catalog(kind == "integers" ? Catalog::Kind::integers : Catalog::Kind::strings);
      }))
      .def("__len__", &Catalog::size)
      .def_property_readonly(
          "kind", [](const Catalog& c) { return c.kind() == Catalog::Kind::integers ? "integers" : "strings"; })
      .def("add_integers",
           [](Catalog& c, const Input<std::int64_t>& ids) {
             std::vector<std::int32_t> rows;
             rows.reserve(ids.size());
             {
               const Unlocked unlocked;
               for (std::int64_t id : span_of(ids)) rows.push_back(c.add(id));
             }
             return array_of(std::move(rows));
           })
      .def("add_strings",
           [](Catalog& c, const py::buffer& bytes, const Input<std::int64_t>& offsets) {
             std::vector<std::int32_t> rows;
             for_strings(bytes, span_of(offsets), [&](std::string_view id) { rows.push_back(c.add(id)); });
             return array_of(std::move(rows));
           })
      .def("find_integers",
           [](const Catalog& c, const Input<std::int64_t>& ids) {
             std::vector<std::int32_t> rows;
             rows.reserve(ids.size());
             for (std::int64_t id : span_of(ids)) rows.push_back(c.find(id));
             return array_of(std::move(rows));
           })
      .def("find_strings",
           [](const Catalog& c, const py::buffer& bytes, const Input<std::int64_t>& offsets) {
             std::vector<std::int32_t> rows;
             for_strings(bytes, span_of(offsets), [&](std::string_view id) { rows.push_back(c.find(id)); });
             return array_of(std::move(rows));
           })
      .def("ids",
           [](const Catalog& c) -> py::object {
             if (c.kind() == Catalog::Kind::integers)
               return array_of(std::vector<std::int64_t>(c.integers().begin(), c.integers().end()));
             py::list ids;
             for (std::int32_t row = 0; row < c.size(); ++row) ids.append(py::str(std::string(c.string(row))));
             return ids;
           })
      .def(py::pickle(
          [](const Catalog& c) -> py::tuple {
            if (c.kind() == Catalog::Kind::integers)
              return py::make_tuple(array_of(std::vector<std::int64_t>(c.integers().begin(), c.integers().end())));
            std::string bytes;
            std::vector<std::int64_t> offsets{0};
            for (std::int32_t row = 0; row < c.size(); ++row) {
              bytes += c.string(row);
              offsets.push_back(static_cast<std::int64_t>(bytes.size()));
            }
            return py::make_tuple(py::bytes(bytes), array_of(std::move(offsets)));
          },
          [](const py::tuple& state) {
            Catalog catalog(state.size() == 1 ? Catalog::Kind::integers : Catalog::Kind::strings);
            if (state.size() == 1) {
              const auto ids = state[0].cast<Input<std::int64_t>>();
              for (std::int64_t id : span_of(ids)) catalog.add(id);
            } else {
              const auto offsets = state[1].cast<Input<std::int64_t>>();
              for_strings(state[0].cast<py::buffer>(), span_of(offsets), [&](std::string_view id) { catalog.add(id); });
            }
            return catalog;
          }));

  py::class_<Sessions, std::shared_ptr<Sessions>>(m, "Sessions")
      .def(py::init([](const Input<std::int32_t>& items, const Input<std::int64_t>& offsets,
                       const std::optional<Input<std::int64_t>>& timestamps, const std::optional<Input<float>>& weights,
                       const std::optional<Input<std::uint8_t>>& labels) {
             const auto rows = span_of(items);
             const auto begins = span_of(offsets);
             return Sessions({rows.begin(), rows.end()}, {begins.begin(), begins.end()}, vector_of(timestamps),
                             vector_of(weights), vector_of(labels));
           }),
           py::arg("items"), py::arg("offsets"), py::arg("timestamps") = py::none(), py::arg("weights") = py::none(),
           py::arg("labels") = py::none())
      .def_static(
          "from_events",
          [](const Input<std::int64_t>& session, const Input<std::int32_t>& item,
             const std::optional<Input<std::int64_t>>& timestamp, const std::optional<Input<float>>& weight,
             const std::optional<Input<std::uint8_t>>& label, bool with_order) {
            std::vector<std::int64_t> order;
            Sessions sessions;
            {
              const EventColumns columns{span_of(session), span_of(item), span_of(timestamp), span_of(weight),
                                         span_of(label)};
              const Unlocked unlocked;
              sessions = Sessions::from_events(columns, with_order ? &order : nullptr);
            }
            return py::make_tuple(std::make_shared<Sessions>(std::move(sessions)),
                                  with_order ? py::object(array_of(std::move(order))) : py::none());
          },
          py::arg("session"), py::arg("item"), py::arg("timestamp") = py::none(), py::arg("weight") = py::none(),
          py::arg("label") = py::none(), py::arg("with_order") = false)
      .def_property_readonly_static("most_labels", [](const py::object&) { return Sessions::kMostLabels; })
      .def("__len__", &Sessions::size)
      .def_property_readonly("events", &Sessions::events)
      .def_property_readonly("items", [](py::object self) { return view(self.cast<const Sessions&>().items(), self); })
      .def_property_readonly("offsets",
                             [](py::object self) { return view(self.cast<const Sessions&>().offsets(), self); })
      .def_property_readonly("timestamps",
                             [](py::object self) { return view(self.cast<const Sessions&>().timestamps(), self); })
      .def_property_readonly("weights",
                             [](py::object self) { return view(self.cast<const Sessions&>().weights(), self); })
      .def_property_readonly("labels",
                             [](py::object self) { return view(self.cast<const Sessions&>().labels(), self); })
      .def("slice", &Sessions::slice)
      .def("count_before", &Sessions::count_before)
      .def("without_unknown", &Sessions::without_unknown)
      .def("concatenate", [](const Sessions& a, const Sessions& b) { return Sessions::concatenate(a, b); })
      .def("fingerprint",
           [](const Sessions& s) {
             std::ostringstream text;
             text << std::hex << s.fingerprint();
             return text.str();
           })
      .def(py::pickle(
          [](const py::object& self) {
            return py::make_tuple(self.attr("items"), self.attr("offsets"), self.attr("timestamps"),
                                  self.attr("weights"), self.attr("labels"));
          },
          [](const py::tuple& state) {
            const auto items = state[0].cast<Input<std::int32_t>>();
            const auto offsets = state[1].cast<Input<std::int64_t>>();
            const auto timestamps = state[2].cast<Input<std::int64_t>>();
            const auto weights = state[3].cast<Input<float>>();
            const auto labels = state[4].cast<Input<std::uint8_t>>();
            const auto copy = [](const auto& array) { return std::vector(array.data(), array.data() + array.size()); };
            return Sessions(copy(items), copy(offsets), copy(timestamps), copy(weights), copy(labels));
          }));
  m.def(
      "leading_labels",
      [](const Sessions& sessions, const Input<std::uint8_t>& kinds) {
        std::vector<std::uint8_t> labels;
        {
          const auto bits = span_of(kinds);
          const Unlocked unlocked;
          labels = leading_labels(sessions, bits);
        }
        return array_of(std::move(labels));
      },
      py::arg("sessions"), py::arg("kinds"));
  m.def(
      "cluster_sessions",
      [](const Sessions& sessions, const Input<std::int32_t>& rows, bool keep_misses) {
        ClusterSessions result;
        {
          const auto table = span_of(rows);
          const Unlocked unlocked;
          result = cluster_sessions(sessions, table, keep_misses);
        }
        return py::make_tuple(std::make_shared<Sessions>(std::move(result.sessions)), result.examples, result.inside);
      },
      py::arg("sessions"), py::arg("rows"), py::arg("keep_misses"));
  m.def(
      "count_cluster_examples",
      [](const Sessions& sessions, const Input<std::int32_t>& labels, std::int64_t clusters) {
        std::vector<std::int64_t> examples, inside;
        for (const auto& cluster : count_cluster_examples(sessions, span_of(labels), clusters)) {
          examples.push_back(cluster.examples);
          inside.push_back(cluster.inside);
        }
        return py::make_tuple(array_of(std::move(examples)), array_of(std::move(inside)));
      },
      py::arg("sessions"), py::arg("labels"), py::arg("clusters"));
  m.def("item_counts", [](const Sessions& s, std::int64_t products) { return array_of(item_counts(s, products)); });
}

}  // namespace stamp::bindings
