// Python's view of libstamp: convert, release the GIL, call. Options travel as JSON, so that defaults live in C++ only.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "stamp/bundle.h"
#include "stamp/recommender.h"

namespace py = pybind11;
using namespace stamp;

namespace {

template <class T>
using Input = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <class T>
std::span<const T> span_of(const Input<T>& array) {
  return {array.data(), static_cast<std::size_t>(array.size())};
}

template <class T>
std::span<const T> span_of(const std::optional<Input<T>>& array) {
  return array ? span_of(*array) : std::span<const T>();
}

template <class T>
std::vector<T> vector_of(const std::optional<Input<T>>& array) {
  const auto values = span_of(array);
  return {values.begin(), values.end()};
}

// A read-only array over memory that `owner` keeps alive.
template <class T>
py::array_t<T> view(std::span<const T> values, py::handle owner) {
  py::array_t<T> array({static_cast<py::ssize_t>(values.size())}, {sizeof(T)}, values.data(), owner);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

template <class T>
py::array_t<T> array_of(std::vector<T> values) {
  auto* owned = new std::vector<T>(std::move(values));
  const py::capsule owner(owned, [](void* memory) { delete static_cast<std::vector<T>*>(memory); });
  return py::array_t<T>({static_cast<py::ssize_t>(owned->size())}, {sizeof(T)}, owned->data(), owner);
}

// Calls f(string) for the strings that Arrow's layout holds: bytes laid end to end, and where each begins.
template <class F>
void for_strings(const py::buffer& bytes, std::span<const std::int64_t> offsets, F&& f) {
  const py::buffer_info info = bytes.request();
  const auto size = static_cast<std::int64_t>(info.size * info.itemsize);
  const char* data = static_cast<const char*>(info.ptr);
  py::gil_scoped_release release;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    require(0 <= offsets[i] && offsets[i] <= offsets[i + 1] && offsets[i + 1] <= size, "Catalog: string ", i,
            " lies at ", offsets[i], " to ", offsets[i + 1], " of ", size, " bytes");
    f(std::string_view(data + offsets[i], offsets[i + 1] - offsets[i]));
  }
}

// Turns a Python callable into the library's, stopping on its False (None goes on), on an exception and on Ctrl-C; the
// exception waits until the library has put things in order.
class Callback {
 public:
  explicit Callback(const py::object& callable) : callable_(callable) {}

  template <class... Args>
  bool operator()(const Args&... args) {
    py::gil_scoped_acquire acquire;
    try {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (callable_.is_none()) return true;
      const py::object answer = callable_(args...);
      return answer.is_none() || py::bool_(answer);
    } catch (py::error_already_set& error) {
      if (error.matches(PyExc_KeyboardInterrupt))
        interrupted_ = true;
      else
        error_ = std::make_unique<py::error_already_set>(std::move(error));
      return false;
    }
  }

  bool interrupted() const { return interrupted_; }
  void rethrow() {
    if (error_) throw std::move(*error_);
  }

 private:
  const py::object& callable_;
  std::unique_ptr<py::error_already_set> error_;
  bool interrupted_ = false;
};

MetricsOptions metrics_options(const std::vector<std::int64_t>& k, std::int64_t min_history, bool last_only,
                               const std::string& ties, std::int64_t history) {
  MetricsOptions options{.k = k, .min_history = min_history, .last_only = last_only, .history = history};
  if (ties == "mean")
    options.ties = Ties::mean;
  else if (ties == "optimistic")
    options.ties = Ties::optimistic;
  else
    require(ties == "conservative", "evaluate: ties is '", ties, "', expected conservative, mean or optimistic");
  return options;
}

std::string evaluate_with(Ranker& ranker, const Sessions& sessions, const std::vector<std::int64_t>& counts,
                          const MetricsOptions& options, const py::object& progress) {
  Callback callback(progress);
  Metrics metrics;
  {
    py::gil_scoped_release release;
    metrics = evaluate(ranker, sessions, counts, options, std::ref(callback));
  }
  callback.rethrow();
  if (callback.interrupted()) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    throw py::error_already_set();
  }
  return to_json(metrics);
}

py::tuple answer_of(Recommendation answer) {
  return py::make_tuple(array_of(std::move(answer.items)), array_of(std::move(answer.scores)), answer.unknown);
}

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
               py::gil_scoped_release release;
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
      .def("ids", [](const Catalog& c) -> py::object {
        if (c.kind() == Catalog::Kind::integers)
          return array_of(std::vector<std::int64_t>(c.integers().begin(), c.integers().end()));
        py::list ids;
        for (std::int32_t row = 0; row < c.size(); ++row) ids.append(py::str(std::string(c.string(row))));
        return ids;
      });

  py::class_<Sessions, std::shared_ptr<Sessions>>(m, "Sessions")
      .def(py::init([](const Input<std::int32_t>& items, const Input<std::int64_t>& offsets,
                       const std::optional<Input<std::int64_t>>& timestamps,
                       const std::optional<Input<float>>& weights) {
             const auto rows = span_of(items);
             const auto begins = span_of(offsets);
             return Sessions({rows.begin(), rows.end()}, {begins.begin(), begins.end()}, vector_of(timestamps),
                             vector_of(weights));
           }),
           py::arg("items"), py::arg("offsets"), py::arg("timestamps") = py::none(), py::arg("weights") = py::none())
      .def_static(
          "from_events",
          [](const Input<std::int64_t>& session, const Input<std::int32_t>& item,
             const std::optional<Input<std::int64_t>>& timestamp, const std::optional<Input<float>>& weight,
             bool with_order) {
            std::vector<std::int64_t> order;
            Sessions sessions;
            {
              const EventColumns columns{span_of(session), span_of(item), span_of(timestamp), span_of(weight)};
              py::gil_scoped_release release;
              sessions = Sessions::from_events(columns, with_order ? &order : nullptr);
            }
            return py::make_tuple(std::make_shared<Sessions>(std::move(sessions)),
                                  with_order ? py::object(array_of(std::move(order))) : py::none());
          },
          py::arg("session"), py::arg("item"), py::arg("timestamp") = py::none(), py::arg("weight") = py::none(),
          py::arg("with_order") = false)
      .def("__len__", &Sessions::size)
      .def_property_readonly("events", &Sessions::events)
      .def_property_readonly("items", [](py::object self) { return view(self.cast<const Sessions&>().items(), self); })
      .def_property_readonly("offsets",
                             [](py::object self) { return view(self.cast<const Sessions&>().offsets(), self); })
      .def_property_readonly("timestamps",
                             [](py::object self) { return view(self.cast<const Sessions&>().timestamps(), self); })
      .def_property_readonly("weights",
                             [](py::object self) { return view(self.cast<const Sessions&>().weights(), self); })
      .def("slice", &Sessions::slice)
      .def("count_before", &Sessions::count_before)
      .def("concatenate", [](const Sessions& a, const Sessions& b) { return Sessions::concatenate(a, b); })
      .def("fingerprint", [](const Sessions& s) {
        std::ostringstream text;
        text << std::hex << s.fingerprint();
        return text.str();
      });
  m.def("item_counts", [](const Sessions& s, std::int64_t products) { return array_of(item_counts(s, products)); });
}

void bind_devices(py::module_& m) {
  py::class_<Device, std::shared_ptr<Device>>(m, "Device")
      .def_property_readonly("name", &Device::name)
      .def_property_readonly("precision", [](const Device& device) { return to_string(device.precision()); });
  m.def("open_device", [](const std::string& name, const std::string& precision) {
    py::gil_scoped_release release;
    return open_device(name, {.precision = precision_from_string(precision)});
  });
  m.def("devices", [] {
    std::vector<std::tuple<std::string, std::string, std::string>> found;
    py::gil_scoped_release release;
    for (const auto& device : devices()) found.emplace_back(device.name, device.description, device.reason);
    return found;
  });
  m.def("num_threads", &num_threads, "Threads that computations use.");
  m.def("set_num_threads", &set_num_threads, "Threads that computations shall use, 1 or more.");
  m.def("cpu_isa", &cpu_isa, "Instruction set of the CPU kernels: avx512, avx2 or baseline.");
}

void bind_model(py::module_& m) {
  py::class_<Model, std::shared_ptr<Model>>(m, "Model")
      .def(py::init([](const std::string& config, std::int64_t products, std::shared_ptr<Device> device) {
        py::gil_scoped_release release;
        return std::make_shared<Model>(config_from_json(config), products, std::move(device));
      }))
      .def_property_readonly("device", &Model::device)
      .def("weights",
           [](const Model& model) {
             py::dict weights;
             const auto shapes = model.shapes();
             for (auto& [name, values] : model.download())
               weights[py::str(name)] = array_of(std::move(values)).reshape(shapes.at(name));
             return weights;
           })
      .def("config", [](const Model& model) { return to_json(model.config()); });

  m.def("presets", [](const std::string& name) {
    return name.empty() ? std::make_pair(to_json(Config{}), to_json(TrainConfig{}))
                        : std::make_pair(to_json(Config::preset(name)), to_json(TrainConfig::preset(name)));
  });

  m.def("check_options", [](const std::string& model, const std::string& train, const std::string& precision) {
    config_from_json(model);
    train_config_from_json(train);
    precision_from_string(precision);
  });

  m.def(
      "train",
      [](Model& model, const Sessions& sessions, const std::string& config, const Sessions* validation, bool refit,
         const std::string& checkpoint, const py::object& progress) {
        Callback callback(progress);
        TrainOptions options{.validation = validation, .refit = refit, .checkpoint = checkpoint, .progress = {}};
        options.progress = [&](const Progress& p) {
          return callback(p.phase, p.epoch, p.epochs, p.examples_done, p.examples, p.loss, p.examples_per_second);
        };
        TrainReport report;
        {
          const TrainConfig parsed = train_config_from_json(config);
          py::gil_scoped_release release;
          report = train(model, sessions, parsed, options);
        }
        callback.rethrow();
        return to_json(report);
      },
      py::arg("model"), py::arg("sessions"), py::arg("config"), py::arg("validation"), py::arg("refit"),
      py::arg("checkpoint"), py::arg("progress"));

  m.def(
      "evaluate_model",
      [](const Model& model, const Sessions& sessions, const std::vector<std::int64_t>& counts,
         const std::vector<std::int64_t>& k, std::int64_t min_history, bool last_only, const std::string& ties,
         const py::object& progress) {
        // A handle of its own: others may be using the model's.
        const Device& device = *model.device();
        const auto ranker = model_ranker(model, open_device(device.name(), {.precision = device.precision()}));
        return evaluate_with(*ranker, sessions, counts,
                             metrics_options(k, min_history, last_only, ties, model.config().history), progress);
      },
      py::arg("model"), py::arg("sessions"), py::arg("counts"), py::arg("k"), py::arg("min_history"),
      py::arg("last_only"), py::arg("ties"), py::arg("progress"));
  m.def("metrics_of_ranks", [](const Input<std::int64_t>& ranks, const std::vector<std::int64_t>& k) {
    MetricsAccumulator metrics({.k = k}, {1});
    Batch batch;
    Ranking ranking;
    for (std::int64_t rank : span_of(ranks)) {
      batch.add_history({});
      batch.targets.back() = 0;
      ranking.above.push_back(rank - 1);
      ranking.tied.push_back(0);
    }
    metrics.add(batch, ranking, 0);
    std::map<std::int64_t, std::tuple<double, double, double>> at;
    for (const auto& m : metrics.result().at) at[m.k] = {m.hr, m.mrr, m.ndcg};
    return at;
  });
  m.def(
      "evaluate_popularity",
      [](const Sessions& sessions, const std::vector<std::int64_t>& counts, const std::vector<std::int64_t>& k,
         std::int64_t min_history, bool last_only, const std::string& ties, const py::object& progress) {
        const auto ranker = popularity_ranker(counts);
        return evaluate_with(*ranker, sessions, counts, metrics_options(k, min_history, last_only, ties, 0), progress);
      },
      py::arg("sessions"), py::arg("counts"), py::arg("k"), py::arg("min_history"), py::arg("last_only"),
      py::arg("ties"), py::arg("progress"));
}

void bind_serving(py::module_& m) {
  m.def("save_bundle", [](const std::string& path, const Catalog& catalog, std::vector<std::int64_t> counts,
                          std::shared_ptr<Model> model, const std::string& train, const std::string& fingerprint,
                          const std::string& report) {
    py::gil_scoped_release release;
    save_bundle(path,
                {catalog, std::move(counts), std::move(model), train_config_from_json(train), fingerprint, report});
  });
  m.def("load_bundle", [](const std::string& path, std::shared_ptr<Device> device) {
    std::optional<Bundle> bundle;
    {
      py::gil_scoped_release release;
      bundle.emplace(load_bundle(path, std::move(device)));
    }
    return py::make_tuple(std::make_shared<Catalog>(std::move(bundle->catalog)), array_of(std::move(bundle->counts)),
                          bundle->model, to_json(bundle->train), bundle->fingerprint, bundle->report);
  });

  py::class_<Recommender, std::shared_ptr<Recommender>>(m, "Recommender")
      .def(py::init<std::shared_ptr<const Model>>(), py::call_guard<py::gil_scoped_release>())
      .def("recommend",
           [](const Recommender& r, std::vector<std::int32_t> items, std::int64_t k, std::vector<std::int32_t> exclude,
              std::optional<std::vector<std::int32_t>> only) {
             const Request request{std::move(items), std::move(exclude),
                                   only ? std::move(*only) : std::vector<std::int32_t>(), only.has_value()};
             Recommendation answer;
             {
               py::gil_scoped_release release;
               answer = r.recommend(request, k);
             }
             return answer_of(std::move(answer));
           })
      .def("recommend_batch",
           [](const Recommender& r, std::vector<std::vector<std::int32_t>> sessions, std::int64_t k,
              const std::vector<std::int32_t>& exclude, const std::optional<std::vector<std::int32_t>>& only) {
             std::vector<Recommendation> answers;
             {
               py::gil_scoped_release release;
               std::vector<Request> requests;
               for (auto& items : sessions)
                 requests.push_back(
                     {std::move(items), exclude, only.value_or(std::vector<std::int32_t>()), only.has_value()});
               answers = r.recommend(requests, k);
             }
             py::list result;
             for (auto& answer : answers) result.append(answer_of(std::move(answer)));
             return result;
           });
}

}  // namespace

PYBIND11_MODULE(_stamp, m) {
  m.doc() = "Bindings of libstamp; see the package stamp.";
  bind_data(m);
  bind_devices(m);
  bind_model(m);
  bind_serving(m);
}
