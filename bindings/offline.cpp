// Replaying releases over recorded visits.
#include "bindings/convert.h"
#include "stamp/replay.h"

namespace stamp::bindings {

namespace {

ReplayOptions replay_options(std::int64_t k, std::int64_t history, const std::string& exclude, std::string zone,
                             std::string rules, std::optional<double> value, std::optional<double> tail,
                             std::optional<Objective> objective, bool popular) {
  return {.k = k,
          .history = history,
          .exclude = exclude_from_string(exclude),
          .zone = std::move(zone),
          .rules = std::move(rules),
          .value = value,
          .tail = tail,
          .objective = std::move(objective),
          .popular = popular};
}

}  // namespace

void bind_offline(py::module_& m) {
  m.def(
      "replay",
      [](const Release& release, const Input<std::int32_t>& events, const Input<std::int64_t>& begin,
         const Input<std::int64_t>& end, std::int64_t k, std::int64_t history, const std::string& exclude,
         std::string zone, std::string rules, std::optional<double> value, std::optional<double> tail,
         std::optional<Objective> objective, bool popular, const py::object& progress) {
        const ReplayOptions options = replay_options(k, history, exclude, std::move(zone), std::move(rules), value,
                                                     tail, std::move(objective), popular);
        const ReplayQuestions questions{span_of(events), span_of(begin), span_of(end)};
        Callback callback(progress);
        ReplayLists lists;
        {
          const Unlocked unlocked;
          lists = replay(release, questions, options, std::ref(callback));
        }
        callback.rethrow();
        if (callback.interrupted()) {
          PyErr_SetNone(PyExc_KeyboardInterrupt);
          throw py::error_already_set();
        }
        const std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(questions.size()), static_cast<py::ssize_t>(k)};
        return py::make_tuple(array_of(std::move(lists.items)).reshape(shape),
                              array_of(std::move(lists.scores)).reshape(shape));
      },
      py::arg("release"), py::arg("events"), py::arg("begin"), py::arg("end"), py::kw_only(), py::arg("k"),
      py::arg("history"), py::arg("exclude"), py::arg("zone"), py::arg("rules"), py::arg("value"), py::arg("tail"),
      py::arg("objective"), py::arg("popular"), py::arg("progress"));
  m.def(
      "time_requests",
      [](const Release& release, const Input<std::int32_t>& events, const Input<std::int64_t>& begin,
         const Input<std::int64_t>& end, const Input<std::int64_t>& which, std::int64_t k, std::int64_t history,
         const std::string& exclude, std::string zone, std::string rules, std::optional<double> value,
         std::optional<double> tail, std::optional<Objective> objective, bool popular) {
        const ReplayOptions options = replay_options(k, history, exclude, std::move(zone), std::move(rules), value,
                                                     tail, std::move(objective), popular);
        const ReplayQuestions questions{span_of(events), span_of(begin), span_of(end)};
        const auto chosen = span_of(which);
        std::vector<double> seconds;
        {
          const Unlocked unlocked;
          seconds = time_requests(release, questions, options, chosen);
        }
        return array_of(std::move(seconds));
      },
      py::arg("release"), py::arg("events"), py::arg("begin"), py::arg("end"), py::arg("which"), py::kw_only(),
      py::arg("k"), py::arg("history"), py::arg("exclude"), py::arg("zone"), py::arg("rules"), py::arg("value"),
      py::arg("tail"), py::arg("objective"), py::arg("popular"));
}

}  // namespace stamp::bindings
