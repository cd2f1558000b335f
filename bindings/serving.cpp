// Saved models and recommending.
#include "bindings/convert.h"
#include "stamp/bundle.h"
#include "stamp/recommender.h"

namespace stamp::bindings {

namespace {

py::tuple answer_of(Recommendation answer) {
  return py::make_tuple(array_of(std::move(answer.items)), array_of(std::move(answer.scores)), answer.unknown);
}

}  // namespace

void bind_serving(py::module_& m) {
  m.def("save_bundle", [](const std::string& path, const Catalog& catalog, std::vector<std::int64_t> counts,
                          std::shared_ptr<Model> model, const std::string& train, const std::string& fingerprint,
                          const std::string& report) {
    py::gil_scoped_release release;
    save_bundle(path,
                {catalog, std::move(counts), std::move(model), train_config_from_json(train), fingerprint, report});
  });
  m.def("save_catalog", [](const std::string& path, const Catalog& catalog, const std::vector<std::int64_t>& counts) {
    py::gil_scoped_release release;
    save_catalog(path, catalog, counts);
  });
  m.def("load_catalog", [](const std::string& path) {
    auto [catalog, counts] = load_catalog(path);
    return py::make_tuple(std::make_shared<Catalog>(std::move(catalog)), array_of(std::move(counts)));
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

}  // namespace stamp::bindings
