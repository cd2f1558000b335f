// Models: training and measuring.
#include "bindings/attributes.h"
#include "stamp/baselines.h"
#include "stamp/calibration.h"
#include "stamp/clusters.h"
#include "stamp/trainer.h"

namespace stamp::bindings {

namespace {

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

std::vector<float> preference_of(const Objective& objective, const Model& model) {
  check_objective("evaluate", objective, model.config().objectives);
  return model.config().preference(objective);
}

std::string evaluate_with(Ranker& ranker, const Sessions& sessions, const std::vector<std::int64_t>& counts,
                          const MetricsOptions& options, const py::object& progress) {
  Callback callback(progress);
  Metrics metrics;
  {
    const Unlocked unlocked;
    metrics = evaluate(ranker, sessions, counts, options, std::ref(callback));
  }
  callback.rethrow();
  if (callback.interrupted()) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    throw py::error_already_set();
  }
  return to_json(metrics);
}

}  // namespace

void bind_model(py::module_& m) {
  py::class_<Model, std::shared_ptr<Model>>(m, "Model")
      .def(py::init([](const std::string& options, std::int64_t products, std::shared_ptr<Device> device,
                       const py::list& attributes) {
             const Config config = config_from_json(options);
             const Attributes columns = attributes_from(attributes, products);
             const Unlocked unlocked;
             std::shared_ptr<const Content> content;
             if (!config.content.empty())
               content = std::make_shared<Content>(Content::of(columns, config.content, config.content_bins));
             return std::make_shared<Model>(config, products, std::move(device), std::move(content));
           }),
           py::arg("config"), py::arg("products"), py::arg("device"), py::arg("attributes") = py::list())
      .def_property_readonly("device", &Model::device)
      .def_property_readonly("temperature", &Model::temperature)
      .def("weights",
           [](const Model& model) {
             py::dict weights;
             const auto shapes = model.shapes();
             for (auto& [name, values] : model.download())
               weights[py::str(name)] = array_of(std::move(values)).reshape(shapes.at(name));
             return weights;
           })
      .def("set_weights",
           [](Model& model, const std::map<std::string, Input<float>>& weights) {
             std::map<std::string, std::vector<float>> values;
             for (const auto& [name, array] : weights) values[name].assign(array.data(), array.data() + array.size());
             const Unlocked unlocked;
             model.upload(values);
           })
      .def(
          "take_successors",
          [](Model& model, const Model& other, const Input<std::int32_t>& rows) {
            model.set_successors(
                std::make_shared<Successors>(other.successors()->in_catalog(span_of(rows), model.V())));
          },
          py::arg("other"), py::arg("rows"))
      .def("take_content", &Model::take_content, py::arg("other"))
      .def(
          "content_rows",
          [](const Model& model, const py::list& attributes, std::int64_t products) {
            require(model.content() != nullptr, "content_rows: the rows of this model are not made of attributes");
            const Lists rows = model.content()->encode(attributes_from(attributes, products));
            const std::int64_t D = model.config().dim;
            return array_of(Content::sums(rows, model.weights().attribute_rows.download(), D)).reshape({products, D});
          },
          py::arg("attributes"), py::arg("products"))
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
         bool warm_start, const std::string& checkpoint, const py::object& progress, const py::object& on_epoch) {
        Callback callback(progress), epoch_callback(on_epoch);
        TrainOptions options{
            .validation = validation, .refit = refit, .warm_start = warm_start, .checkpoint = checkpoint};
        options.progress = [&](const Progress& p) {
          return callback(p.phase, p.epoch, p.epochs, p.examples_done, p.examples, p.loss, p.examples_per_second);
        };
        options.on_epoch = [&](const Epoch& epoch) { return epoch_callback(to_json(epoch)); };
        TrainReport report;
        {
          const TrainConfig parsed = train_config_from_json(config);
          const Unlocked unlocked;
          report = train(model, sessions, parsed, options);
        }
        callback.rethrow();
        epoch_callback.rethrow();
        return to_json(report);
      },
      py::arg("model"), py::arg("sessions"), py::arg("config"), py::arg("validation"), py::arg("refit"),
      py::arg("warm_start"), py::arg("checkpoint"), py::arg("progress"), py::arg("on_epoch"));
  py::register_exception<CheckpointMismatch>(m, "CheckpointMismatch", PyExc_ValueError);

  m.def(
      "evaluate_model",
      [](const Model& model, const Sessions& sessions, const std::vector<std::int64_t>& counts,
         const std::vector<std::int64_t>& k, std::int64_t min_history, bool last_only, const std::string& ties,
         const Objective& objective, const py::object& progress) {
        // A handle of its own: others may be using the model's.
        const Device& device = *model.device();
        const auto ranker = model_ranker(model, open_device(device.name(), {.precision = device.precision()}));
        MetricsOptions options = metrics_options(k, min_history, last_only, ties, model.config().history);
        options.preference = preference_of(objective, model);
        return evaluate_with(*ranker, sessions, counts, options, progress);
      },
      py::arg("model"), py::arg("sessions"), py::arg("counts"), py::arg("k"), py::arg("min_history"),
      py::arg("last_only"), py::arg("ties"), py::arg("objective"), py::arg("progress"));
  m.def(
      "evaluate_clusters",
      [](const std::vector<std::pair<std::vector<std::int32_t>, std::shared_ptr<Model>>>& models,
         const Sessions& sessions, const std::vector<std::int64_t>& counts, const std::vector<std::int64_t>& k,
         std::int64_t min_history, bool last_only, const std::string& ties, const Objective& objective,
         const py::object& progress) {
        require(!models.empty(), "evaluate: there is no cluster with a model");
        const Device& device = *models.front().second->device();
        std::vector<ClusterModel> parts;
        for (const auto& [rows, model] : models) {
          require(model->config().objectives == models.front().second->config().objectives,
                  "evaluate: models of the clusters have learnt different objectives");
          parts.push_back({rows, model});
        }
        const auto ranker = cluster_ranker(static_cast<std::int64_t>(counts.size()), std::move(parts),
                                           open_device(device.name(), {.precision = device.precision()}));
        MetricsOptions options = metrics_options(k, min_history, last_only, ties, 0);
        options.preference = preference_of(objective, *models.front().second);
        options.batch *= std::min<std::int64_t>(64, static_cast<std::int64_t>(models.size()));  // each gets a share
        return evaluate_with(*ranker, sessions, counts, options, progress);
      },
      py::arg("models"), py::arg("sessions"), py::arg("counts"), py::arg("k"), py::arg("min_history"),
      py::arg("last_only"), py::arg("ties"), py::arg("objective"), py::arg("progress"));
  m.def(
      "listed_probabilities",
      [](const Model& model, const Sessions& sessions, std::int64_t k, std::int64_t min_history) {
        ListedProbabilities found;
        {
          const Unlocked unlocked;
          found = listed_probabilities(model, sessions, k, min_history);
        }
        const std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(found.probabilities.size()) / k, k};
        return py::make_tuple(array_of(std::move(found.probabilities)).reshape(shape),
                              array_of(std::move(found.is_target)).reshape(shape));
      },
      py::arg("model"), py::arg("sessions"), py::kw_only(), py::arg("k"), py::arg("min_history"));
  m.def("metrics_of_ranks", [](const Input<std::int64_t>& ranks, const std::vector<std::int64_t>& k) {
    std::int64_t V = 1;  // so many that every rank can be
    for (std::int64_t rank : span_of(ranks)) V = std::max(V, rank);
    MetricsAccumulator metrics({.k = k}, std::vector<std::int64_t>(static_cast<std::size_t>(V), 1));
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
      "evaluate_baseline",
      [](const std::shared_ptr<Baseline>& baseline, const Sessions& sessions, const std::vector<std::int64_t>& counts,
         const std::vector<std::int64_t>& k, std::int64_t min_history, bool last_only, const std::string& ties,
         const Objective& objective, const py::object& progress) {
        check_objective("evaluate", objective, {});
        const auto ranker = baseline_ranker(baseline);
        return evaluate_with(*ranker, sessions, counts, metrics_options(k, min_history, last_only, ties, 0), progress);
      },
      py::arg("baseline"), py::arg("sessions"), py::arg("counts"), py::arg("k"), py::arg("min_history"),
      py::arg("last_only"), py::arg("ties"), py::arg("objective"), py::arg("progress"));
}

}  // namespace stamp::bindings
